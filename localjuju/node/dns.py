"""The cluster's name server: Services and pods, nothing else, for there is no way out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from dnslib import QTYPE, RCODE, RR, A, DNSRecord
from dnslib.dns import DNSError

_ZONE = "cluster.local"
_TTL_SECONDS = 5
_NO_ADDRESS = ("", "None", None)


@dataclass(frozen=True)
class ServiceNames:
    """What the name server knows of a Service.

    Attributes:
        cluster_ip: its address, None for a headless one.
        endpoints: the ready addresses, by the pod's host name where it has one, else the address.
        external_name: for a Service that is another name only.
    """

    cluster_ip: str | None
    endpoints: tuple[tuple[str, str], ...] = ()
    external_name: str = ""


Find = Callable[[str, str], ServiceNames | None]
"""`find(namespace, service)`."""


def addresses(name: str, find: Find) -> list[str] | None:
    """The addresses of a name; None where there is no such name.

    Source: the Kubernetes specification "DNS-Based Service Discovery", 1.1.
    """
    parts = name.rstrip(".").lower().split(".")
    if parts[-3:] != ["svc", *_ZONE.split(".")]:
        return None
    match parts[:-3]:
        case [service, namespace]:
            found = find(namespace, service)
            if found is None:
                return None
            if found.external_name:
                return addresses(found.external_name, find)
            if found.cluster_ip:
                return [found.cluster_ip]
            return [address for _, address in found.endpoints]
        case [host, service, namespace]:
            found = find(namespace, service)
            if found is None or found.cluster_ip:
                return None
            matching = [address for name, address in found.endpoints if name == host]
            return matching or None
    return None


def names_of(service: Any, slices: Iterable[Any]) -> ServiceNames:
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


class NameServer(asyncio.DatagramProtocol):
    """Answers over UDP and TCP."""

    def __init__(self, find: Find):
        self._find = find
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None

    async def start(self, address: str, port: int = 53) -> None:
        """Listens on an address that this host has."""
        loop = asyncio.get_running_loop()
        self._udp, _ = await loop.create_datagram_endpoint(
            lambda: self, local_addr=(address, port)
        )
        self._tcp = await asyncio.start_server(self._serve, address, port)

    async def stop(self) -> None:
        """Stops listening."""
        if self._udp is not None:
            self._udp.close()
        if self._tcp is not None:
            self._tcp.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """A question over UDP."""
        answer = self._answer(data)
        if answer is not None and self._udp is not None:
            self._udp.sendto(answer, addr)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                length = int.from_bytes(await reader.readexactly(2), "big")
                answer = self._answer(await reader.readexactly(length))
                if answer is None:
                    return
                writer.write(len(answer).to_bytes(2, "big") + answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _answer(self, data: bytes) -> bytes | None:
        try:
            question = DNSRecord.parse(data)
        except DNSError:
            return None
        answer = question.reply()
        answer.header.ra = 1
        found = addresses(str(question.q.qname), self._find)
        if found is None:
            answer.header.rcode = RCODE.NXDOMAIN
        elif question.q.qtype in (QTYPE.A, QTYPE.ANY):
            for address in found:
                answer.add_answer(
                    RR(question.q.qname, QTYPE.A, rdata=A(address), ttl=_TTL_SECONDS)
                )
        return bytes(answer.pack())
