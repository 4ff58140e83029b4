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
        kind: go, pypi, debian, path, stand-in, builtin or agent.
        rootfs: the tree that is laid over the host's /usr, /etc and so on.
        entrypoint: as the upstream image's ENTRYPOINT.
        command: as the upstream image's CMD.
        env: as the upstream image's ENV.
        workdir: as the upstream image's WORKDIR.
        binds: host folders that have to be seen at the same path, read-only.
        stand_in: whether it only keeps the image's contract; a user is told.
        user: as the upstream image's USER, "" where it has none.
        uid: the id of that user.
        gid: the id of that group; None where it is the user's own.
        writable: folders of the image that are that user's.
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
    user: str = ""
    uid: int = 0
    gid: int | None = None
    writable: tuple[str, ...] = ()

    @property
    def has_named_user(self) -> bool:
        """Whether its USER is a name, which nobody can tell an id from without the image."""
        name = self.user.partition(":")[0]
        return bool(name) and not name.isdigit()

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
            writable=tuple(value["writable"]),
        )
