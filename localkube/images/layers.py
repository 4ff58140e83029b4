"""A layer of an image: a tree of files, read as a tar that is the same each time."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

_CHUNK = 1 << 20
USUAL_MODE = 0o755
"""Of a folder above a layer's place."""

_SHARED = {"tmp": 0o1777, "var/tmp": 0o1777}
_ROOT = (0, 0)


@dataclass(frozen=True)
class Layer:
    """A tree of files, with their modes and times; a file's capabilities are left out."""

    name: str
    """Names the tree: its digest is found out once for each place and owners."""

    folder: Path
    """The tree on the host."""

    place: str = ""
    """Where in the image it is, such as `opt/tool`; the root where it is empty."""

    owners: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """User and group id by a path in the tree, for all below it too; the rest is root's."""

    moved: Mapping[str, str] = field(default_factory=dict)
    """Folders at the tree's top that are elsewhere in the image, such as `bin` at `usr/bin`."""

    def parents(self) -> dict[str, int]:
        """The folders above its place, from the top, with their modes.

        An entry of a layer replaces the folder's mode in the layers below it.
        """
        above = reversed(PurePosixPath(self.place, "x").parents)
        return {str(each): _SHARED.get(str(each), USUAL_MODE) for each in above if each.name}

    def read(self) -> Iterator[bytes]:
        """The tar, in chunks of a MiB or somewhat more; the last one has its end.

        Raises:
            OSError: the tree cannot be read, or changes.
        """
        chunk = bytearray()
        for piece in _tar(self):
            chunk += piece
            if len(chunk) >= _CHUNK:
                yield bytes(chunk)
                chunk.clear()
        yield bytes(chunk + bytes(2 * tarfile.BLOCKSIZE))


def _tar(layer: Layer) -> Iterator[bytes]:
    """The tar's headers and contents; not its end.

    They are made without a TarFile, which asks for the name of each file's owner.
    """
    for parent, mode in layer.parents().items():
        entry = tarfile.TarInfo(parent)
        entry.type, entry.mode = tarfile.DIRTYPE, mode
        yield _header(entry)
    names: dict[tuple[int, int], str] = {}  # of a file that has several
    for path, name, owner in _below(layer):
        state = path.stat(follow_symlinks=False)
        entry = tarfile.TarInfo(name)
        entry.mode = stat.S_IMODE(state.st_mode)
        entry.uid, entry.gid = owner
        entry.mtime = int(state.st_mtime)  # what Python compiled is for a source of that time
        if stat.S_ISDIR(state.st_mode):
            entry.type = tarfile.DIRTYPE
        elif stat.S_ISLNK(state.st_mode):
            entry.type, entry.linkname = tarfile.SYMTYPE, str(Path(path).readlink())
        elif not stat.S_ISREG(state.st_mode):
            continue
        elif (known := names.setdefault((state.st_dev, state.st_ino), name)) != name:
            entry.type, entry.linkname = tarfile.LNKTYPE, known
        else:
            entry.size = state.st_size
            yield _header(entry)
            yield from _content(path.path, entry.size)
            continue
        yield _header(entry)


def _header(entry: tarfile.TarInfo) -> bytes:
    return entry.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _content(path: str, size: int) -> Iterator[bytes]:
    """A file's bytes and what fills the last block.

    Raises:
        OSError: it has become shorter.
    """
    with Path(path).open("rb", buffering=0) as file:
        left = size
        while left:
            piece = file.read(min(left, _CHUNK))
            if not piece:
                raise OSError(f"{path} has become shorter")
            left -= len(piece)
            yield piece
    yield bytes(-size % tarfile.BLOCKSIZE)


def _below(layer: Layer) -> Iterator[tuple[os.DirEntry[str], str, tuple[int, int]]]:
    """All in the tree with its path in the image and its owner, in the same order each time.

    Each folder comes before what is in it.
    """

    def entries(
        folder: str | Path, inside: str, place: str, above: tuple[int, int]
    ) -> Iterator[tuple[os.DirEntry[str], str, tuple[int, int]]]:
        with os.scandir(folder) as found:
            known = sorted(found, key=lambda entry: entry.name)
        for entry in known:
            path = f"{inside}{entry.name}"
            owner = layer.owners.get(path, above)
            name = f"{place}{entry.name}"
            if not inside and not entry.is_symlink():
                name = f"{place}{layer.moved.get(entry.name, entry.name)}"
            yield entry, name, owner
            if entry.is_dir(follow_symlinks=False):
                yield from entries(entry.path, f"{path}/", f"{name}/", owner)

    place = f"{layer.place}/" if layer.place else ""
    return entries(layer.folder, "", place, layer.owners.get(".", _ROOT))
