"""Addresses for Services of type LoadBalancer; kube-proxy answers on those that a status names."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterable
from typing import Any

from lightkube import AsyncClient
from lightkube.resources.core_v1 import Service

from localkube.node.client import follow, patch_status
from localkube.node.network import BALANCERS

_log = logging.getLogger(__name__)


class Addresses:
    """Gives out addresses of a network; one that was given back is used again last."""

    def __init__(self, network: ipaddress.IPv4Network, taken: Iterable[str]):
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
            raise OSError("no address is left")
        address = self._returned.pop(0)
        self._taken.add(address)
        return address

    def give_back(self, address: str) -> None:
        """Makes the address free again."""
        if address in self._taken:
            self._taken.discard(address)
            self._returned.append(address)


class Balancers:
    """Gives each such Service one address of the balancers' network, which it then keeps."""

    def __init__(self, api: AsyncClient):
        self._api = api

    async def run(self) -> None:
        """Works until cancelled."""
        given: dict[tuple[str, str], str] = {}
        addresses: Addresses | None = None
        async for services in follow(self._api, Service, namespace="*"):
            balanced = {key: one for key, one in services.items() if _is_balanced(one)}
            if addresses is None:  # what they were given before a restart
                given = {key: has for key, one in balanced.items() if (has := _address(one))}
                addresses = Addresses(BALANCERS, given.values())
            for key in given.keys() - balanced.keys():
                addresses.give_back(given.pop(key))
            for key, one in balanced.items():
                if key not in given:
                    try:
                        given[key] = addresses.take()
                    except OSError:
                        _log.warning("Service %s/%s: no address is left in %s", *key, BALANCERS)
                        continue
                if _address(one) != given[key]:
                    status = {"loadBalancer": {"ingress": [{"ip": given[key]}]}}
                    await patch_status(self._api, Service, one, status)


def _is_balanced(service: Any) -> bool:
    return service.spec.type == "LoadBalancer" and not service.spec.loadBalancerClass


def _address(service: Any) -> str:
    """The address in a Service's status, or nothing."""
    balancer = service.status and service.status.loadBalancer
    ingress = (balancer and balancer.ingress) or []
    return (ingress[0].ip or "") if ingress else ""
