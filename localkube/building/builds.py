"""Makes costly things once: a folder under a lock, moved into place when it is complete."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from localkube.host import ownership, paths, system
from localkube.host.errors import EngineError
from localkube.host.trees import remove_tree

_CONTAINED = Path(__file__).with_name("contained.py")
_POLL_SECONDS = 0.2
_STOPPING = "the engine is stopping"
_guard = threading.Lock()
_running: set[subprocess.Popen[bytes]] = set()
_ended = threading.Event()


_LEAST = 256 * 2**20
"""Bytes free to begin with: on a full disk some programs, such as apt-get, wait for ever."""


def make_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """Returns `folder`, made by `make` in a folder beside it where it is not there yet.

    An interrupted `make` leaves nothing that counts as complete; two processes make it once.

    Args:
        folder: absolute; present means complete.
        make: fills the empty folder it is given. The result is moved, so it must not hold
            its own path, unless `make` was given the path by other means.

    Raises:
        EngineError: the disk is full, or `make` raised it.
    """
    if folder.exists():
        return folder
    ownership.claim_part(folder.parent)
    with _locked(folder.with_name(f".{folder.name}.lock")):
        if folder.exists():
            return folder
        if shutil.disk_usage(folder.parent).free < _LEAST:
            raise _no_space(folder)
        partial = folder.with_name(f".{folder.name}.partial")
        remove_tree(partial)
        partial.mkdir()
        try:
            make(partial)
        except OSError as error:
            remove_tree(partial)
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise _no_space(folder) from None
            raise
        partial.rename(folder)
    return folder


def _no_space(folder: Path) -> EngineError:
    return EngineError(
        f"no space left for {folder}: free some, or set CHARMED_MLOPS_CACHE to a "
        "folder on a larger disk"
    )


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    with file.open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                # Not left to the kernel: a thread that waits there could not be ended.
                if _ended.wait(_POLL_SECONDS):
                    raise EngineError(_STOPPING) from None
        yield


@contextlib.contextmanager
def heavy() -> Iterator[None]:
    """One at a time on this machine's cache: builds that take all cores and most memory."""
    folder = paths.cache() / "builds"
    ownership.claim_part(folder)
    with _locked(folder / ".heavy.lock"):
        yield


def end() -> None:
    """Ends every build of this process, and keeps new ones from beginning."""
    _ended.set()
    with _guard:
        for process in _running:
            if process.returncode is None:
                system.kill_group(process.pid)


def _contained(
    command: Sequence[str],
    cwd: Path | None,
    environment: Mapping[str, str] | None,
    output: IO[bytes],
    errors: IO[bytes],
) -> int:
    """Runs a program that ends with this process and stays in the background."""
    if shutil.which(command[0]) is None:
        raise EngineError(f"{command[0]} is not installed")
    scratch = paths.cache() / "builds" / "tmp"
    ownership.claim_part(scratch.parent)
    scratch.mkdir(exist_ok=True)
    with _guard:
        if _ended.is_set():
            raise EngineError(_STOPPING)
        process = subprocess.Popen(
            [sys.executable, "-S", str(_CONTAINED), str(os.getpid()), *command],
            cwd=cwd,
            env={**os.environ, "TMPDIR": str(scratch), **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
        _running.add(process)
    try:
        return process.wait()
    finally:
        if process.poll() is None:  # Ctrl-C: it has a session of its own, the terminal's does not
            system.kill_group(process.pid)
            process.wait()
        with _guard:
            _running.discard(process)


def run(
    arguments: Sequence[str | Path],
    log: str,
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    tries: int = 2,
) -> None:
    """Runs a program of a build, with its output in `cache()/builds/log/LOG.log`.

    Tried again once, because what fails in a build is most often a download that was cut.

    Raises:
        EngineError: it failed each time, or cannot be run; names the log.
    """
    file = paths.cache() / "builds" / "log" / f"{log}.log"
    file.parent.mkdir(parents=True, exist_ok=True)
    command = [str(argument) for argument in arguments]
    code = 0
    for _ in range(tries):
        with file.open("wb") as output:
            code = _contained(command, cwd, environment, output, output)
        if code == 0:
            return
        if _ended.is_set():
            raise EngineError(_STOPPING)
    said = [line.strip() for line in file.read_text(errors="replace").splitlines() if line.strip()]
    if any("no space left" in line.lower() for line in said[-20:]):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    raise EngineError(f"{log}: {said[-1] if said else f'exit code {code}'} (all of it: {file})")


def output(
    arguments: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> tuple[int, str, str]:
    """Runs a program of a build once; its exit code, and what it printed on each stream.

    Raises:
        EngineError: it cannot be run.
    """
    command = [str(argument) for argument in arguments]
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as errors:
        code = _contained(command, cwd, environment, said, errors)
        streams = []
        for stream in (said, errors):
            stream.seek(0)
            streams.append(stream.read().decode(errors="replace"))
    return code, streams[0], streams[1]
