"""Interface `service_address`, version 1: where a service of an application answers.

| side | field of the application's databag | meaning |
| --- | --- | --- |
| provider | version | `1` |
| provider | host | DNS name |
| provider | port | TCP port, decimal |
| provider | scheme | `http`, `https`, `grpc`, `mysql`, … |
| provider | ca | PEM of the CA where TLS is spoken and the CA is the provider's own |
"""

from __future__ import annotations

from dataclasses import dataclass

import ops

from charmed_mlops.errors import Waiting
from charmed_mlops.interfaces import _common

VERSION = "1"


@dataclass(frozen=True)
class Address:
    """Where a service answers.

    Attributes:
        host: DNS name.
        port: TCP port.
        scheme: the protocol.
        ca: PEM of its CA; empty for none of its own.
    """

    host: str
    port: int
    scheme: str = "http"
    ca: str = ""

    @property
    def url(self) -> str:
        """`SCHEME://HOST:PORT`."""
        return f"{self.scheme}://{self.host}:{self.port}"


class ServiceProvider:
    """Publishes an address on every relation of an endpoint."""

    def __init__(self, charm: ops.CharmBase, endpoint: str):
        self._charm = charm
        self._endpoint = endpoint

    @property
    def related(self) -> bool:
        """Whether there is an application to tell."""
        return bool(_common.live(self._charm, self._endpoint))

    def publish(self, address: Address) -> None:
        """Write what differs; only the leader does."""
        if not self._charm.unit.is_leader():
            return
        for relation in _common.live(self._charm, self._endpoint):
            mine = relation.data[self._charm.app]
            _common.write(mine, "version", VERSION)
            _common.write(mine, "host", address.host)
            _common.write(mine, "port", str(address.port))
            _common.write(mine, "scheme", address.scheme)
            _common.write(mine, "ca", address.ca)


class ServiceRequirer:
    """Reads the address of the related application."""

    def __init__(self, charm: ops.CharmBase, endpoint: str):
        self._charm = charm
        self._endpoint = endpoint

    def application(self) -> str:
        """The related application's name.

        Raises:
            Blocked: there is no relation.
        """
        return _common.one(self._charm, self._endpoint).app.name

    def get(self) -> Address:
        """Where the service answers.

        Raises:
            Blocked: there is no relation.
            Waiting: the provider has not said it yet.
        """
        relation = _common.one(self._charm, self._endpoint)
        theirs = relation.data[relation.app]
        host, port = theirs.get("host", ""), theirs.get("port", "")
        if not host or not port.isdecimal():
            raise Waiting(f"waiting for {relation.app.name} to give its address")
        return Address(host, int(port), theirs.get("scheme") or "http", theirs.get("ca", ""))

    def get_or_none(self) -> Address | None:
        """The same, None where there is no relation."""
        return self.get() if _common.find(self._charm, self._endpoint) else None
