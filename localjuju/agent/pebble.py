"""Watches a workload container's Pebble: whether it runs anew, and what it has to tell."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp

from localjuju.agent.hooks import Hook
from localjuju.model import clock
from localjuju.model.changes import end

_FIRST_SECONDS, _LAST_SECONDS = 0.1, 5.0
_LONG_POLL_SECONDS = 600


class PebbleWatch:
    """One long poll per container; a broken one means that Pebble may have started again."""

    def __init__(
        self, container: str, socket: Path, told: str, on_boot: Callable[[str, str], None],
        on_event: Callable[[Hook], None],
    ):  # fmt: skip
        self._container, self._socket, self._told = container, socket, told
        self._on_boot, self._on_event = on_boot, on_event
        self._task = asyncio.create_task(self._run(), name=f"pebble {container}")

    async def stop(self) -> None:
        await end([self._task])

    async def _run(self) -> None:
        delay = _FIRST_SECONDS
        while True:
            with contextlib.suppress(OSError, aiohttp.ClientError, asyncio.TimeoutError, KeyError):
                # Through a descriptor of its folder: a unix socket's path may have 107 bytes.
                folder = os.open(self._socket.parent, os.O_PATH)
                try:
                    path = f"/proc/self/fd/{folder}/{self._socket.name}"
                    async with aiohttp.ClientSession(
                        base_url="http://pebble", connector=aiohttp.UnixConnector(path)
                    ) as session:
                        info = await _get(session, "/v1/system-info")
                        self._on_boot(self._container, info["boot-id"])
                        delay = _FIRST_SECONDS
                        await self._notices(session)
                finally:
                    os.close(folder)
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
        kind = (notice.get("last-data") or {}).get("kind")
        if notice["type"] != "change-update" or kind not in ("perform-check", "recover-check"):
            return None
        change = await _get(session, f"/v1/changes/{notice['key']}")
        ends = {"perform-check": ("Error", "failed"), "recover-check": ("Done", "recovered")}
        wanted, word = ends[kind]
        if change["status"] != wanted:
            return None
        name = change["tasks"][0]["data"]["check-name"]
        return Hook(
            f"pebble-check-{word}", container=self._container, check=name, notice_time=time
        )


async def _get(
    session: aiohttp.ClientSession, path: str, query: dict[str, str] | None = None
) -> Any:
    timeout = aiohttp.ClientTimeout(total=_LONG_POLL_SECONDS + 30 if query else 10)
    async with session.get(path, params=query, timeout=timeout) as response:
        response.raise_for_status()
        return (await response.json())["result"]
