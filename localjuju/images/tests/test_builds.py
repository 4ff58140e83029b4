"""What is costly is made once, whole or not at all."""

from __future__ import annotations

import errno
import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from localjuju import builds
from localjuju.errors import EngineError
from localjuju.progress import Progress


def test_a_folder_is_made_once(tmp_path: Path):
    calls = []

    def make(folder: Path) -> None:
        calls.append(folder)
        (folder / "made").touch()

    target = tmp_path / "a" / "b"
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: builds.make_once(target, make), range(4)))
    assert results == [target] * 4
    assert len(calls) == 1
    assert (target / "made").exists()


def test_an_interrupted_build_does_not_count(tmp_path: Path):
    def interrupted(folder: Path) -> None:
        (folder / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        builds.make_once(tmp_path / "x", interrupted)
    assert not (tmp_path / "x").exists()
    builds.make_once(tmp_path / "x", lambda folder: (folder / "whole").touch())
    assert [entry.name for entry in (tmp_path / "x").iterdir()] == ["whole"]


def test_a_full_disk_is_one_line_that_names_the_folder(tmp_path: Path):
    def full(folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(EngineError, match=r"no space left for .*/x: .*CHARMED_MLOPS_CACHE"):
        builds.make_once(tmp_path / "x", full)


def test_a_failed_program_is_tried_again_and_its_log_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CHARMED_MLOPS_CACHE", str(tmp_path))
    count = tmp_path / "count"
    with pytest.raises(EngineError, match=r"^demo: no luck \(all of it: .*/demo\.log\)$"):
        builds.run(["sh", "-c", f"echo x >> {count}; echo no luck; exit 3"], "demo")
    assert count.read_text() == "x\nx\n"
    with pytest.raises(EngineError, match="no-such-program is not installed"):
        builds.run(["no-such-program"], "demo")


def test_progress_remembers_how_long_a_step_took(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CHARMED_MLOPS_CACHE", str(tmp_path))
    shown = io.StringIO()
    with Progress(shown).step("Digging") as step:
        step.update("1 of 2")
        step.update("1 of 2")
    with Progress(shown).step("Digging"):
        pass
    lines = shown.getvalue().splitlines()
    assert lines[0] == "Digging"
    assert lines[1] == "Digging: 1 of 2"
    assert lines[2].startswith("Digging: done in 0.")
    assert lines[3] == "Digging (last time 0 s)"


def test_a_step_that_fails_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CHARMED_MLOPS_CACHE", str(tmp_path))
    shown = io.StringIO()
    with pytest.raises(ValueError, match="no"), Progress(shown).step("Digging"):
        raise ValueError("no")
    assert shown.getvalue().splitlines() == ["Digging", "Digging: not finished"]
    assert not (tmp_path / "timings.json").exists()


def test_steps_that_end_at_once_in_many_threads_all_succeed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CHARMED_MLOPS_CACHE", str(tmp_path))

    def work(number: int) -> None:
        with Progress(io.StringIO()).step(f"step {number}"):
            pass

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(300)))
    assert json.loads((tmp_path / "timings.json").read_text())
    assert [entry.name for entry in tmp_path.iterdir()] == ["timings.json"]


def test_a_time_that_cannot_be_kept_fails_no_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("CHARMED_MLOPS_CACHE", str(tmp_path / "file"))
    shown = io.StringIO()
    with Progress(shown).step("Digging"):
        pass
    assert "done in" in shown.getvalue()
