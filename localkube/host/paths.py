"""Where things are kept: the cache, and the state folder of what is deployed."""

from __future__ import annotations

import os
from pathlib import Path

from localkube.host.errors import EngineError

_STATE_BYTES = 74
"""A Unix socket's path has 107 bytes at most (unix(7)); kubelet makes one 33 bytes below the state
folder: `/kubelet/pod-resources/` and a number of up to ten digits."""


def cache() -> Path:
    """The folder of everything that can be made again: programs, images, timings.

    $CHARMED_MLOPS_CACHE, else `charmed-mlops` in the user's cache folder (XDG Base Directory
    Specification).
    """
    chosen = os.environ.get("CHARMED_MLOPS_CACHE")
    if chosen:
        return Path(chosen).absolute()
    return default_cache()


def default_cache() -> Path:
    """The cache folder where $CHARMED_MLOPS_CACHE names none."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).absolute() / "charmed-mlops"


def state() -> Path:
    """The folder of everything that the engine keeps of what is deployed; `down` removes it.

    $CHARMED_MLOPS_STATE, so that several engines can run side by side, else `engine` in the
    cache.
    """
    chosen = os.environ.get("CHARMED_MLOPS_STATE")
    return Path(chosen).absolute() if chosen else cache() / "engine"


def refuse_long(state: Path, variable: str) -> None:
    """Refuses a state folder whose path leaves the node's sockets no room.

    Args:
        state: everything that a cluster keeps.
        variable: what the user changes to name another folder.

    Raises:
        EngineError: it is too long.
    """
    length = len(os.fsencode(state))
    if length > _STATE_BYTES:
        raise EngineError(
            f"{state}: this path has {length} bytes, and kubelet's sockets below it leave "
            f"{_STATE_BYTES}: name a folder whose path is shorter with {variable}"
        )
