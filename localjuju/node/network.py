"""The bridge that pods hang on, inside the engine's own network namespace."""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Iterable

from pyroute2 import AsyncIPRoute, IPRoute, NetlinkError

BRIDGE = "pods"
NODE_IP = "10.1.0.1"
_NETWORK = ipaddress.ip_network("10.1.0.0/16")
_POD_INTERFACE = "eth0"


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
    """The bridge, the pods' interfaces, and the addresses of Services."""

    def __init__(self) -> None:
        self._addresses = Addresses(_NETWORK, taken=[NODE_IP])
        self._bridge = 0

    async def start(self) -> None:
        """Makes the bridge and brings it up."""
        self._netlink = AsyncIPRoute()
        await self._netlink.setup_endpoint()
        if await self._index(BRIDGE) is None:
            await self._netlink.link("add", ifname=BRIDGE, kind="bridge")
        self._bridge = await self._index(BRIDGE)
        await self._add(NODE_IP, _NETWORK.prefixlen)
        await self._netlink.link("set", index=self._bridge, state="up")

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
        try:
            if await self._index(name) is None:
                peer = {"ifname": _POD_INTERFACE, "net_ns_pid": sandbox}
                await self._netlink.link("add", ifname=name, kind="veth", peer=peer)
            index = await self._index(name)
            await self._netlink.link("set", index=index, master=self._bridge, state="up")
        except NetlinkError as error:
            raise OSError(error.code, f"the pod's interface cannot be made: {error}") from None
        return self._addresses.take(), _NETWORK.prefixlen, NODE_IP

    def release(self, address: str) -> None:
        """Takes an address back; the interface goes with its namespace."""
        self._addresses.give_back(address)

    async def add_service_address(self, address: str) -> None:
        """Has this host answer for a Service's address."""
        await self._add(address, 32)

    async def remove_service_address(self, address: str) -> None:
        """Undoes `add_service_address`."""
        await self._netlink.addr("del", index=self._bridge, address=address, prefixlen=32)

    async def _index(self, name: str) -> int | None:
        found = await self._netlink.link_lookup(ifname=name)
        return next(iter(found or ()), None)

    async def _add(self, address: str, prefix: int) -> None:
        try:
            await self._netlink.addr("add", index=self._bridge, address=address, prefixlen=prefix)
        except NetlinkError as error:
            if error.code != errno.EEXIST:
                raise


def configure_pod(address: str, prefix: int, gateway: str) -> None:
    """Gives the pod's interface its address and route; called in the pod's network namespace."""
    with IPRoute() as netlink:
        netlink.link("set", index=1, state="up")
        (index,) = netlink.link_lookup(ifname=_POD_INTERFACE)
        netlink.addr("add", index=index, address=address, prefixlen=prefix)
        netlink.link("set", index=index, state="up")
        netlink.route("add", dst="default", gateway=gateway)
