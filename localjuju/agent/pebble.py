"""Watches a workload container's Pebble: whether it runs anew, and what it has to tell."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

from localjuju.agent.hooks import Hook
from localjuju.agent.hub import Hub
from localjuju.model import clock
from localjuju.model.changes import end

_FIRST_SECONDS, _LAST_SECONDS = 0.1, 5.0
_LONG_POLL_SECONDS = 600


class PebbleWatch:
    """One long poll per container; a broken one means that Pebble may have started again."""

    def __init__(
        self, hub: Hub, pod: str, container: str, told: str,
        on_boot: Callable[[str, str], None], on_event: Callable[[Hook], None],
    ):  # fmt: skip
        self._hub, self._pod = hub, pod
        self._container, self._told = container, told
        self._on_boot, self._on_event = on_boot, on_event
        self._task = asyncio.create_task(self._run(), name=f"pebble {container}")

    async def stop(self) -> None:
        await end([self._task])

    async def _run(self) -> None:
        delay = _FIRST_SECONDS
        while True:
            await self._hub.called(self._pod)
            with contextlib.suppress(OSError, aiohttp.ClientError, asyncio.TimeoutError, KeyError):
                request = {"kind": "pebble", "container": self._container}
                async with (
                    self._hub.stream(self._pod, request) as ends,
                    aiohttp.ClientSession("http://pebble", connector=_Connected(*ends)) as session,
                ):
                    info = await _get(session, "/v1/system-info")
                    self._on_boot(self._container, info["boot-id"])
                    delay = _FIRST_SECONDS
                    await self._notices(session)
            await asyncio.sleep(delay)
            delay = min(delay * 1.5, _LAST_SECONDS)

    async def _notices(self, session: aiohttp.ClientSession) -> None:
        after = self._told
        while True:
            query = {"users": "all", "timeout": f"{_LONG_POLL_SECONDS}s"}
            if after:
                query["after"] = after
            for notice in await _get(session, "/v1/notices", query) or []:
                after = notice["last-repeated"]
                if event := await self._event(session, notice):
                    self._on_event(event)

    async def _event(self, session: aiohttp.ClientSession, notice: dict[str, Any]) -> Hook | None:
        time = clock.text(clock.parse(notice["last-repeated"]))
        if notice["type"] == "custom":
            return Hook(
                "pebble-custom-notice", container=self._container, notice_id=notice["id"],
                notice_type="custom", notice_key=notice["key"], notice_time=time,
            )  # fmt: skip
        data = notice.get("last-data") or {}
        kind = data.get("kind")
        if notice["type"] != "change-update" or kind not in ("perform-check", "recover-check"):
            return None
        try:
            change = await _get(session, f"/v1/changes/{notice['key']}")
        except aiohttp.ClientResponseError as error:
            if error.status != 404:
                raise
            change = None  # Pebble has pruned it, as it does with old ones: it had come to its end
        ends = {"perform-check": ("Error", "failed"), "recover-check": ("Done", "recovered")}
        wanted, word = ends[kind]
        if change is not None and change["status"] != wanted:
            return None
        name = data.get("check-name") or (change and change["tasks"][0]["data"]["check-name"])
        if not name:
            return None
        return Hook(
            f"pebble-check-{word}", container=self._container, check=name, notice_time=time
        )


class _Connected(aiohttp.BaseConnector):
    """Speaks HTTP over a connection that is there; there is no second one."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        super().__init__(limit=1)
        self._reader, self._transport = reader, writer.transport
        self._used = False

    async def _create_connection(self, req: Any, traces: Any, timeout: Any) -> ResponseHandler:
        if self._used or self._reader.at_eof() or self._transport.is_closing():
            raise ConnectionError("Pebble's connection ended")
        self._used = True
        protocol = self._factory()
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        return protocol


async def _get(
    session: aiohttp.ClientSession, path: str, query: dict[str, str] | None = None
) -> Any:
    timeout = aiohttp.ClientTimeout(total=_LONG_POLL_SECONDS + 30 if query else 10)
    async with session.get(path, params=query, timeout=timeout) as response:
        response.raise_for_status()
        return (await response.json())["result"]
