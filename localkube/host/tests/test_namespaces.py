"""What happens to processes when the engine's namespaces end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from localkube.host import namespaces
from localkube.host.errors import EngineError

_SLEEPER = textwrap.dedent("""
    import os, signal, socket, subprocess, sys, time
    from pathlib import Path
    from localkube.host import namespaces, system

    def slowly(name: str) -> None:
        Path(sys.argv[1], "ready").write_text("")
        time.sleep(1)

    def main() -> int:
        if sys.argv[2] == "exit":
            return 7
        subprocess.Popen(["setsid", "sleep", "98765"])
        Path(sys.argv[1], "interfaces").write_text(" ".join(os.listdir("/sys/class/net")))
        Path(sys.argv[1], "ready").write_text(str(os.getpid()))
        time.sleep(60)
        return 0

    def die_with_parent(parent: int, *_: object) -> None:
        if parent:
            return
        while Path("/proc", str(entered)).exists():
            time.sleep(0.01)
        Path(sys.argv[1], "handed over").write_text("")

    if sys.argv[2] == "orphan":
        entered = os.getpid()
        system.die_with_parent = die_with_parent
        namespaces._relay = lambda _: os.kill(entered, signal.SIGKILL)
    if sys.argv[2] == "slowly":
        socket.sethostname = slowly
    namespaces.enter(main, hostname="inside", parent=int(sys.argv[3]))
""")


def _start(folder: Path, what: str, parent: int | None = None) -> subprocess.Popen[bytes]:
    with (folder / "errors").open("wb") as errors:
        return subprocess.Popen(
            [sys.executable, "-c", _SLEEPER, str(folder), what, str(parent or os.getpid())],
            stderr=errors,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        )


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.02)


def _sleepers() -> set[str]:
    return {
        pid for pid, line in _commands().items() if line.startswith("sleep") and "98765" in line
    }


def _commands() -> dict[str, str]:
    """The command lines of all processes, by their numbers."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just gone
            found[folder.name] = (folder / "cmdline").read_text(errors="replace")
    return found


def test_the_exit_code_of_main_is_the_process_exit_code(tmp_path: Path):
    assert _start(tmp_path, "exit").wait(20) == 7


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_survives_the_end_of_the_process_that_entered(tmp_path: Path, number: int):
    before = _sleepers()
    process = _start(tmp_path, "stay")
    _wait_for(tmp_path / "ready")
    deadline = time.monotonic() + 10
    while len(_sleepers() - before) != 1:  # between fork and exec it has its parent's name
        assert time.monotonic() < deadline, "no process was started"
        time.sleep(0.02)

    process.send_signal(number)
    process.wait(20)

    deadline = time.monotonic() + 10
    while _sleepers() - before:
        assert time.monotonic() < deadline, "a process outlived the namespaces"
        time.sleep(0.02)


def test_a_signal_that_comes_while_the_namespaces_are_made_is_not_lost(tmp_path: Path):
    process = _start(tmp_path, "slowly")
    _wait_for(tmp_path / "ready")
    process.terminate()
    assert process.wait(20) == 128 + signal.SIGTERM


def test_nothing_begins_where_the_process_that_started_it_has_ended(tmp_path: Path):
    parent = subprocess.Popen(["true"])
    parent.wait()
    process = _start(tmp_path, "stay", parent.pid)
    assert process.wait(20) == 1
    said = (tmp_path / "errors").read_text()
    assert f"process {parent.pid}, which started this one, has ended" in said
    assert not (tmp_path / "ready").exists()


def test_a_process_that_ends_as_it_hands_over_takes_the_namespaces_along(tmp_path: Path):
    before = _sleepers()
    process = _start(tmp_path, "orphan")
    assert process.wait(20) == -signal.SIGKILL
    _wait_for(tmp_path / "handed over")
    deadline = time.monotonic() + 10
    while any(str(tmp_path) in line for line in _commands().values()):
        assert time.monotonic() < deadline, "the first process of the namespace has stayed"
        time.sleep(0.02)
    assert not (tmp_path / "ready").exists()
    assert _sleepers() == before


def test_a_refused_namespace_is_one_line_that_names_the_setting():
    with pytest.raises(EngineError, match=r"^this kernel refuses namespaces .*sysctl -w [^\n]*$"):
        namespaces.unshare(1)  # no flag of unshare(2)
