"""Programs that run beside the engine's own code, each started again when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_STOP_SECONDS = 10.0
_log = logging.getLogger(__name__)


class Programs:
    """Child processes by the name of their program."""

    def __init__(self, folder: Path, logs: Path):
        """Prepares; starts nothing.

        Args:
            folder: where the programs are.
            logs: a folder; what a program prints goes into `NAME.log` in it.
        """
        self._folder = folder
        self._logs = logs
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._processes: dict[str, asyncio.subprocess.Process] = {}

    def start(
        self,
        name: str,
        arguments: Sequence[str],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Starts a program and keeps it running; `environment` is added to the little it has."""
        env = {"PATH": os.environ.get("PATH", ""), "GOGC": "50", **(environment or {})}
        self._logs.mkdir(parents=True, exist_ok=True)
        self._tasks[name] = asyncio.create_task(self._keep_running(name, arguments, env))

    def pid(self, name: str) -> int:
        """The process id of a program, such as `kube-apiserver`; for tests of faults."""
        return self._processes[name].pid

    async def stop(self) -> None:
        """Stops all programs, the last one first."""
        for name in reversed(self._tasks):
            self._tasks[name].cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._tasks[name]
            process = self._processes.get(name)
            if process is None or process.returncode is not None:
                continue
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), _STOP_SECONDS)
            except asyncio.TimeoutError:
                process.kill()
                await process.wait()
        self._tasks.clear()

    async def _keep_running(
        self, name: str, arguments: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        delay = 0.5
        while True:
            began = time.monotonic()
            try:
                process = await self._start(name, arguments, environment)
                self._processes[name] = process
                how = f"ended with {await process.wait()}"
            except OSError as error:
                how = f"cannot be started: {error}"
            delay = 0.5 if time.monotonic() - began > 30 else min(delay * 2, 10.0)
            _log.warning("%s %s; started again in %.1f s", name, how, delay)
            await asyncio.sleep(delay)

    async def _start(
        self, name: str, arguments: Sequence[str], environment: Mapping[str, str]
    ) -> asyncio.subprocess.Process:
        with (self._logs / f"{name}.log").open("ab") as output:
            return await asyncio.create_subprocess_exec(
                str(self._folder / name),
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
            )
