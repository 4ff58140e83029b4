"""The command that makes images ahead."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from localkube.building import builds


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "localjuju.images", *arguments]


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str, Path]:
    """An image that is compiled, and one whose tree is there, in an empty cache."""
    compiled, there = "registry.example.com/compiled:1", "registry.example.com/there:1"
    tree = tmp_path / "tree"
    tree.mkdir()
    catalogue = tmp_path / "images.yaml"
    catalogue.write_text(
        "images:\n"
        f"  - {{reference: '{compiled}', kind: agent, program: /opt/agent}}\n"
        f"  - {{reference: '{there}', kind: path, path: '{tree}'}}\n"
    )
    monkeypatch.setenv("LOCALJUJU_IMAGES", str(catalogue))
    monkeypatch.setenv("CHARMED_MLOPS_CACHE", str(tmp_path / "cache"))
    return compiled, there, tree


def test_what_is_not_compiled_does_not_wait_for_what_is(two: tuple[str, str, Path]):
    compiled, there, tree = two
    with (
        builds.heavy(),  # so nothing is compiled meanwhile
        subprocess.Popen(
            command("ensure", compiled, there),
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        ) as process,
    ):  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == f"{tree}\n"
        process.kill()


def test_the_first_image_that_cannot_be_made_is_the_error(two: tuple[str, str, Path]):
    _, there, tree = two
    tree.rmdir()
    done = subprocess.run(command("ensure", there), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (f"ERROR image {there}: the catalogue's folder {tree} is not there\n")
