"""The process on the host's side: starts the inner one, builds images for it, ends with it."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import signal
import sys
from pathlib import Path

from localjuju import paths
from localjuju.controlplane import ensure_programs
from localjuju.engine.pulls import PullServer
from localjuju.errors import EngineError
from localjuju.images import Catalogue
from localjuju.progress import Progress

_STOP_SECONDS = 30.0
_log = logging.getLogger(__name__)


def run() -> int:
    """Runs the engine in the foreground until it is told to stop; returns an exit code.

    Raises:
        EngineError: another engine runs, or this machine cannot run one.
    """
    state = paths.state()
    state.mkdir(parents=True, exist_ok=True)
    state.chmod(0o700)
    with (state / "engine.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EngineError("the engine runs already: ./mlops down stops it") from None
        pid_file = state / "engine.pid"
        pid_file.write_text(f"{os.getpid()}\n")
        try:
            return asyncio.run(_supervise(state))
        finally:
            pid_file.unlink(missing_ok=True)


async def _supervise(state: Path) -> int:
    progress = Progress()
    catalogue = Catalogue.load()
    programs = await asyncio.to_thread(ensure_programs, progress)
    sockets = PullServer(
        state / "images.sock", lambda reference: catalogue.ensure(reference, progress)
    )
    await sockets.start()
    inner = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "localjuju.engine", "inner", str(programs), str(state),
        str(state / "images.sock"),
    )  # fmt: skip
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    ended = asyncio.create_task(inner.wait())
    stop = asyncio.create_task(stopped.wait())
    await asyncio.wait({ended, stop}, return_when=asyncio.FIRST_COMPLETED)
    code = await ended if ended.done() else await _end(inner, ended)
    stop.cancel()
    await sockets.stop()
    return code


async def _end(inner: asyncio.subprocess.Process, ended: asyncio.Task[int]) -> int:
    """Asks the inner process to stop; after a while the kernel is asked to end it."""
    inner.terminate()
    try:
        await asyncio.wait_for(asyncio.shield(ended), _STOP_SECONDS)
    except asyncio.TimeoutError:  # another class before Python 3.11
        _log.warning("the engine did not stop in %.0f s: killed", _STOP_SECONDS)
        inner.kill()
        await ended
    return 0
