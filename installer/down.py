"""`./mlops down`: removes what `./mlops up` made, and says what."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from installer import juju_on_engine, opened, target
from localkube.host import mapped, ownership, paths
from localkube.host.errors import EngineError
from localkube.host.progress import Progress
from localkube.host.trees import OthersFileError, remove_tree


def main(arguments: list[str]) -> int:
    """Runs `./mlops down`; returns an exit code."""
    parser = argparse.ArgumentParser(prog="./mlops down", description=__doc__)
    parser.add_argument(
        "--all", action="store_true", help="also the builds: the whole cache folder"
    )
    parser.add_argument(
        "--destroy-storage",
        action="store_true",
        help="on a real Juju: the volumes too (the local engine's always go)",
    )
    options = parser.parse_args(arguments)
    removed = []
    chosen = target.current()
    if not chosen.has_engine:
        removed.append(_destroy_model(chosen, options.destroy_storage))
    elif not chosen.is_local:
        removed += juju_on_engine.forget()
    removed += [f"open in the background: {each}" for each in opened.stop()]
    removed += remove_engine()
    if options.all:
        removed += _remove_cache()
    for line in removed:
        print(f"removed: {line}")
    if not removed:
        print("nothing to remove")
    return 0


def _destroy_model(chosen: target.Target, storage: bool) -> str:
    arguments = ["destroy-model", chosen.model, "--no-prompt"]
    with Progress().step(f"destroy model {chosen.model}"):
        chosen.run(*arguments, *(["--destroy-storage"] if storage else []), timeout=3600)
    target.forget()
    return f"model {chosen.model}"


def remove_engine() -> list[str]:
    """Stops the local engine and removes everything it kept; returns what was there.

    Raises:
        EngineError: it does not stop, or another program has mounted something in its folder.
    """
    from localjuju.engine import lifecycle, limits

    removed: list[str] = []
    number = lifecycle.pid()
    if lifecycle.stop():
        removed.append(f"engine (process {number}, with every pod, network and mount of it)")
    state = paths.state()
    limits.sweep()
    if not state.exists():
        return removed
    if not ownership.is_ours(state):
        if any(state.iterdir()):
            raise EngineError(
                f"{state} was not made by the engine, so nothing in it is removed: unset "
                "CHARMED_MLOPS_STATE, or remove it yourself"
            )
        return removed
    size = _size(state)
    _remove(ownership.remove, state)
    if size:
        removed.append(f"{state} ({size / 1e6:.0f} MB: models, volumes, cluster objects)")
    return removed


def _remove(how: Callable[[Path], None], folder: Path) -> None:
    """Removes a folder; files of ids that a plain user's pods had, in a user namespace.

    The namespace is made only where there are such files: not every user may make one.

    Raises:
        EngineError: what `how` raises.
    """
    try:
        how(folder)
    except OthersFileError as refused:
        # The folder itself is refused: the one above is another user's, in a namespace too.
        if refused.path == Path(os.path.realpath(folder.parent)) / folder.name:
            raise
        try:
            mapped.check()
        except EngineError:
            raise refused from None
        mapped.run(lambda: how(folder))


def _remove_cache() -> list[str]:
    """Removes what we made in the cache folder; what a user has put there stays."""
    cache = paths.cache()
    lines = []
    whole = ownership.is_ours(cache)
    for entry in sorted(cache.iterdir()) if cache.exists() else ():
        if entry.name not in ownership.IN_CACHE or entry.name == ownership.MARKER:
            continue
        if not whole and ownership.identity(entry) is None:
            print(f"kept: {entry}: it has no marker of ours, remove it yourself if it is")
            continue
        size = _size(entry)
        _remove(remove_tree if whole else ownership.remove, entry)
        lines.append(f"{entry} ({size / 1e6:.0f} MB)")
    if cache.exists() and {entry.name for entry in cache.iterdir()} <= {ownership.MARKER}:
        remove_tree(cache)
    return lines


def _size(path: Path) -> int:
    """Bytes on disk, as far as this user may look."""
    if not path.is_dir():
        return path.lstat().st_size
    total = 0
    for folder, _, names in os.walk(path, onerror=lambda _: None):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512  # noqa: PTH118
            except OSError:
                continue
    return total
