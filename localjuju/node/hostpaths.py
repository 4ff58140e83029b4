"""Which folders of the host a pod may see: the engine's own, and those that the user names.

The engine acts with its user's rights, root's as a rule; whoever may create a pod would have the
host's files by a hostPath volume.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from localjuju.node.environment import ConfigError
from localkube.node.limits import VARIABLE


class HostPaths:
    """The folders that hostPath volumes, and PersistentVolumes of that kind, may lie in."""

    def __init__(self, allowed: Iterable[Path]):
        self._allowed = [folder.resolve() for folder in allowed]

    @classmethod
    def of(cls, *own: Path) -> HostPaths:
        """The engine's own folders and those that $LOCALJUJU_HOST_PATHS lists."""
        named = os.environ.get(VARIABLE, "").split(os.pathsep)
        return cls([*own, *(Path(name) for name in named if name.startswith("/"))])

    def resolve(self, path: str) -> Path:
        """The path with every link followed, once it is known to be allowed.

        Raises:
            ConfigError: it is not.
        """
        found = Path(path).resolve()
        if any(found.is_relative_to(folder) for folder in self._allowed):
            return found
        raise ConfigError(
            f"hostPath {path} is not one of the engine's folders: "
            f"start the engine with {VARIABLE}={path} to allow it"
        )
