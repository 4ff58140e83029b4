"""Which folders are ours: those with a marker that we wrote while they were empty.

A path, a number or a name says nothing about who owns what is there. Nothing is removed, and no
process is ended, on the word of a path alone.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

from localkube.host import paths
from localkube.host.errors import EngineError
from localkube.host.trees import refuse_mounts, remove_tree

MARKER = ".charmed-mlops"
# Everything that this project makes in the cache folder.
IN_CACHE = frozenset(
    {
        MARKER, "bench-engine", "bootstrap.lock", "bootstrap.log", "builds", "charm-packages",
        "charm-venvs", "engine", "faults-engine", "images", "integration-engine",
        "integration-engine-gw1", "test-engine", "timings.json", "uv",
    }
)  # fmt: skip


def identity(folder: Path) -> str | None:
    """What the folder's marker says: a random word, the same for the folder's whole life."""
    try:
        return (folder / MARKER).read_text().strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def is_ours(folder: Path) -> bool:
    """Whether everything in the folder may be removed by us.

    It has our marker, or it is from before there were markers: the default cache folder, which
    bears the project's name, or a folder that we named in a cache folder of ours.
    """
    if identity(folder) is not None:
        return True
    if folder.name in IN_CACHE and folder.parent == paths.cache():
        return is_ours(folder.parent)
    return folder == paths.default_cache()


def claim(folder: Path, variable: str) -> str:
    """Makes the folder ours, or finds that it is; returns its identity.

    Args:
        folder: made where it is missing.
        variable: what the user changes to name another folder.

    Raises:
        EngineError: it holds something and we did not make it.
    """
    known = identity(folder)
    if known is not None:
        return known
    folder.mkdir(parents=True, exist_ok=True)
    if not _is_empty(folder) and not is_ours(folder):
        raise EngineError(
            f"{folder} has files that are not the engine's: name a new or an empty folder "
            f"with {variable}"
        )
    mark(folder)
    made = identity(folder)
    assert made is not None
    return made


def _is_empty(folder: Path) -> bool:
    return all(entry.name.startswith(MARKER) for entry in folder.iterdir())


def mark(folder: Path) -> None:
    """Writes the marker; one that is there stays."""
    descriptor, name = tempfile.mkstemp(prefix=f"{MARKER}.", dir=folder)
    new, marker = Path(name), folder / MARKER
    with os.fdopen(descriptor, "w") as text:
        text.write(f"{secrets.token_hex(8)}\n")
    # A link either takes the name or not: two processes agree on one identity.
    with contextlib.suppress(FileExistsError):
        try:
            os.link(new, marker)
        except PermissionError:  # a file system without hard links
            new.rename(marker)
    new.unlink(missing_ok=True)


def remove(folder: Path) -> None:
    """Removes a folder of ours; its marker last, so that it stays ours if that is interrupted.

    Raises:
        EngineError: it is not ours, or something is mounted below it.
        OthersFileError: a file is another user's.
    """
    if not is_ours(folder):
        raise EngineError(f"{folder} is not the engine's, so it is not removed")
    refuse_mounts(folder)
    for entry in folder.iterdir():
        if entry.name != MARKER:
            remove_tree(entry)
    remove_tree(folder)


def claim_cache() -> bool:
    """Marks the cache folder where it is missing or empty; whether it is ours.

    A folder that the user named and that holds other things is used, and never removed.
    """
    cache = paths.cache()
    cache.mkdir(parents=True, exist_ok=True)
    if identity(cache) is None and (is_ours(cache) or _is_empty(cache)):
        mark(cache)
    return is_ours(cache)


def claim_part(folder: Path) -> None:
    """Makes a folder in the cache, and marks it where it is new or empty."""
    if folder.parent == paths.cache():
        claim_cache()
    folder.mkdir(parents=True, exist_ok=True)
    if identity(folder) is None and _is_empty(folder):
        mark(folder)


def claim_state() -> str:
    """Makes `paths.state()` ours; returns its identity.

    Raises:
        EngineError: it holds something that no engine put there.
    """
    state = paths.state()
    if state.parent == paths.cache():
        claim_cache()
    return claim(state, "CHARMED_MLOPS_STATE")
