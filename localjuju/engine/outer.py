"""The process on the host's side: starts the inner one, builds images for it, ends with it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import sys
from collections.abc import Coroutine
from functools import partial
from pathlib import Path
from typing import Any, TextIO, TypeVar

from localjuju.engine import choices, limits, rotation, running
from localjuju.engine.choices import Choices
from localjuju.images import layers
from localkube.building import builds
from localkube.host import environment, mapped, ownership, paths
from localkube.host.progress import Progress
from localkube.images import finder, upstream
from localkube.images.finder import Finder
from localkube.node import egress, programs
from localkube.node.egress import Egress

_STOP_SECONDS = 30.0
_LOOK_SECONDS = 1.0
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


def run(owner: int | None = None, asked: Choices | None = None) -> int:
    """Runs the engine in the foreground until it is told to stop; returns an exit code.

    Args:
        owner: a process that the engine ends with; None for an engine that stays.
        asked: what it is to be like; as the last one where nothing is said.

    Raises:
        EngineError: another engine runs, this machine cannot run one, or no registry answers
            where images were to come from there.
    """
    state = paths.state()
    limits.check(state)
    mapped.enter()
    ownership.claim_state()
    state.chmod(0o700)
    _allow_open_files()
    with running.hold(state) as lock:
        before, asked = choices.load(state), asked or Choices()
        before.refuse_other_controller(asked)
        made = asked.over(before)
        made = made.found(_answering(made))
        groups = limits.groups(state)
        groups.make()
        try:
            return asyncio.run(_supervise(state, lock, owner, made))
        finally:
            groups.remove()


def _answering(made: Choices) -> list[str]:
    """The registries that images may come from: none where they are to be the catalogue's.

    Raises:
        EngineError: a setting is not as it has to be.
    """
    return [] if made.images == "catalogue" else upstream.answering(layers.registries())


def _allow_open_files() -> None:
    """Raises the soft limit to the hard one: pipes, logs, watches, two sockets a connection."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # more than the kernel allows anybody
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _supervise(state: Path, lock: TextIO, owner: int | None, made: Choices) -> int:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    watching = [
        asyncio.create_task(_stay_in_place(lock, state, stopped)),
        asyncio.create_task(rotation.keep_small(state / "log")),
    ]
    if owner is not None:
        _follow(owner, stopped)
    stop = asyncio.create_task(stopped.wait())
    progress = Progress()
    find = partial(layers.find_beside, made.in_place_of_stand_ins(), agents=not made.juju)
    images = Finder(state / finder.SOCKET, find)
    way_out: Egress | None = None
    choices.save(state, made)
    _log.info("%s", made.line())
    try:
        if await _unless(stop, asyncio.to_thread(programs.ensure, progress)) is None:
            return 0
        if made.egress or made.registries:
            root = await _unless(stop, asyncio.to_thread(egress.ensure, progress))
            if root is None:
                return 0
            way_out = Egress(root, state / "log" / "egress.log")
        images.start()
        inner = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "localjuju.engine", "inner",
            *(["--egress"] if made.egress else []), *(["--upstream"] if made.registries else []),
            *(["--juju"] if made.juju else []), f"--parent={os.getpid()}", str(state),
            env=environment.scrubbed(os.environ),
        )  # fmt: skip
        if way_out is not None:
            try:
                await asyncio.to_thread(way_out.start, inner.pid)
            except BaseException:  # the control groups can only be removed without it
                inner.kill()
                await inner.wait()
                raise
        ended = asyncio.create_task(inner.wait())
        await asyncio.wait({ended, stop}, return_when=asyncio.FIRST_COMPLETED)
        return await ended if ended.done() else await _end(inner, ended, lock, state)
    finally:
        builds.end()  # else the end of the threads that wait for them would be waited for
        for task in (stop, *watching):
            task.cancel()
        await asyncio.to_thread(images.stop)
        if way_out is not None:
            await asyncio.to_thread(way_out.stop)


async def _unless(stop: asyncio.Task[Any], work: Coroutine[Any, Any, _T]) -> _T | None:
    """The result of `work`, or None where the engine is to stop before."""
    task = asyncio.create_task(work)
    await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
    return await task if task.done() else None


async def _stay_in_place(lock: TextIO, state: Path, stopped: asyncio.Event) -> None:
    """Stops an engine whose state folder has gone: nobody could find and stop it any more."""
    while running.is_in_place(lock, state):
        await asyncio.sleep(_LOOK_SECONDS)
    _log.error("%s has been removed: the engine ends", state)
    stopped.set()


def _follow(owner: int, stopped: asyncio.Event) -> None:
    """Stops the engine when its owner ends, however that ends."""
    try:
        descriptor = os.pidfd_open(owner)
    except OSError:
        _log.error("process %d, the owner, has ended: the engine ends", owner)
        stopped.set()
        return
    loop = asyncio.get_running_loop()

    def ended() -> None:
        loop.remove_reader(descriptor)
        _log.info("process %d, the owner, has ended: the engine ends", owner)
        stopped.set()

    loop.add_reader(descriptor, ended)


async def _end(
    inner: asyncio.subprocess.Process, ended: asyncio.Task[int], lock: TextIO, state: Path
) -> int:
    """Asks the inner process to stop; after a while the kernel is asked to end it."""
    if not running.is_in_place(lock, state):  # there is nothing left to bring to an end
        inner.kill()
        await ended
        return 1
    inner.terminate()
    try:
        await asyncio.wait_for(asyncio.shield(ended), _STOP_SECONDS)
    except asyncio.TimeoutError:  # another class before Python 3.11
        _log.warning("the engine did not stop in %.0f s: killed", _STOP_SECONDS)
        inner.kill()
        await ended
    return 0
