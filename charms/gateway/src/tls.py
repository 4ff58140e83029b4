"""The certificate that the gateway shows: the administrator's, or one by a CA of its own."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import ops

from charmed_mlops import Blocked, ServiceCharm, ServingCertificate
from charmed_mlops.certificates import now


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
        self._own = ServingCertificate(charm)

    def current(self, hostname: str) -> Pair:
        """The certificate in use.

        Raises:
            Blocked: the administrator's cannot be used.
            Waiting: the leader has not made one yet.
        """
        uri = self._charm.config.get("tls-secret")
        if uri:
            return self._given(str(uri))
        found = self._own.current([hostname] if hostname else [])
        return Pair(found.ca, found.chain, found.key)

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
