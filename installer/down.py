"""`./mlops down`: removes what `./mlops up` made, and says what."""

from __future__ import annotations

import argparse
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from installer import target
from localjuju import paths
from localjuju.errors import EngineError
from localjuju.progress import Progress


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
    if not chosen.is_local:
        removed.append(_destroy_model(chosen, options.destroy_storage))
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
    from localjuju.engine import lifecycle

    removed = []
    number = lifecycle.pid()
    if lifecycle.stop():
        removed.append(f"engine (process {number}, with every pod, network and mount of it)")
    state = paths.state()
    if not state.exists():
        return removed
    size = _size(state)
    remove_tree(state)
    if size:
        removed.append(f"{state} ({size / 1e6:.0f} MB: models, volumes, cluster objects)")
    return removed


def _remove_cache() -> list[str]:
    """Removes the cache; a folder that the user named is kept if it holds anything else."""
    cache = paths.cache()
    lines = []
    for entry in sorted(cache.iterdir()) if cache.exists() else ():
        if entry.name not in _OURS:
            continue
        size = _size(entry)
        if entry.is_dir():
            remove_tree(entry)
        else:
            entry.unlink()
        lines.append(f"{entry} ({size / 1e6:.0f} MB)")
    if cache.exists() and not any(cache.iterdir()):
        cache.rmdir()
    return lines


# everything that this project makes in the cache folder
_OURS = frozenset(
    {
        "bench-engine", "bootstrap.lock", "bootstrap.log", "builds", "charm-packages",
        "charm-venvs", "engine", "images", "test-engine", "timings.json", "uv",
    }
)  # fmt: skip


def remove_tree(folder: Path) -> None:
    """Removes a folder and all below, and nothing that is mounted there.

    Raises:
        EngineError: something is mounted below it, or a file is another user's.
    """
    for mounted in _mounts():
        if folder == mounted or folder in mounted.parents:
            raise EngineError(f"{mounted} is mounted: umount {mounted}")

    def allow(function: Callable[..., Any], path: str, details: Any) -> None:
        # overlayfs leaves folders without any permission, and Go makes its own read-only
        try:
            for name in (os.path.dirname(path), path):  # noqa: PTH120
                if stat.S_ISDIR(os.lstat(name).st_mode):
                    os.chmod(name, 0o700)  # noqa: PTH101
            if function in (os.unlink, os.rmdir, os.remove):
                function(path)
            else:
                shutil.rmtree(path)
        except FileNotFoundError:
            return
        except PermissionError:
            raise EngineError(f"cannot remove {path}: run the command as its owner") from None

    shutil.rmtree(folder, onerror=allow)


def _mounts() -> list[Path]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [Path(line.split()[4].encode().decode("unicode_escape")) for line in lines]


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
