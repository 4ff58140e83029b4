"""The node's own address and routes, in its network namespace; pods' interfaces are CNI's.

With the CNI plugin `ptp` the node is every pod's next hop: all that a pod sends, to another pod
too, is routed here, where kube-proxy's rules see it.
"""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from pyroute2 import AsyncIPRoute, NetlinkError

from localkube.controlplane.plane import NODE_IP, SERVICE_RANGE

PODS = ipaddress.ip_network("10.1.0.0/16")
BALANCERS = ipaddress.IPv4Network("10.152.184.0/24")
_LOOPBACK = 1
_HOST = 32  # the prefix of one address
_LINK = 253  # rtnetlink(7): RT_SCOPE_LINK
_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")  # of the network that the opener is in


class Network:
    """The node's address, and its routes to Services."""

    async def start(self) -> None:
        """Gives the node its address, and its own programs a route to Services.

        Raises:
            OSError: the kernel refuses.
        """
        self._netlink = AsyncIPRoute()
        await self._netlink.setup_endpoint()
        await _once(self._netlink.addr("add", index=_LOOPBACK, address=NODE_IP, prefixlen=_HOST))
        for services in (SERVICE_RANGE, str(BALANCERS)):
            # kube-proxy writes another destination into what is sent here; the source stays.
            await _once(
                self._netlink.route(
                    "add", dst=services, oif=_LOOPBACK, scope=_LINK, prefsrc=NODE_IP
                )
            )
        _FORWARDING.write_text("1")

    def stop(self) -> None:
        """Closes the connection to the kernel; the namespace's end removes the rest."""
        self._netlink.close()


async def _once(request: Awaitable[Any]) -> None:
    """What is there already is as good."""
    try:
        await request
    except NetlinkError as error:
        if error.code != errno.EEXIST:
            raise
