"""Services: their addresses answered here, connections passed on to ready pods.

A user-space proxy asks nothing of the host's kernel but an address on the bridge. What a pod sees
as the client's address is the node's.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from localjuju.engine.door import join
from localjuju.node.dns import ServiceNames
from localjuju.node.network import Network

_CONNECT_SECONDS = 5.0
_NO_ADDRESS = ("", "None", None)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Target:
    """A Service's port and where its ready pods answer."""

    port: int
    endpoints: tuple[tuple[str, int], ...]


@dataclass
class _Listener:
    server: asyncio.Server
    target: Target
    turn: itertools.count[int] = field(default_factory=itertools.count)


class Proxy:
    """Listens for every Service with a cluster address or a load balancer's."""

    def __init__(self, network: Network):
        self._network = network
        self._listeners: dict[tuple[str, int], _Listener] = {}
        self._addresses: set[str] = set()
        self._lock = asyncio.Lock()

    async def set(self, wanted: dict[str, tuple[Target, ...]]) -> None:
        """Makes what is listened to be `wanted`: targets by address."""
        async with self._lock:
            for address in wanted.keys() - self._addresses:
                await self._network.add_service_address(address)
                self._addresses.add(address)
            keys = {(a, t.port): t for a, targets in wanted.items() for t in targets}
            for key in self._listeners.keys() - keys.keys():
                self._listeners.pop(key).server.close()
            for key, target in keys.items():
                if key in self._listeners:
                    self._listeners[key].target = target
                else:
                    await self._listen(key, target)
            for address in self._addresses - wanted.keys():
                await self._network.remove_service_address(address)
            self._addresses &= wanted.keys()

    async def _listen(self, key: tuple[str, int], target: Target) -> None:
        def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Any:
            return self._serve(key, reader, writer)

        try:
            server = await asyncio.start_server(serve, *key)
        except OSError as error:
            _log.warning("cannot listen on %s:%d: %s", *key, error)
            return
        self._listeners[key] = _Listener(server, target)

    async def _serve(
        self, key: tuple[str, int], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        listener = self._listeners.get(key)
        endpoints = listener.target.endpoints if listener else ()
        try:
            if not endpoints or listener is None:
                writer.transport.abort()  # a reset: nobody is there, as on a cluster
                return
            first = next(listener.turn) % len(endpoints)
            for host, port in (*endpoints[first:], *endpoints[:first]):
                try:
                    peer = await asyncio.wait_for(
                        asyncio.open_connection(host, port), _CONNECT_SECONDS
                    )
                except (OSError, asyncio.TimeoutError):
                    continue
                with contextlib.suppress(ConnectionError):
                    await join(reader, writer, *peer)
                return
            writer.transport.abort()
        finally:
            writer.close()

    async def stop(self) -> None:
        """Stops listening; open connections end with the process."""
        for listener in self._listeners.values():
            listener.server.close()
        self._listeners.clear()


def targets(service: Any, slices: Iterable[Any]) -> tuple[Target, ...]:
    """The TCP targets of a Service, from its EndpointSlices."""
    found = []
    for port in service.spec.ports or []:
        if (port.protocol or "TCP") != "TCP":
            continue
        endpoints = []
        for piece in slices:
            number = next(
                (p.port for p in piece.ports or [] if (p.name or "") == (port.name or "")), None
            )
            if number is None:
                continue
            endpoints += [(address, number) for _, address in _ready(piece)]
        found.append(Target(port.port, tuple(sorted(set(endpoints)))))
    return tuple(found)


def names(service: Any, slices: Iterable[Any]) -> ServiceNames:
    """What the name server says of a Service."""
    address = service.spec.clusterIP
    return ServiceNames(
        cluster_ip=None if address in _NO_ADDRESS else address,
        endpoints=tuple(sorted({pair for piece in slices for pair in _ready(piece)})),
        external_name=service.spec.externalName or "",
    )


def _ready(piece: Any) -> list[tuple[str, str]]:
    """Host name (or the address with dashes) and address of each ready endpoint."""
    found = []
    for endpoint in piece.endpoints or []:
        if endpoint.conditions is not None and endpoint.conditions.ready is False:
            continue
        for address in endpoint.addresses:
            found.append((endpoint.hostname or address.replace(".", "-"), address))
    return found
