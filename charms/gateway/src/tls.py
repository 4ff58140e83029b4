"""The gateway's certificate: the administrator's, a related CA's, or one by a CA of its own."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import ops

from charmed_mlops import ActionFailed, Blocked, ServiceCharm, ServingCertificate, Waiting
from charmed_mlops.certificates import now
from charmed_mlops.interfaces import _common

if TYPE_CHECKING:
    from charmlibs.interfaces.tls_certificates import TLSCertificatesRequiresV4

ENDPOINT = "certificates"
HOST = r"([a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9-]+)*)?"
"""Of a host name, or of none."""
LIBRARY = "afd8c2bccf834997afce12c2706d2ede"
"""What the labels of the library's secrets begin with: its name on Charmhub."""
_LONGEST = 64  # characters of a common name, RFC 5280 appendix A.1


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
        self._related = self._requirer() if charm.model.relations[ENDPOINT] else None

    def current(self, hostname: str) -> Pair:
        """The certificate in use.

        Raises:
            Blocked: the administrator's cannot be used, or the related CA refuses to give one.
            Waiting: the related CA, or the leader, has not made one yet.
        """
        uri = self._charm.config.get("tls-secret")
        if uri:
            return self._given(str(uri))
        relation = _common.find(self._charm, ENDPOINT)
        if relation and self._related:
            return self._signed(self._related, relation.app.name)
        found = self._own.current([hostname] if hostname else [])
        return Pair(found.ca, found.chain, found.key)

    def renew_elsewhere(self) -> str:
        """Have a related CA give this unit a certificate for a new key.

        Returns:
            The CA's application; empty when the certificate in use is the application's own.

        Raises:
            ActionFailed: it is the administrator's.
        """
        if self._charm.config.get("tls-secret"):
            raise ActionFailed("the certificate is config tls-secret's: juju update-secret")
        relation = _common.find(self._charm, ENDPOINT)
        if not relation or not self._related:
            return ""
        self._related.regenerate_private_key()
        return relation.app.name

    def _requirer(self) -> TLSCertificatesRequiresV4:
        """Each unit has a key and a certificate of its own, and asks for it with its names."""
        from charmlibs.interfaces import tls_certificates as tls  # here, as few gateways need it

        charm, hostname = self._charm, str(self._charm.config["hostname"])
        names = [charm.address]
        if hostname and re.fullmatch(HOST, hostname):
            names.insert(0, hostname)
        wanted = tls.CertificateRequestAttributes(
            common_name=names[0] if len(names[0]) <= _LONGEST else charm.app.name,
            sans_dns=names,
        )
        found = tls.TLSCertificatesRequiresV4(
            charm, ENDPOINT, [wanted], refresh_events=[charm.on.config_changed, charm.on.start]
        )
        charm.reconcile_on(found.on.certificate_available)
        charm.leave_secrets_of(LIBRARY)
        return found

    def _signed(self, related: TLSCertificatesRequiresV4, ca: str) -> Pair:
        certificates, key = related.get_assigned_certificates()
        if not certificates or key is None:
            asked = related.get_csrs_from_requirer_relation_data()
            own = [each.certificate_signing_request for each in asked]
            for refused in related.get_request_errors():
                if refused.certificate_signing_request in own:
                    raise Blocked(f"{ca} refuses a certificate: {refused.error.message}")
            raise Waiting(f"waiting for {ca} to give a certificate")
        found = certificates[0]
        # some providers repeat the certificate in the chain
        others = [each for each in found.chain if each != found.certificate]
        chain = "\n".join(str(each) for each in (found.certificate, *others))
        return Pair(str(found.ca), f"{chain}\n", str(key))

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
