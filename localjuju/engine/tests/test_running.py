"""Which process is the engine of a state folder, and when it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from localjuju.engine import lifecycle, limits, running
from localkube.host import ownership
from localkube.host.errors import EngineError

ROOT = Path(__file__).parents[3]
# an engine's outer process with an inner one that only waits
_OUTER = """
import sys
from pathlib import Path
from localjuju.engine import outer
outer.programs.ensure = lambda progress: True
sys.executable = sys.argv[1]
sys.exit(outer.run(int(sys.argv[2]) if len(sys.argv) > 2 else None))
"""


@pytest.fixture
def state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of ours; its path is short, which an engine needs."""
    folder = tmp_path_factory.mktemp("state")
    monkeypatch.setenv("CHARMED_MLOPS_STATE", str(folder))
    ownership.claim_state()
    return folder


@pytest.fixture
def engine(state: Path, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts outer processes, by the owner's id if one is given; all end with the test."""
    inner = tmp_path / "inner"
    inner.write_text("#!/bin/sh\nexec sleep 300\n")
    inner.chmod(0o755)
    started = []

    def start(*owner: int) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", _OUTER, str(inner), *(str(number) for number in owner)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        started.append(process)
        _until(lambda: process.poll() is not None or (state / "images.sock").exists())
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process of somebody else that has the engine's name among its arguments."""
    process = subprocess.Popen([sys.executable, "-c", "input()", "localjuju.engine"], stdin=-1)
    yield process
    process.kill()
    process.wait()
    assert process.stdin is not None
    process.stdin.close()


def test_a_stale_pid_file_ends_nobody(state: Path, bystander: subprocess.Popen[bytes]):
    (state / "engine.pid").write_text(f"{bystander.pid}\n")
    (state / "engine.lock").touch()
    assert lifecycle.pid() is None
    assert not lifecycle.stop()
    with pytest.raises(EngineError, match="no engine runs"):
        lifecycle.kill()
    assert bystander.poll() is None


def test_a_lock_file_from_before_a_reboot_ends_nobody(
    state: Path, bystander: subprocess.Popen[bytes]
):
    """The number has come again, and the lock is held by another process than it says."""
    told = {"pid": bystander.pid, "start": 1, "identity": ownership.identity(state)}
    with running.hold(state) as lock:
        (state / "engine.lock").write_text(json.dumps(told))
        with pytest.raises(EngineError, match="cannot be identified: fuser -v"):
            lifecycle.stop()
        assert running.is_in_place(lock, state)
    assert bystander.poll() is None


def test_the_lock_says_which_process_and_when_it_began(state: Path):
    with running.hold(state):
        assert lifecycle.pid() == os.getpid()
        told = json.loads((state / "engine.lock").read_text())
    assert told == {
        "pid": os.getpid(),
        "start": running.start_time(os.getpid()),
        "identity": ownership.identity(state),
    }
    assert lifecycle.pid() is None


def test_an_engine_that_wrote_nothing_into_its_lock_is_found_by_its_open_file(state: Path):
    with running.hold(state):
        (state / "engine.lock").write_text("")
        assert lifecycle.pid() == os.getpid()
        (state / "engine.pid").write_text("1\n")
        with pytest.raises(EngineError, match="cannot be identified"):
            lifecycle.pid()


def test_another_engine_s_identity_is_not_taken(state: Path):
    with running.hold(state):
        (state / ownership.MARKER).write_text("other\n")
        with pytest.raises(EngineError, match="cannot be identified"):
            lifecycle.pid()


def test_stop_ends_the_engine_of_this_folder(state: Path, engine):
    process = engine()
    assert lifecycle.pid() == process.pid
    assert running.is_locked(state)
    assert lifecycle.stop()
    assert process.wait(20) == 0
    assert not running.is_locked(state)
    assert not lifecycle.stop()


def test_a_second_engine_on_the_same_folder_is_refused(state: Path, engine):
    first = engine()
    second = engine()
    assert second.wait(20) != 0
    assert lifecycle.pid() == first.pid


def test_an_engine_whose_folder_has_gone_ends(state: Path, engine):
    process = engine()
    state.rename(state.with_name("elsewhere"))
    assert process.wait(20) == 1


def test_an_engine_ends_with_its_owner_however_that_ends(state: Path, engine):
    owner = subprocess.Popen(["sleep", "300"])
    process = engine(owner.pid)
    assert process.poll() is None
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    assert process.wait(20) == 0


def test_an_engine_does_not_start_for_an_owner_that_has_ended(state: Path, engine):
    owner = subprocess.Popen(["true"])
    owner.wait()
    assert engine(owner.pid).wait(20) == 0


_BUILDING = """
import sys
from pathlib import Path
from localkube.building import builds
from localjuju.engine import outer
outer.programs.ensure = lambda progress: builds.run(
    ["sh", "-c", "echo $$ >$0.new; mv $0.new $0; sleep 300", sys.argv[1]], "demo"
)
sys.exit(outer.run())
"""


def test_stop_does_not_wait_for_a_build(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CHARMED_MLOPS_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "pid"
    process = subprocess.Popen(
        [sys.executable, "-c", _BUILDING, str(file)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
    )
    try:
        _until(file.exists)
        assert lifecycle.stop(timeout=15)
        assert process.wait(1) == 0  # by itself, not killed
    finally:
        process.kill()
        process.wait()
    _until(lambda: not Path("/proc", file.read_text().strip()).exists())


_LEADING_OUT = """
import sys
from pathlib import Path
from localjuju.engine import outer
from localjuju.engine.choices import Choices
from localkube.host.errors import EngineError
outer.programs.ensure = lambda progress: True
outer.egress.ensure = lambda progress: Path(sys.argv[2])
sys.executable = sys.argv[1]
try:
    outer.run(None, Choices(egress=True, images="catalogue"))
except EngineError as error:
    sys.exit(str(error))
"""


def test_where_there_is_no_way_out_nothing_is_left(state: Path, tmp_path: Path):
    inner, way_out = tmp_path / "inner", tmp_path / "usr/bin/slirp4netns"
    way_out.parent.mkdir(parents=True)
    # the inner process writes its id once it has entered a control group and a network of its own
    group = limits.groups(state).folders()[0] / "cgroup.procs"
    inner.write_text(
        f"#!/bin/sh\necho $$ >{group}\necho $$ >{tmp_path}/pid\nexec unshare --net sleep 300\n"
    )
    way_out.write_text("#!/bin/sh\nexit 1\n")
    for program in (inner, way_out):
        program.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", _LEADING_OUT, inner, tmp_path],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True, timeout=60,
    )  # fmt: skip
    assert "no way out of the cluster's network" in done.stderr.splitlines()[-1]
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()
    assert not any(folder.exists() for folder in limits.groups(state).folders())


def test_the_engine_may_open_as_many_files_as_the_hard_limit_says():
    script = (
        "import resource; from localjuju.engine import outer; outer._allow_open_files(); "
        "print(resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    limited = ["sh", "-c", 'ulimit -S -n 256; ulimit -H -n 4096; exec "$@"', "sh"]
    done = subprocess.run(
        [*limited, sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "(4096, 4096)\n"
