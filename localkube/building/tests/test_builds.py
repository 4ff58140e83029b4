"""What is costly is made once, whole or not at all."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from localkube.building import builds, golang
from localkube.host.errors import EngineError
from localkube.host.progress import Progress


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
    assert re.fullmatch(r"Digging: done in \d+\.\d s", lines[2])
    assert re.fullmatch(r"Digging \(last time \d+ s\)", lines[3])


@pytest.mark.parametrize(("pace", "counts"), [(0, ["1", "2", "3"]), (3600, ["1"])])
def test_where_lines_stay_a_quick_count_does_not_fill_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pace: float, counts: list[str]
):
    monkeypatch.setenv("CHARMED_MLOPS_CACHE", str(tmp_path))
    shown = io.StringIO()
    with Progress(shown, pace).step("Digging") as step:
        for number in (1, 2, 3):
            step.count("holes", number, 3)
    _, *updates, done = shown.getvalue().splitlines()
    assert updates == [f"Digging: holes, {count} of 3" for count in counts]
    assert done.startswith("Digging: done in")


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


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of this test's own."""
    monkeypatch.setenv("CHARMED_MLOPS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


_HEAVY = """
import os, sys, time
from localkube.building import builds, golang
log = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
for _ in range(3):
    with builds.heavy():
        os.write(log, b"in ")
        time.sleep(0.05)
        os.write(log, b"out ")
"""


def test_two_processes_never_make_heavy_builds_at_once(cache: Path, tmp_path: Path):
    command = [sys.executable, "-c", _HEAVY, str(tmp_path / "log")]
    processes = [subprocess.Popen(command, env=_environment()) for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert (tmp_path / "log").read_text() == "in out " * 6


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(builds.__file__).parents[2])}


def test_a_build_leaves_processor_and_memory_to_others(cache: Path):
    told = "nice; cat /proc/self/oom_score_adj; echo $TMPDIR; cat /proc/self/autogroup || true"
    builds.run(["sh", "-c", told], "demo")
    nice, score, scratch, *group = (cache / "builds/log/demo.log").read_text().split()
    assert int(nice) >= 10
    # where the kernel shares processors by session, the value of one process says nothing
    if group and group[0].startswith("/autogroup"):
        assert int(group[-1]) >= 10
    assert int(score) >= 300
    assert scratch == str(cache / "builds/tmp")


_BUILDER = """
import sys
from localkube.building import builds, golang
builds.run(["sh", "-c", "sleep 300 & echo $! $$ >$0.new; mv $0.new $0; wait", sys.argv[1]], "demo")
"""


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_build_ends_with_the_process_that_wants_it_even_when_that_is_killed(
    cache: Path, tmp_path: Path
):
    file = tmp_path / "pids"
    process = subprocess.Popen([sys.executable, "-c", _BUILDER, str(file)], env=_environment())
    _until(file.exists)
    process.kill()
    process.wait()
    for pid in file.read_text().split():
        _until(lambda pid=pid: not _is_running(int(pid)))


def test_the_end_of_the_engine_ends_builds_and_those_that_wait(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(builds, "_ended", threading.Event())
    file = tmp_path / "pids"
    script = "sleep 300 & echo $! >$0.new; mv $0.new $0; wait"

    def build() -> None:
        with builds.heavy():
            builds.run(["sh", "-c", script, str(file)], "demo")

    with ThreadPoolExecutor(2) as pool:
        working = [pool.submit(build) for _ in range(2)]
        _until(file.exists)
        builds.end()
        for work in working:
            with pytest.raises(EngineError, match="the engine is stopping"):
                work.result(20)
    _until(lambda: not _is_running(int(file.read_text())))


_GO = """\
#!/bin/sh
case $1 in
version) echo go version go1.26.0 linux/amd64;;
env) echo '{"GOMODCACHE": "'$HOME'/go/pkg/mod", "GOPROXY": "https://p,direct"}';;
*) env;;
esac
"""


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `go` that only tells its environment, and a user with modules; the user's home."""
    home = tmp_path / "home"
    (home / "go/pkg/mod/cache/download").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/go").write_text(_GO)
    (tmp_path / "bin/go").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(home))
    for name in ("GOFLAGS", "GOCACHE", "GOMODCACHE", "GOPROXY", "GOMAXPROCS"):
        monkeypatch.delenv(name, raising=False)
    return home


def _told(cache: Path, tmp_path: Path) -> dict[str, str]:
    golang.build(tmp_path, ["."], tmp_path, "demo")
    lines = (cache / "builds/log/demo.log").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_the_user_s_go_flags_are_kept_and_win(
    cache: Path, go: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("GOFLAGS", "-p=7 -mod=mod")
    told = _told(cache, tmp_path)["GOFLAGS"].split()
    assert told[0] == "-buildvcs=false"
    assert told[-2:] == ["-p=7", "-mod=mod"]


def test_go_s_caches_are_in_the_cache_folder_and_the_user_s_modules_are_read(
    cache: Path, go: Path, tmp_path: Path
):
    (cache / "builds/tmp/go-build123/b001").mkdir(parents=True)
    told = _told(cache, tmp_path)
    assert told["GOCACHE"] == f"{cache}/builds/go/build"
    assert told["GOMODCACHE"] == f"{cache}/builds/go/mod"
    assert told["GOPROXY"] == f"file://{go}/go/pkg/mod/cache/download,https://p,direct"
    assert not list((cache / "builds/tmp").iterdir())


def test_caches_that_the_user_names_are_used(
    cache: Path, go: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("GOMODCACHE", "/elsewhere/mod")
    monkeypatch.setenv("GOCACHE", "/elsewhere/build")
    told = _told(cache, tmp_path)
    assert (told["GOMODCACHE"], told["GOCACHE"]) == ("/elsewhere/mod", "/elsewhere/build")
    assert "GOPROXY" not in told


def test_go_s_caches_go_a_day_after_the_last_build(cache: Path, go: Path, tmp_path: Path):
    told = _told(cache, tmp_path)
    module = Path(told["GOMODCACHE"], "example.com", "m@v1")
    module.mkdir(parents=True)
    module.chmod(0o555)  # as Go makes them
    (cache / "builds/made").touch()

    golang.remove_unused_caches(Progress(io.StringIO()))
    assert module.exists()

    yesterday = time.time() - 25 * 3600
    os.utime(cache / "builds/go/.used", (yesterday, yesterday))
    _told(cache, tmp_path)
    golang.remove_unused_caches(Progress(io.StringIO()))
    assert module.exists()  # a build has used them since

    os.utime(cache / "builds/go/.used", (yesterday, yesterday))
    golang.remove_unused_caches(Progress(io.StringIO()))
    assert not (cache / "builds/go").exists()
    assert (cache / "builds/made").exists()

    golang.remove_unused_caches(Progress(io.StringIO()))  # nothing is there any more


@pytest.mark.parametrize(
    ("cores", "gibibytes", "jobs"), [(2, 24, 2), (32, 6, 4), (8, 1, 1), (1, 64, 1)]
)
def test_as_many_packages_at_once_as_cores_and_memory_bear(cores: int, gibibytes: int, jobs: int):
    assert golang.parallel(cores, gibibytes << 30) == jobs
