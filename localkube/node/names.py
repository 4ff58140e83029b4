"""The cluster's name server: CoreDNS on the node's address, behind the Service kube-dns."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Iterator
from pathlib import Path

from dnslib import RCODE, DNSRecord
from dnslib.dns import DNSError
from lightkube import AsyncClient
from lightkube.models.core_v1 import ServicePort, ServiceSpec
from lightkube.models.discovery_v1 import Endpoint, EndpointPort
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Service
from lightkube.resources.discovery_v1 import EndpointSlice

from localkube.controlplane.plane import NODE_IP, SERVICE_RANGE
from localkube.host.errors import EngineError
from localkube.host.supervision import Programs
from localkube.node.client import until_done

DOMAIN = "cluster.local"
OWN = "127.0.0.2"
"""Where the node's own programs ask, whom no pod reaches by this address."""

ADDRESS = str(ipaddress.ip_network(SERVICE_RANGE)[10])
_NAME = "coredns"
_SERVICE = "kube-dns"
_PORTS = (("dns", "UDP"), ("dns-tcp", "TCP"))  # kubeadm's names
_PORT = 53
_READY_SECONDS = 30.0
_TRY_SECONDS = 0.5
_POLL_SECONDS = 0.05


_NO_OTHERS = """template ANY ANY {
        rcode NXDOMAIN
    }"""


def corefile(kubeconfig: Path, others: str = "", *, pods: bool = True) -> str:
    """CoreDNS's configuration: the cluster's names, and that there are no others.

    Nothing is cached: all that is asked for is in the server's memory, and a name answers as
    soon as its Service is there.

    Args:
        kubeconfig: how to reach the API server.
        others: the address of a server that answers other names; empty where there is none.
        pods: whether pods may ask for other names too; else the node's own programs alone.
    """
    rest = _rest(f"{NODE_IP} {OWN}", others)
    if others and not pods:
        rest = _rest(NODE_IP, "") + _rest(OWN, others)
    return f"""{DOMAIN} in-addr.arpa ip6.arpa {{
    bind {NODE_IP} {OWN}
    errors
    loadbalance
    kubernetes {DOMAIN} in-addr.arpa ip6.arpa {{
        kubeconfig "{kubeconfig}"
        pods insecure
    }}
}}
{rest}"""


def _rest(addresses: str, others: str) -> str:
    """The part for all names that are not the cluster's."""
    return f""". {{
    bind {addresses}
    errors
    {f"forward . {others}" if others else _NO_OTHERS}
}}
"""


def objects() -> Iterator[Service | EndpointSlice]:
    """The Service kube-dns and where it leads: not to a pod but to the node's own address."""
    yield Service(
        metadata=ObjectMeta(
            name=_SERVICE,
            namespace="kube-system",
            labels={"k8s-app": _SERVICE, "kubernetes.io/name": "CoreDNS"},
        ),
        spec=ServiceSpec(
            clusterIP=ADDRESS,
            ports=[
                ServicePort(name=name, port=_PORT, protocol=protocol) for name, protocol in _PORTS
            ],
        ),
    )
    yield EndpointSlice(
        metadata=ObjectMeta(
            name=_SERVICE,
            namespace="kube-system",
            labels={"kubernetes.io/service-name": _SERVICE},
        ),
        addressType="IPv4",
        endpoints=[Endpoint(addresses=[NODE_IP])],
        ports=[
            EndpointPort(name=name, port=_PORT, protocol=protocol) for name, protocol in _PORTS
        ],
    )


async def make_service(api: AsyncClient) -> None:
    """Makes the Service, or brings it up to date."""
    for item in objects():
        await until_done(lambda item=item: api.apply(item, force=True), f"Service {_SERVICE}")


class NameServer:
    """CoreDNS as a child process."""

    def __init__(
        self, programs: Path, state: Path, kubeconfig: Path, others: str = "", *, pods: bool = True
    ):
        """Prepares; starts nothing.

        Args:
            programs: the folder with the program.
            state: the node's folder.
            kubeconfig: how to reach the API server.
            others: as `corefile` has it.
            pods: as `corefile` has it.
        """
        self._others = others
        self._pods = pods
        self._programs = Programs(programs, state / "log")
        self._file = state / "Corefile"
        self._kubeconfig = kubeconfig

    def start(self) -> None:
        """Starts it; the node has to have its address."""
        self._file.write_text(corefile(self._kubeconfig, self._others, pods=self._pods))
        self._programs.start(_NAME, ["-conf", str(self._file)])

    async def wait_ready(self) -> None:
        """Returns when a name is answered by way of the Service.

        Raises:
            EngineError: none is; names the log.
        """
        deadline = time.monotonic() + _READY_SECONDS
        while not await asyncio.to_thread(_answers):
            if time.monotonic() > deadline:
                raise EngineError(
                    f"the name server answered nothing in {_READY_SECONDS:.0f} s; see "
                    f"{self._file.parent / 'log' / _NAME}.log"
                )
            await asyncio.sleep(_POLL_SECONDS)

    async def stop(self) -> None:
        """Stops it."""
        await self._programs.stop()


def _answers() -> bool:
    question = DNSRecord.question(f"kubernetes.default.svc.{DOMAIN}")
    try:
        answer = DNSRecord.parse(question.send(ADDRESS, _PORT, timeout=_TRY_SECONDS))
    except (OSError, DNSError):
        return False
    return answer.header.rcode == RCODE.NOERROR and bool(answer.rr)
