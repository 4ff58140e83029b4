"""Sends what services print to the plan's log targets of type `loki`.

Contract: docs/reference/log-forwarding.md of canonical/pebble, and Loki's push API.
"""

from __future__ import annotations

import asyncio
import contextlib
import string
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp

from localjuju.pebble.services import Service

_BUFFER_SECONDS = 1.0
_REQUEST_SECONDS = 10.0
_FINAL_SECONDS = 2.0
_ENTRIES = 100  # kept and sent at most; the oldest go first


def logs_to(target: Mapping[str, Any], service: str) -> bool:
    """Whether a target takes a service's lines: the last word on it in `services` counts."""
    for name in reversed(target.get("services") or []):
        if name in (service, "all"):
            return True
        if name in (f"-{service}", "-all"):
            return False
    return False


class _Unset(dict[str, str]):
    """Variables that are not set are empty, as in a shell."""

    def __missing__(self, key: str) -> str:
        return ""


def labels(target: Mapping[str, Any], service: str, environment: Mapping[str, Any]) -> dict:
    """The labels of a service's lines, with its variables in place of their names."""
    values = _Unset({key: str(value) for key, value in environment.items()})
    given = target.get("labels") or {}
    found = {
        key: string.Template(str(text)).safe_substitute(values) for key, text in given.items()
    }
    return found | {"pebble_service": service}


class Target:
    """One log target: reads the services' logs, sends in bundles."""

    def __init__(
        self, name: str, services: Mapping[str, Service], version: str, say: Callable[[str], None]
    ):
        self._name, self._services, self._version, self._say = name, services, version, say
        self.config: dict[str, Any] = {}
        self._seen: dict[str, int] = {}
        self._entries: list[tuple[str, dict[str, str], str, str]] = []
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    def update(self, config: dict[str, Any]) -> None:
        """Takes the plan's part over."""
        self.config = config
        self._changed.set()

    async def stop(self) -> None:
        """Sends what there is left, if that does not take long, and ends."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._collect()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._flush(), _FINAL_SECONDS)

    async def _run(self) -> None:
        while True:
            self._changed.clear()
            waiting = [
                asyncio.ensure_future(event.wait())
                for event in (self._changed, *(s.log.changed for s in self._services.values()))
            ]
            try:
                if not self._collect():
                    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                    continue
            finally:
                for task in waiting:
                    task.cancel()
            # More may come: they go together.
            await asyncio.sleep(_BUFFER_SECONDS)
            self._collect()
            await self._flush()

    def _collect(self) -> bool:
        """Takes new lines; whether there were any."""
        found = False
        for name, service in self._services.items():
            before = self._seen.get(name, 0)
            if not logs_to(self.config, name):
                # As upstream: a service that is added again begins with what is still kept.
                self._seen.pop(name, None)
                continue
            self._seen[name] = service.log.total
            new = service.log.total - before
            marks = labels(self.config, name, service.config.get("environment") or {})
            for time, line in service.log.last(new) if new else []:
                nanoseconds = round(time.timestamp() * 1_000_000) * 1000
                self._entries.append((name, marks, str(nanoseconds), line))
                found = True
        self._entries = self._entries[-_ENTRIES:]
        return found

    def _body(self) -> dict[str, Any]:
        streams: list[dict[str, Any]] = []
        for _, marks, time, line in sorted(self._entries, key=lambda entry: (entry[0], entry[2])):
            if not streams or streams[-1]["stream"] != marks:
                streams.append({"stream": marks, "values": []})
            streams[-1]["values"].append([time, line])
        return {"streams": streams}

    async def _flush(self) -> None:
        if not self._entries:
            return
        sent = len(self._entries)
        headers = {"User-Agent": f"pebble/{self._version}"}
        timeout = aiohttp.ClientTimeout(total=_REQUEST_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(headers=headers, timeout=timeout) as session,
                session.post(self.config["location"], json=self._body()) as response,
            ):
                status = response.status
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as error:
            self._failed(str(error) or type(error).__name__)
            return
        if status in (200, 204) or (400 <= status < 500 and status != 429):
            self._entries = self._entries[sent:]
        if status not in (200, 204):
            self._failed(f"server returned HTTP {status}")

    def _failed(self, why: str) -> None:
        self._say(f'Cannot flush logs to target "{self._name}": {why}')


class Forwarding:
    """All log targets of the plan."""

    def __init__(self, services: Mapping[str, Service], version: str, say: Callable[[str], None]):
        self._services, self._version, self._say = services, version, say
        self._targets: dict[str, Target] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def update(self, plan: dict[str, Any]) -> None:
        """Takes a new plan over: new targets begin, those that are gone end."""
        wanted = {
            name: config
            for name, config in (plan.get("log-targets") or {}).items()
            if config.get("type") == "loki"
        }
        for name in list(self._targets.keys() - wanted.keys()):
            task = asyncio.create_task(self._targets.pop(name).stop())
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
        for name, config in wanted.items():
            if name not in self._targets:
                self._targets[name] = Target(name, self._services, self._version, self._say)
            self._targets[name].update(config)

    async def stop(self) -> None:
        """Ends all, after what is left has been sent."""
        ending = [target.stop() for target in self._targets.values()]
        await asyncio.gather(*ending, *self._ending, return_exceptions=True)
