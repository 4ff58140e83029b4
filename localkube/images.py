"""Images as a registry gives them out: layers made from folders, once; config and manifest."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from localjuju import builds

_OCI = "application/vnd.oci.image"
MANIFEST = f"{_OCI}.manifest.v1+json"
_CONFIG = f"{_OCI}.config.v1+json"
_LAYER = f"{_OCI}.layer.v1.tar"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_CHUNK = 1 << 20
_ROOT = (0, 0)


@dataclass(frozen=True)
class Layer:
    """A tree of files, with their modes and times; a file's capabilities are left out."""

    name: str
    """Names the tree: it is read once for each place and owners, and never again."""

    folder: Path
    """The tree on the host."""

    place: str = ""
    """Where in the image it is, such as `opt/tool`; the root where it is empty."""

    owners: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """User and group id by a path in the tree, for all below it too; the rest is root's."""

    moved: Mapping[str, str] = field(default_factory=dict)
    """Folders at the tree's top that are elsewhere in the image, such as `bin` at `usr/bin`."""

    left_out: Sequence[str] = ()
    """Patterns of paths in the tree that are left out with all below them."""


@dataclass(frozen=True)
class Image:
    """What a container is made from; see the OCI image specification's config."""

    layers: Sequence[Layer]
    user: str = ""
    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: str = "/"


@dataclass(frozen=True)
class Blob:
    """Bytes that a registry gives out by their digest."""

    kind: str
    digest: str
    size: int
    content: bytes | Path

    def descriptor(self) -> dict[str, Any]:
        """How another blob names it."""
        return {"mediaType": self.kind, "digest": self.digest, "size": self.size}


def pack(image: Image, kept: Path) -> tuple[Blob, list[Blob]]:
    """The image's manifest, and what that names: its config and its layers.

    Args:
        image: to be packed.
        kept: the folder of all layers' tars.

    Raises:
        EngineError: the disk is full.
        OSError: a layer's folder cannot be read.
    """
    layers = [_pack(layer, kept) for layer in image.layers]
    settings = {
        "User": image.user,
        "Entrypoint": list(image.entrypoint),
        "Cmd": list(image.command),
        "Env": [f"{name}={value}" for name, value in sorted(image.environment.items())],
        "WorkingDir": image.folder,
    }
    config = _json(
        _CONFIG,
        {
            "architecture": _ARCHITECTURES[platform.machine()],
            "os": "linux",
            "config": {name: value for name, value in settings.items() if value},
            "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
        },
    )
    manifest = _json(
        MANIFEST,
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.descriptor(),
            "layers": [layer.descriptor() for layer in layers],
        },
    )
    return manifest, [config, *layers]


def _json(kind: str, document: Mapping[str, Any]) -> Blob:
    content = json.dumps(document).encode()
    return Blob(kind, f"sha256:{hashlib.sha256(content).hexdigest()}", len(content), content)


def _pack(layer: Layer, kept: Path) -> Blob:
    def make(target: Path) -> None:
        file = target / "layer.tar"
        with tarfile.open(file, "w", format=tarfile.PAX_FORMAT) as tar:
            _add_all(tar, layer)
        (target / "digest").write_text(_digest(file))

    # Not compressed: it is read from this machine's own disk.
    how = [layer.place, sorted(layer.owners.items())]
    if layer.moved or layer.left_out:
        how += [sorted(layer.moved.items()), list(layer.left_out)]
    said = json.dumps(how).encode()
    key = hashlib.sha256(said).hexdigest()[:12]
    folder = builds.make_once(kept / f"{layer.name}-{key}", make)
    file = folder / "layer.tar"
    return Blob(_LAYER, (folder / "digest").read_text(), file.stat().st_size, file)


def _add_all(tar: tarfile.TarFile, layer: Layer) -> None:
    for parent in reversed(PurePosixPath(layer.place, "x").parents):
        if parent.name:
            entry = tarfile.TarInfo(str(parent))
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
    for path in _below(layer.folder, layer):
        inside = path.relative_to(layer.folder)
        entry = tar.gettarinfo(path, arcname=str(_place(layer, inside)))
        if entry is None:  # a socket
            continue
        entry.uid, entry.gid = _owner(PurePosixPath(inside), layer.owners)
        entry.uname = entry.gname = ""
        entry.mtime = int(entry.mtime)  # what Python compiled is valid for a source of that time
        if entry.isreg():
            with path.open("rb") as content:
                tar.addfile(entry, content)
        else:
            tar.addfile(entry)


def _below(folder: Path, layer: Layer) -> Iterator[Path]:
    """All below a folder, each folder before what is in it, in the same order each time."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path = Path(entry.path)
        inside = str(path.relative_to(layer.folder))
        if any(fnmatchcase(inside, pattern) for pattern in layer.left_out):
            continue
        yield path
        if entry.is_dir(follow_symlinks=False):
            yield from _below(path, layer)


def _place(layer: Layer, inside: Path) -> PurePosixPath:
    """Where in the image a path of the tree is."""
    first, *rest = inside.parts
    if not (layer.folder / first).is_symlink():
        first = layer.moved.get(first, first)
    return PurePosixPath(layer.place, first, *rest)


def _owner(path: PurePosixPath, owners: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    for place in (path, *path.parents):
        if str(place) in owners:
            return owners[str(place)]
    return _ROOT


def _digest(file: Path) -> str:
    found = hashlib.sha256()
    with file.open("rb") as content:
        while chunk := content.read(_CHUNK):
            found.update(chunk)
    return f"sha256:{found.hexdigest()}"
