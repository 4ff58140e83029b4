"""The gateway's certificate: the administrator's, a related CA's, or one by a CA of its own."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

import ops

from charmed_mlops import Blocked, ServiceCharm, ServingCertificate
from charmed_mlops.certificates import now

HOST = r"([a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9-]+)*)?"
"""Of a host name, or of none."""


@dataclass(frozen=True)
class Pair:
    """PEM texts, and a name that another pair does not have."""

    ca: str
    chain: str
    key: str

    @property
    def name(self) -> str:
        return hashlib.sha256((self.chain + self.key).encode()).hexdigest()[:16]


class Tls:
    """Finds the certificate."""

    def __init__(self, charm: ServiceCharm):
        self._charm = charm
        hostname = str(charm.config["hostname"])
        named = hostname and re.fullmatch(HOST, hostname)
        self._own = ServingCertificate(charm, [hostname] if named else [])

    def current(self) -> Pair:
        """The certificate in use.

        Raises:
            Blocked: the administrator's cannot be used, or the related CA refuses to give one.
            Waiting: the related CA, or the leader, has not made one yet.
        """
        uri = self._charm.config.get("tls-secret")
        if uri:
            return self._given(str(uri))
        found = self._own.current()
        return Pair(found.ca, found.chain, found.key)

    def told(self) -> None:
        """To be called when the CA is published; a follower takes the leader to do so as well."""
        self._own.told()

    def require_given(self) -> None:
        """To be called when the certificate in use is shown.

        Raises:
            Blocked, Waiting: it is one of before, as the related CA refuses, or has not given,
                the one that is asked for.
        """
        self._own.require_given()

    def _given(self, uri: str) -> Pair:
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization

        try:
            content = self._charm.model.get_secret(id=uri).get_content(refresh=True)
        except (ops.SecretNotFoundError, ops.ModelError):
            raise Blocked(
                f"config tls-secret: not readable: juju grant-secret {uri} {self._charm.app.name}"
            ) from None
        chain, key = content.get("certificate", ""), content.get("private-key", "")
        if not chain or not key:
            raise Blocked("config tls-secret: needs certificate and private-key")
        try:
            leaf, *others = x509.load_pem_x509_certificates(chain.encode())
            private = serialization.load_pem_private_key(key.encode(), None)
        except ValueError:
            raise Blocked("config tls-secret: certificate or private-key is not PEM") from None
        if private.public_key() != leaf.public_key():
            raise Blocked("config tls-secret: private-key is not the certificate's")
        if leaf.not_valid_after_utc <= now():
            end = leaf.not_valid_after_utc.date()
            raise Blocked(f"config tls-secret: the certificate expired on {end}: renew it")
        last = [leaf, *others][-1]
        return Pair(last.public_bytes(serialization.Encoding.PEM).decode(), chain, key)
