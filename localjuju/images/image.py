"""An image that is ready to run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Image:
    """A tree of files and how to run it.

    Attributes:
        reference: the image reference that a pod names.
        kind: go, pypi, debian, path, stand-in or builtin.
        rootfs: the tree that is laid over the host's /usr, /etc and so on.
        entrypoint: as the upstream image's ENTRYPOINT.
        command: as the upstream image's CMD.
        env: as the upstream image's ENV.
        workdir: as the upstream image's WORKDIR.
        binds: host folders that have to be seen at the same path, read-only.
        stand_in: whether it only keeps the image's contract; a user is told.
    """

    reference: str
    kind: str
    rootfs: Path
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    workdir: str = "/"
    binds: tuple[str, ...] = ()
    stand_in: bool = False

    def to_json(self) -> dict[str, Any]:
        """A form that `json` can write."""
        return {**asdict(self), "rootfs": str(self.rootfs), "env": dict(self.env)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Image:
        """What `to_json` made."""
        return replace(
            cls(**value),
            rootfs=Path(value["rootfs"]),
            entrypoint=tuple(value["entrypoint"]),
            command=tuple(value["command"]),
            binds=tuple(value["binds"]),
        )
