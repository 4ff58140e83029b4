"""The pods' network inside the engine's own network namespace: a pair of interfaces for each pod.

The node is every pod's next hop, as with the CNI plugin `ptp`: all that a pod sends, to another
pod too, is routed here, where kube-proxy's rules see it.
"""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Awaitable, Iterable
from pathlib import Path
from typing import Any

from pyroute2 import AsyncIPRoute, IPRoute, NetlinkError

from localkube.controlplane.plane import SERVICE_RANGE

NODE_IP = "10.1.0.1"
PODS = ipaddress.ip_network("10.1.0.0/16")
BALANCERS = ipaddress.ip_network("10.152.184.0/24")
_LOOPBACK = 1
_POD_INTERFACE = "eth0"
_HOST = 32  # the prefix of one address
_LINK = 253  # rtnetlink(7): RT_SCOPE_LINK
_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")  # of the network that the opener is in


class Addresses:
    """Gives out addresses of a network; one that was given back is used again last."""

    def __init__(
        self, network: ipaddress.IPv4Network | ipaddress.IPv6Network, taken: Iterable[str] = ()
    ):
        self._hosts = network.hosts()
        self._taken = set(taken)
        self._returned: list[str] = []

    def take(self) -> str:
        """An address that nobody has.

        Raises:
            OSError: none is left.
        """
        for host in self._hosts:
            address = str(host)
            if address not in self._taken:
                self._taken.add(address)
                return address
        if not self._returned:
            raise OSError("no address is left in the pods' network")
        address = self._returned.pop(0)
        self._taken.add(address)
        return address

    def give_back(self, address: str) -> None:
        """Makes the address free again."""
        if address in self._taken:
            self._taken.discard(address)
            self._returned.append(address)


class Network:
    """The node's address, and the pods' interfaces and addresses."""

    def __init__(self) -> None:
        self._addresses = Addresses(PODS, taken=[NODE_IP])

    async def start(self) -> None:
        """Gives the node its address, and its own programs a route to Services.

        Raises:
            OSError: the kernel refuses.
        """
        self._netlink = AsyncIPRoute()
        await self._netlink.setup_endpoint()
        await self._add(NODE_IP, _LOOPBACK)
        for services in (SERVICE_RANGE, str(BALANCERS)):
            # kube-proxy writes another destination into what is sent here; the source stays.
            await self._route(services, _LOOPBACK)
        _FORWARDING.write_text("1")

    def stop(self) -> None:
        """Closes the connection to the kernel; the namespace's end removes the rest."""
        self._netlink.close()

    async def attach(self, sandbox: int) -> tuple[str, int, str]:
        """Puts an interface into a sandbox's namespace; address, prefix length and gateway.

        Args:
            sandbox: the id of the process that keeps the namespace.

        Raises:
            OSError: no address is left, or the kernel refuses.
        """
        name = f"pod{sandbox}"
        address = self._addresses.take()
        try:
            if await self._index(name) is None:
                peer = {"ifname": _POD_INTERFACE, "net_ns_pid": sandbox}
                await self._netlink.link("add", ifname=name, kind="veth", peer=peer)
            index = await self._index(name)
            await self._netlink.link("set", index=index, state="up")
            await self._add(NODE_IP, index)
            await self._route(f"{address}/{_HOST}", index)
        except NetlinkError as error:
            self._addresses.give_back(address)
            raise OSError(error.code, f"the pod's interface cannot be made: {error}") from None
        return address, _HOST, NODE_IP

    def release(self, address: str) -> None:
        """Takes an address back; the interface goes with its namespace."""
        self._addresses.give_back(address)

    async def _index(self, name: str) -> int | None:
        found = await self._netlink.link_lookup(ifname=name)
        return next(iter(found or ()), None)

    async def _add(self, address: str, interface: int | None) -> None:
        await _once(self._netlink.addr("add", index=interface, address=address, prefixlen=_HOST))

    async def _route(self, destination: str, interface: int | None) -> None:
        await _once(
            self._netlink.route(
                "add", dst=destination, oif=interface, scope=_LINK, prefsrc=NODE_IP
            )
        )


async def _once(request: Awaitable[Any]) -> None:
    """What is there already is as good."""
    try:
        await request
    except NetlinkError as error:
        if error.code != errno.EEXIST:
            raise


def configure_pod(address: str, prefix: int, gateway: str) -> None:
    """Gives the pod's interface its address and routes; called in the pod's network namespace."""
    with IPRoute() as netlink:
        netlink.link("set", index=_LOOPBACK, state="up")
        (index,) = netlink.link_lookup(ifname=_POD_INTERFACE)
        netlink.addr("add", index=index, address=address, prefixlen=prefix)
        netlink.link("set", index=index, state="up")
        netlink.route("add", dst=f"{gateway}/{_HOST}", oif=index, scope=_LINK)
        netlink.route("add", dst="default", gateway=gateway)
