"""Makes costly things once: a folder under a lock, moved into place when it is complete."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from localjuju import ownership, paths
from localjuju.errors import EngineError
from localjuju.trees import remove_tree


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
        partial = folder.with_name(f".{folder.name}.partial")
        remove_tree(partial)
        partial.mkdir()
        try:
            make(partial)
        except OSError as error:
            remove_tree(partial)
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise EngineError(
                    f"no space left for {folder}: free some, or set CHARMED_MLOPS_CACHE to a "
                    "folder on a larger disk"
                ) from None
            raise
        partial.rename(folder)
    return folder


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


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
            try:
                code = subprocess.run(
                    command,
                    cwd=cwd,
                    env={**os.environ, **(environment or {})},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    check=False,
                ).returncode
            except FileNotFoundError:
                raise EngineError(f"{command[0]} is not installed") from None
        if code == 0:
            return
    said = [line.strip() for line in file.read_text(errors="replace").splitlines() if line.strip()]
    if any("no space left" in line.lower() for line in said[-20:]):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    raise EngineError(f"{log}: {said[-1] if said else f'exit code {code}'} (all of it: {file})")
