"""Keeps the logs of the engine and of the control plane from filling the disk.

The programs hold their logs open and append (O_APPEND), so that a log is copied and emptied in
place: what is written in between is lost, which a log can bear.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
from pathlib import Path

LARGEST = 10 << 20
_EVERY_SECONDS = 30.0
_log = logging.getLogger(__name__)


def rotate(file: Path, largest: int = LARGEST) -> bool:
    """Moves what a log holds to FILE.1 where it is too large; whether it was.

    Raises:
        OSError: it cannot be copied; the log is as it was, but on a full disk, where room
            matters more than old lines, empty.
    """
    if file.is_symlink() or not file.is_file() or file.stat().st_size <= largest:
        return False
    old, new = file.with_name(f"{file.name}.1"), file.with_name(f"{file.name}.new")
    try:
        shutil.copyfile(file, new)
        new.replace(old)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
            old.unlink(missing_ok=True)
        os.truncate(file, 0)
        raise
    os.truncate(file, 0)
    return True


async def keep_small(folder: Path) -> None:
    """Looks after the logs in a folder, not in those below it, until cancelled."""
    while True:
        for file in folder.glob("*.log"):
            try:
                await asyncio.to_thread(rotate, file)
            except OSError as error:
                _log.warning("log %s: %s", file, error)
        await asyncio.sleep(_EVERY_SECONDS)
