"""Interface `certificate_transfer`, version 1: certificates of CAs that others are to trust.

| side | field of the application's databag | meaning |
| --- | --- | --- |
| requirer | version | `1`, without which providers write the fields of version 0 |
| provider | certificates | JSON list of PEM texts |
| provider | version | `1` |

self-signed-certificates, traefik-k8s and others of Charmhub provide it. Version 0 has the
certificates in the databags of units; it is not spoken here.
Source: charmlibs-interfaces-certificate-transfer 1.15. That library is not used: it raises on
fields that are not JSON. The tests play the other side with it.
"""

from __future__ import annotations

import json

import ops

from charmed_mlops.errors import Blocked, Waiting
from charmed_mlops.interfaces import _common

VERSION = "1"


class CaRequirer:
    """Reads the certificates of every related provider."""

    def __init__(self, charm: ops.CharmBase, endpoint: str = "receive-ca-cert"):
        self._charm = charm
        self._endpoint = endpoint

    def get(self) -> str:
        """The certificates, PEM texts in one; empty where nothing is related.

        Raises:
            Blocked: a provider wrote something else.
            Waiting: a provider has written nothing yet.
        """
        found: set[str] = set()
        for relation in _common.live(self._charm, self._endpoint):
            if self._charm.unit.is_leader():
                _common.write(relation.data[self._charm.app], "version", VERSION)
            told = _certificates(relation)
            if not told:
                raise Waiting(f"waiting for {relation.app.name} to give its CA's certificate")
            found.update(told)
        return "".join(sorted(found))


class CaProvider:
    """Gives a CA's certificates to every related application."""

    def __init__(self, charm: ops.CharmBase, endpoint: str = "send-ca-cert"):
        self._charm = charm
        self._endpoint = endpoint

    def publish(self, pem: str) -> None:
        """Write what differs; only the leader does.

        Args:
            pem: one or more certificates.
        """
        relations = _common.live(self._charm, self._endpoint)
        if not relations or not self._charm.unit.is_leader():
            return
        text = json.dumps(sorted(_normal(pem)))
        for relation in relations:
            _common.write(relation.data[self._charm.app], "certificates", text)
            _common.write(relation.data[self._charm.app], "version", VERSION)


def _certificates(relation: ops.Relation) -> set[str]:
    """What a provider wrote, each certificate by itself.

    Raises:
        Blocked: it is no list of certificates.
    """
    text = relation.data[relation.app].get("certificates", "")
    try:
        listed = json.loads(text or "[]")
        if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
            raise ValueError
        return {one for each in listed for one in _normal(each)}
    except (ValueError, RecursionError):
        raise Blocked(f"{relation.app.name}: certificates is no list of certificates") from None


def _normal(pem: str) -> set[str]:
    """The certificates of a text, in one form whoever wrote it.

    Raises:
        ValueError: there is none, or something else.
    """
    from cryptography import x509  # here: few charms have the relation
    from cryptography.hazmat.primitives import serialization

    found = x509.load_pem_x509_certificates(pem.encode())
    return {each.public_bytes(serialization.Encoding.PEM).decode() for each in found}
