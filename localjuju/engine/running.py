"""Finds the engine that has a state folder: whoever holds its lock, and nobody else.

A process id in a file outlives its process, and the number comes again. The lock is the truth:
the kernel lets go of it with the process, however that ends. The lock file tells who took it, and
a signal goes by a descriptor of that very process (pidfd_open(2)).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from localkube.host import ownership
from localkube.host.errors import EngineError

_LOCK, _PID = "engine.lock", "engine.pid"
_TRIES, _PAUSE = 10, 0.1


@contextlib.contextmanager
def hold(state: Path) -> Iterator[TextIO]:
    """Is the engine of `state` while the context lasts; gives the lock file.

    Raises:
        EngineError: another process is.
    """
    with (state / _LOCK).open("a+") as lock:
        _take(lock)
        lock.seek(0)
        lock.truncate()
        own = {
            "pid": os.getpid(),
            "start": start_time(os.getpid()),
            "identity": ownership.identity(state),
        }
        lock.write(json.dumps(own))
        lock.flush()
        pid_file = state / _PID
        pid_file.write_text(f"{os.getpid()}\n")
        try:
            yield lock
        finally:
            if is_in_place(lock, state):
                pid_file.unlink(missing_ok=True)


def _take(lock: TextIO) -> None:
    for _ in range(_TRIES):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(_PAUSE)  # somebody who only looks holds it for an instant
    raise EngineError("the engine runs already: ./mlops down stops it")


def is_in_place(lock: TextIO, state: Path) -> bool:
    """Whether the state folder still has the lock file that is held."""
    try:
        return os.path.samestat(os.fstat(lock.fileno()), (state / _LOCK).stat())
    except OSError:
        return False


def start_time(pid: int) -> int | None:
    """When a process began, in ticks since the boot: with its id it names one process only."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(text.rpartition(")")[2].split()[19])  # field 22 of proc(5)


class Running:
    """A process that holds the lock of a state folder; one descriptor of it, until `close`."""

    def __init__(self, pid: int, descriptor: int):
        self.pid = pid
        self._descriptor = descriptor

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the descriptor."""
        os.close(self._descriptor)

    def signal(self, number: signal.Signals) -> None:
        """Signals this very process; nothing happens where it has ended."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, number)

    def wait(self, seconds: float) -> bool:
        """Whether it ended within so many seconds."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        return bool(poll.poll(max(0.0, seconds) * 1000))


def find(state: Path) -> Running | None:
    """The engine of a state folder, or None where none runs.

    Raises:
        EngineError: the lock is held by a process that cannot be told for sure.
    """
    for _ in range(_TRIES):
        with contextlib.suppress(FileNotFoundError), (state / _LOCK).open() as lock:
            if not _is_held(lock):
                return None
            found = _holder(lock, state)
            if found is not None:
                return found
            time.sleep(_PAUSE)  # it has just taken the lock, or just ended
            continue
        return None
    raise EngineError(
        f"{state / _LOCK} is held by a process that cannot be identified: fuser -v "
        f"{state / _LOCK} names it"
    )


def is_locked(state: Path) -> bool:
    """Whether an engine has the state folder now."""
    try:
        with (state / _LOCK).open() as lock:
            return _is_held(lock)
    except FileNotFoundError:
        return False


def _is_held(lock: TextIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(lock, fcntl.LOCK_UN)
    return False


def _holder(lock: TextIO, state: Path) -> Running | None:
    """The process that the lock file, or before that the pid file, names; None if not proven."""
    text = lock.read()
    try:
        told = json.loads(text) if text else {"pid": int((state / _PID).read_text())}
        pid = told["pid"]
        found = Running(pid, os.pidfd_open(pid))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if text:
        proven = told.get("start") == start_time(pid) and told.get(
            "identity"
        ) == ownership.identity(state)
    else:  # an engine of a version that wrote nothing there
        proven = _has_open(pid, lock)
    if not proven:
        found.close()
        return None
    return found


def _has_open(pid: int, lock: TextIO) -> bool:
    wanted = os.fstat(lock.fileno())
    with contextlib.suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if os.path.samestat(link.stat(), wanted):
                    return True
    return False
