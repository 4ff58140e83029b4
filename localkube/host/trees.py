"""Removes folders: the one place that does it recursively for the engine and the installer."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from localkube.host.errors import EngineError

_ALL = stat.S_IRWXU


class OthersFileError(EngineError):
    """`path` is another user's, or what it is in."""

    def __init__(self, path: Path):
        super().__init__(f"cannot remove {path}: run the command as its owner")
        self.path = path


def remove_tree(folder: Path) -> None:
    """Removes a folder and all below it; a link is removed, never followed.

    Overlayfs leaves folders without any permission and Go makes its own read-only: the modes of
    folders below `folder` are changed where that is needed. Nothing else is changed.

    Args:
        folder: may be missing, or a file or a link.

    Raises:
        EngineError: something is mounted below it.
        OthersFileError: a file is another user's.
    """
    place = Path(os.path.realpath(folder.parent)) / folder.name
    refuse_mounts(place)
    with contextlib.suppress(FileNotFoundError):
        _remove(place.name, place.parent, None)


def refuse_mounts(folder: Path) -> None:
    """Raises EngineError where something is mounted at the folder or below it."""
    place = Path(os.path.realpath(folder.parent)) / folder.name
    for mounted in _mounts():
        if place == mounted or place in mounted.parents:
            raise EngineError(f"{mounted} is mounted: umount {mounted}")


def _remove(name: str, parent: Path, parent_fd: int | None) -> None:
    """Removes `name` in the folder `parent`, open as `parent_fd` where it is below the top."""
    known: str | Path = name if parent_fd is not None else parent / name
    try:
        try:
            with _open_folder(known, parent_fd) as folder:
                for entry in os.listdir(folder):  # noqa: PTH208 - of a descriptor
                    _remove(entry, parent / name, folder)
            os.rmdir(known, dir_fd=parent_fd)
        except NotADirectoryError:
            os.unlink(known, dir_fd=parent_fd)
    except PermissionError:
        raise OthersFileError(parent / name) from None


@contextlib.contextmanager
def _open_folder(name: str | Path, parent_fd: int | None) -> Iterator[int]:
    """A folder, readable and writable for its owner; raises NotADirectoryError, for a link too."""
    flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(name, flags, dir_fd=parent_fd)
    try:
        here = f"/proc/self/fd/{handle}"
        mode = stat.S_IMODE(os.fstat(handle).st_mode)
        if mode & _ALL != _ALL:
            os.chmod(here, mode | _ALL)  # noqa: PTH101 - this very folder, whatever its name
        folder = os.open(here, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    finally:
        os.close(handle)
    try:
        yield folder
    finally:
        os.close(folder)


def _mounts() -> list[Path]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    # proc(5): a space, tab, newline or backslash is written as three octal digits
    return [
        Path(re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), line.split()[4]))
        for line in lines
    ]
