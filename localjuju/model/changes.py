"""Waiting for the next change, and ending tasks: both always come back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterable
from typing import Any

_log = logging.getLogger(__name__)
_CANCELS = 3


class Changes:
    """Counts changes, so that whoever looked at count N can wait for more than N.

    An `asyncio.Event` with `wait_for` cannot do this safely: from Python 3.12 on `wait_for` does
    not give way to other tasks when the event is set already, and before it may swallow a
    cancellation.
    """

    def __init__(self) -> None:
        self.count = 0
        self._waiters: set[asyncio.Future[None]] = set()

    def tell(self) -> None:
        """Something changed."""
        self.count += 1
        for waiter in self._waiters:
            _resolve(waiter)

    async def after(self, seen: int, seconds: float | None = None) -> None:
        """Returns when `count` is above `seen`, or after `seconds`.

        Other tasks run meanwhile in any case.
        """
        if self.count != seen:
            await asyncio.sleep(0)
            return
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        timer = None if seconds is None else loop.call_later(seconds, _resolve, waiter)
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)
            if timer:
                timer.cancel()


def _resolve(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


async def end(tasks: Iterable[asyncio.Task[Any]], seconds: float = 5.0) -> None:
    """Cancels tasks and waits for their end, `seconds` at most; what will not end is told.

    A task may lose a cancellation, e.g. in a library's `except`: it is asked again.
    """
    left = set(tasks)
    for _ in range(_CANCELS):
        if not left:
            return
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=seconds / _CANCELS)
    for task in left:
        _log.error("%s does not end; it is left behind", task.get_name())


async def within(seconds: float, step: Awaitable[Any], name: str) -> None:
    """Awaits a step of stopping; one that fails or takes too long is told and given up."""
    task = asyncio.ensure_future(step)
    await asyncio.wait({task}, timeout=seconds)
    if not task.done():
        _log.error("%s took more than %.0f s; given up", name, seconds)
        await end([task], 1.0)
    elif error := task.exception():
        _log.error("%s failed", name, exc_info=error)
