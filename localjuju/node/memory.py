"""What a container's processes take of memory.

The kernel bounds it by control groups, which not everybody may make: so the node looks.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from localjuju.node.values import quantity

_LOOK_SECONDS = 0.5
_OWN = ("RssAnon", "RssShmem")  # pages of files are given back when memory runs out
_PROC = Path("/proc")


def limit(spec: Any) -> int | None:
    """Bytes that a container may use; None for any number.

    Args:
        spec: lightkube's Container.

    Raises:
        ValueError: the limit is no quantity.
    """
    limits = (spec.resources and spec.resources.limits) or {}
    return int(quantity(limits["memory"])) if "memory" in limits else None


async def exceeded(pid: int, most: int) -> None:
    """Returns when a container has used more than it may and its processes have been killed.

    Args:
        pid: the container's first process.
        most: bytes.
    """
    while sum(_used(each) for each in _family(pid)) <= most:
        await asyncio.sleep(_LOOK_SECONDS)
    for each in list(_family(pid)):  # all, before their parents are gone
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)


def _family(pid: int) -> Iterator[int]:
    """A process and all that came of it, as far as they are there."""
    yield pid
    with contextlib.suppress(OSError):
        for task in (_PROC / str(pid) / "task").iterdir():
            for child in (task / "children").read_text().split():
                yield from _family(int(child))


def _used(pid: int) -> int:
    found = 0
    with contextlib.suppress(OSError):
        for line in (_PROC / str(pid) / "status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in _OWN:
                found += int(value.split()[0]) * 1024
    return found
