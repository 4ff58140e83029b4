"""What is asked inside is answered outside, in the words of who makes images."""

from __future__ import annotations

import functools
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from localkube.host.errors import EngineError
from localkube.images.finder import Finder, ask
from localkube.images.image import Image
from localkube.images.layers import Layer

TOOL = Image(
    [
        Layer("base-1", Path("/cache/base")),
        Layer(
            "tool-1",
            Path("/cache/tool"),
            "opt/tool",
            {"data": (1000, 100)},
            moved={"bin": "usr/bin"},
        ),
    ],
    user="1000:100",
    entrypoint=["/opt/tool/run"],
    command=["--all"],
    environment={"HOME": "/opt/tool/data"},
    folder="/opt/tool",
)
Ask = Callable[[str], Image | None]


@pytest.fixture
def made() -> threading.Event:
    """Set when the image that takes long is made."""
    return threading.Event()


@pytest.fixture
def asked(tmp_path: Path, made: threading.Event) -> Iterator[Ask]:
    """Asks one that has an image, one that takes long, and two that it cannot make."""

    def find(reference: str) -> Image | None:
        if reference == "slow:1":
            made.wait(10)
        if reference == "broken:1":
            raise EngineError("its download failed")
        if reference == "gone:1":
            raise FileNotFoundError(2, "No such file or directory", "/srv/gone")
        return TOOL if reference in ("tool:1", "slow:1") else None

    finder = Finder(tmp_path / "socket", find)
    finder.start()
    yield functools.partial(ask, tmp_path / "socket")
    finder.stop()


def test_an_image_is_handed_over_as_it_is(asked: Ask):
    assert asked("tool:1") == TOOL


def test_there_may_be_none(asked: Ask):
    assert asked("other:1") is None


@pytest.mark.parametrize(
    ("reference", "why"), [("broken:1", "its download failed"), ("gone:1", "/srv/gone")]
)
def test_what_cannot_be_made_is_refused_with_the_reason(asked: Ask, reference: str, why: str):
    with pytest.raises(EngineError, match=why):
        asked(reference)
    assert asked("tool:1") == TOOL


def test_an_image_that_takes_long_keeps_nobody_else_waiting(asked: Ask, made: threading.Event):
    found: list[Image | None] = []
    slow = threading.Thread(target=lambda: found.append(asked("slow:1")))
    slow.start()
    assert asked("tool:1") == TOOL
    assert not found
    made.set()
    slow.join(10)
    assert found == [TOOL]


def test_only_who_runs_the_cluster_may_ask(asked: Ask, tmp_path: Path):
    assert stat.S_IMODE((tmp_path / "socket").stat().st_mode) == 0o600


def test_without_an_answer_it_is_said(tmp_path: Path):
    with pytest.raises(EngineError, match="cannot ask for image tool:1"):
        ask(tmp_path / "nobody", "tool:1")
