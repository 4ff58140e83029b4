"""A container's probes: whether it has started, is alive, is ready."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

Exec = Callable[[list[str], float], Awaitable[int]]
"""`exec(argv, timeout)` in the container: the exit code."""
Sleep = Callable[[float], Awaitable[None]]


_UNVERIFIED = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_UNVERIFIED.check_hostname = False
_UNVERIFIED.verify_mode = ssl.CERT_NONE  # as the kubelet does


class Probe:
    """One probe with its thresholds.

    Defaults are those of Kubernetes: every 10 s, 1 s for an answer, three failures, one success.
    """

    def __init__(
        self,
        spec: Any,
        pod_ip: str,
        ports: dict[str, int],
        execute: Exec,
        sleep: Sleep = asyncio.sleep,
    ):
        """Args: spec: lightkube's Probe; ports: the container's named ports."""
        self._sleep = sleep
        self._spec = spec
        self._pod_ip = pod_ip
        self._ports = ports
        self._execute = execute
        self._timeout = float(spec.timeoutSeconds or 1)
        self._period = float(spec.periodSeconds or 10)
        self._failures = 0
        self._successes = 0

    async def run(
        self, changed: Callable[[bool], None], *, once: bool = False, eager: bool = False
    ) -> None:
        """Probes until cancelled; calls `changed` when a threshold is crossed.

        Args:
            changed: told True for success and False for failure, on each change of result.
            once: end after the first success (a startup probe).
            eager: ask each second until the first success. For readiness only: a failure does
                nothing but wait there, while the others end the container after so many.
        """
        if self._spec.initialDelaySeconds:
            await self._sleep(self._spec.initialDelaySeconds)
        result: bool | None = None
        while True:
            good = await self._check()
            self._successes = self._successes + 1 if good else 0
            self._failures = 0 if good else self._failures + 1
            if good and self._successes >= (self._spec.successThreshold or 1):
                if result is not True:
                    result = True
                    changed(True)
                if once:
                    return
            elif (
                not good
                and self._failures >= (self._spec.failureThreshold or 3)
                and result is not False
            ):
                result = False
                changed(False)
            # What is not ready yet is asked more often: a second lost here is one for everybody.
            await self._sleep(min(self._period, 1.0) if eager and not result else self._period)

    async def _check(self) -> bool:
        spec = self._spec
        try:
            if spec.httpGet is not None:
                return await asyncio.wait_for(self._http(spec.httpGet), self._timeout)
            if spec.tcpSocket is not None:
                return await asyncio.wait_for(self._tcp(spec.tcpSocket), self._timeout)
            if spec.exec is not None:
                return await self._execute(list(spec.exec.command or []), self._timeout) == 0
        except (OSError, asyncio.TimeoutError, aiohttp.ClientError):
            return False
        return True  # gRPC: taken as good, as there is no client for it here

    def _port(self, port: int | str) -> int:
        return self._ports.get(str(port)) or int(port)

    async def _http(self, get: Any) -> bool:
        scheme = (get.scheme or "HTTP").lower()
        path = get.path or "/"
        url = f"{scheme}://{get.host or self._pod_ip}:{self._port(get.port)}{path}"
        headers = {header.name: header.value for header in get.httpHeaders or []}
        async with (
            aiohttp.ClientSession() as session,
            session.get(url, headers=headers, ssl=_UNVERIFIED) as response,
        ):
            return 200 <= response.status < 400

    async def _tcp(self, target: Any) -> bool:
        _, writer = await asyncio.open_connection(
            target.host or self._pod_ip, self._port(target.port)
        )
        writer.close()
        return True
