"""Images as a registry gives them out: config, manifest and layers, by their digests."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from localkube.building import builds
from localkube.host.errors import EngineError
from localkube.host.trees import remove_tree
from localkube.images.layers import USUAL_MODE, Layer

_OCI = "application/vnd.oci.image"
MANIFEST = f"{_OCI}.manifest.v1+json"
_CONFIG = f"{_OCI}.config.v1+json"
_LAYER = f"{_OCI}.layer.v1.tar"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


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
    content: bytes | Layer

    def read(self) -> Iterator[bytes]:
        """The bytes, in chunks. The last comes when all are known to be those of the digest.

        Raises:
            EngineError: a layer's tree is not any more what it was.
        """
        if isinstance(self.content, bytes):
            yield self.content
            return
        folder = self.content.folder
        changed = EngineError(f"{folder} has changed since it was read: pull the image again")
        found, size, last = hashlib.sha256(), 0, b""
        try:
            for chunk in self.content.read():
                found.update(chunk)
                size += len(chunk)
                if size > self.size:
                    raise changed
                yield last
                last = chunk
        except OSError:
            raise changed from None
        if (size, f"sha256:{found.hexdigest()}") != (self.size, self.digest):
            raise changed
        yield last

    def descriptor(self) -> dict[str, Any]:
        """How another blob names it."""
        return {"mediaType": self.kind, "digest": self.digest, "size": self.size}


def pack(image: Image, kept: Path) -> tuple[Blob, list[Blob]]:
    """The image's manifest, and what that names: its config and its layers.

    Args:
        image: to be packed.
        kept: the folder of all layers' digests.

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
        found, size = hashlib.sha256(), 0
        for chunk in layer.read():
            found.update(chunk)
            size += len(chunk)
        (target / "digest").write_text(f"sha256:{found.hexdigest()}")
        (target / "size").write_text(str(size))

    folder = builds.make_once(_record(layer, kept), make)
    # Not compressed: it is read from this machine's own disk.
    return Blob(_LAYER, (folder / "digest").read_text(), int((folder / "size").read_text()), layer)


def forget(layer: Layer, kept: Path) -> None:
    """Has a layer's tree be read again, for the digest that it has now.

    Raises:
        OSError: what is known of it cannot be removed.
    """
    remove_tree(_record(layer, kept))


def _record(layer: Layer, kept: Path) -> Path:
    """Where the digest of a layer is."""
    how: list[object] = [layer.place, sorted(layer.owners.items()), sorted(layer.moved.items())]
    # Modes have a part in it only where they are not the usual one: digests of before stay known.
    how += [each for each in layer.parents().items() if each[1] != USUAL_MODE]
    key = hashlib.sha256(json.dumps(how).encode()).hexdigest()[:12]
    return kept / f"{layer.name}-{key}"
