"""Health checks, and the changes by which Juju learns of their failure and recovery.

A check that works is a `perform-check` change that goes on; when it fails as often as its
threshold, that change ends with Error and a `recover-check` change goes on until it works again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
from collections.abc import Callable
from typing import Any

import aiohttp

from localjuju.pebble import processes, units
from localjuju.pebble.changes import Change, Changes
from localjuju.pebble.errors import ApiError

_PERIOD, _TIMEOUT, _THRESHOLD = "10s", "3s", 3
_OUTPUT_BYTES = 1024


class CheckError(Exception):
    """The check did not succeed; the text says why."""


class Check:
    """One check of the plan."""

    def __init__(self, name: str, config: dict[str, Any], manager: Checks):
        self.name = name
        self.config = config
        self.threshold = int(config.get("threshold", _THRESHOLD))
        self.failures = 0
        self.successes = 0
        self._manager = manager
        self._task: asyncio.Task[None] | None = None
        self.change: Change | None = None

    @property
    def active(self) -> bool:
        """Whether it is being performed."""
        return self._task is not None

    @property
    def status(self) -> str:
        """`up`, `down` or `inactive`."""
        if not self.active:
            return "inactive"
        return "down" if self.failures >= self.threshold else "up"

    def start(self) -> None:
        """Begins to perform it."""
        if self._task is None:
            self.failures = 0
            self._begin("perform-check")
            self._task = asyncio.create_task(self._run())

    def stop(self) -> None:
        """Ends it; its change ends well."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
            self._finish("Done")
            self.change = None

    def _begin(self, kind: str) -> None:
        word = "Perform" if kind == "perform-check" else "Recover"
        what = next(k for k in ("http", "tcp", "exec") if k in self.config)
        summary = f'{word} {what.upper() if what != "exec" else what} check "{self.name}"'
        self.change = self._manager.changes.add(kind, summary, [(kind, summary)])
        task = self.change.tasks[0]
        task.status = "Doing"
        task.data = {"check-name": self.name}
        self.change.on_update(self.change)

    def _finish(self, status: str) -> None:
        if self.change is not None and not self.change.done.is_set():
            self.change.tasks[0].status = status
            self.change.tasks[0].ready = units.now()
            self.change.finish()

    async def _run(self) -> None:
        period = units.seconds(str(self.config.get("period", _PERIOD)))
        while True:
            await asyncio.sleep(period)
            await self.perform()

    async def perform(self) -> str | None:
        """Performs it now; the reason where it failed."""
        timeout = units.seconds(str(self.config.get("timeout", _TIMEOUT)))
        try:
            await asyncio.wait_for(self._try(), timeout)
        except asyncio.TimeoutError:
            error = f"check timed out after {units.duration(timeout)}"
        except (CheckError, ApiError, OSError, aiohttp.ClientError) as failure:
            error = str(failure) or type(failure).__name__
        else:
            self._succeeded()
            return None
        self._failed(error)
        return error

    def _succeeded(self) -> None:
        was_down = self.failures >= self.threshold
        self.failures = 0
        self.successes += 1
        if was_down and self.active:
            self._finish("Done")
            self._begin("perform-check")

    def _failed(self, error: str) -> None:
        self.failures += 1
        self._manager.failures[self.name] = self._manager.failures.get(self.name, 0) + 1
        if self.change is not None:
            self.change.tasks[0].add_log("ERROR", error)
        if self.failures == self.threshold and self.active:
            self._finish("Error")
            self._begin("recover-check")
            self._manager.on_failure(self.name)

    async def _try(self) -> None:
        if http := self.config.get("http"):
            async with (
                aiohttp.ClientSession() as session,
                session.get(http["url"], headers=http.get("headers") or {}) as response,
            ):
                if not 200 <= response.status < 300:
                    raise CheckError(f"non-2xx status code {response.status}")
        elif tcp := self.config.get("tcp"):
            _, writer = await asyncio.open_connection(tcp.get("host") or "localhost", tcp["port"])
            writer.close()
        else:
            await self._exec(self.config["exec"])

    async def _exec(self, config: dict[str, Any]) -> None:
        context = {}
        if name := config.get("service-context"):
            context = self._manager.service_config(name)
        merged = {**context, **config}
        options = processes.identity(
            merged.get("user-id"), merged.get("user"), merged.get("group-id"), merged.get("group")
        )
        entry = options.pop("entry", None)
        extra = {**(context.get("environment") or {}), **(config.get("environment") or {})}
        reading, writing = os.pipe()
        try:
            pid, ending = self._manager.reaper.spawn(
                shlex.split(config["command"]), stdin=-3, stdout=writing, stderr=writing,
                env=processes.environment(os.environ, extra, entry),
                cwd=merged.get("working-dir") or "/", **options,
            )  # fmt: skip
        finally:
            os.close(writing)
        try:
            code = await ending
            os.set_blocking(reading, False)
            output = b""
            with contextlib.suppress(BlockingIOError):
                output = os.read(reading, _OUTPUT_BYTES)
        except asyncio.CancelledError:
            processes.kill_group(pid, 9)
            raise
        finally:
            os.close(reading)
        if code != 0:
            said = output.decode(errors="replace").strip()
            raise CheckError(f"exit status {code}" + (f"; {said}" if said else ""))

    def to_json(self) -> dict[str, Any]:
        """As the API answers."""
        found: dict[str, Any] = {
            "name": self.name, "startup": self.config.get("startup") or "enabled",
            "status": self.status, "successes": self.successes, "failures": self.failures,
            "threshold": self.threshold,
        }  # fmt: skip
        if level := self.config.get("level"):
            found["level"] = level
        if self.change is not None:
            found["change-id"] = self.change.id
        return found


class Checks:
    """All checks."""

    def __init__(
        self,
        changes: Changes,
        reaper: processes.Reaper,
        service_config: Callable[[str], dict[str, Any]],
        on_failure: Callable[[str], None],
    ):
        """Args: service_config: a service's part of the plan; on_failure: told a check's name."""
        self.changes = changes
        self.reaper = reaper
        self.service_config = service_config
        self.on_failure = on_failure
        self.all: dict[str, Check] = {}
        self.failures: dict[str, int] = {}

    def update(self, plan: dict[str, Any]) -> None:
        """Takes a new plan over: what changed begins anew."""
        wanted = plan.get("checks", {})
        for name, check in list(self.all.items()):
            if wanted.get(name) != check.config:
                check.stop()
                del self.all[name]
        for name, config in wanted.items():
            if name not in self.all:
                self.all[name] = Check(name, config, self)
                if config.get("startup", "enabled") == "enabled":
                    self.all[name].start()

    def find(self, level: str, names: list[str]) -> list[Check]:
        """Checks by name, at that level.

        A check of level `ready` counts for `ready` only, one of `alive` for both.
        """
        levels = {"": None, "alive": {"alive"}, "ready": {"alive", "ready"}}.get(level, set())
        return [
            check
            for name, check in sorted(self.all.items())
            if (not names or name in names)
            and (levels is None or check.config.get("level") in levels)
        ]

    def stop_all(self) -> None:
        """Ends all."""
        for check in self.all.values():
            check.stop()
