"""Certificates for admission webhooks and for servers: by a CA of one's own, or a related one."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import ops

from charmed_mlops.errors import ActionFailed, Blocked, Waiting
from charmed_mlops.interfaces import _common

if TYPE_CHECKING:
    from charmlibs.interfaces.tls_certificates import TLSCertificatesRequiresV4
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    from charmed_mlops.charm import ServiceCharm

    _Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

LIBRARY = "afd8c2bccf834997afce12c2706d2ede"
"""What the labels of the secrets of charmlibs' tls_certificates begin with: its old library ID."""
_LONGEST_NAME = 64  # characters of a common name: RFC 5280 appendix A.1, ub-common-name
_RSA_BITS = 2048
_LEAF_LIFE = datetime.timedelta(days=365)
_CA_LIFE = datetime.timedelta(days=3650)
_RENEW_AT = 2 / 3  # of the life; the rest is the time to notice that renewal does not work
_BACKDATE = datetime.timedelta(hours=1)  # for nodes whose clock is behind


def now() -> datetime.datetime:
    """The time, in UTC; the one place where certificates read the clock."""
    return datetime.datetime.now(datetime.timezone.utc)


@dataclass(frozen=True)
class Certificate:
    """PEM texts.

    Attributes:
        ca: certificate of the CA, and of the one before it or the next; what webhook
            configurations and clients trust.
        chain: the server's certificate, then the CA's.
        key: the server's private key.
    """

    ca: str
    chain: str
    key: str


class WebhookCertificate:
    """Kept in a secret of the application: the leader makes and renews it, all units read it."""

    _purpose = "webhooks"

    def __init__(self, charm: ServiceCharm, service: str | None = None, *, rsa: bool = False):
        """Prepares.

        Args:
            charm: whose application it is for; one that scales declares `peers`, which wake the
                followers when the leader has made the certificate.
            service: the Service that the API server calls; default the application's own.
            rsa: whether the server's key is RSA's, in the form of PKCS #1, for a program that
                reads no other; else it is one of an elliptic curve.
        """
        self._rsa = rsa
        self._charm = charm
        self._service = service or charm.app.name
        self._label = f"webhook-certificate-{self._service}"
        charm.certificates.append(self)

    def renew(self) -> datetime.datetime:
        """Make a new key and certificate now, by the same CA; the other units are woken.

        Returns:
            When it expires.

        Raises:
            ActionFailed: there is none yet.
        """
        from cryptography import x509

        try:
            secret = self._charm.model.get_secret(label=self._label)
        except ops.SecretNotFoundError:
            raise ActionFailed("there is no certificate yet") from None
        content = self._issue(secret.get_content(refresh=True))
        secret.set_content(content)
        leaf = x509.load_pem_x509_certificate(content["server-cert"].encode())
        return leaf.not_valid_after_utc

    def renew_elsewhere(self) -> str:
        """Have a related CA renew it; returns that CA's application, empty for one's own CA."""
        return ""

    def current(self) -> Certificate:
        """The certificate in use; the leader renews it at two thirds of its life.

        Raises:
            Waiting: the leader has not made it yet.
        """
        leads = self._charm.unit.is_leader()
        try:
            secret = self._charm.model.get_secret(label=self._label)
        except ops.SecretNotFoundError:
            if not leads:
                raise Waiting("waiting for the leader to make the webhook certificate") from None
            content = self._issue({})
            secret = self._charm.app.add_secret(content, label=self._label)
        else:
            # refresh: an owner that peeks keeps the first revision in use for ever
            content = secret.get_content(refresh=True)
            if leads and self._due(content):
                content = self._issue(content)
                secret.set_content(content)
        self._charm.peers.announce(self._label, secret)
        return Certificate(
            # the CA of before too: a follower serves its leaf until it has read the new one
            content["ca-cert"] + content.get("ca-before", ""),
            content["server-cert"] + content["ca-cert"],
            content["server-key"],
        )

    @property
    def _names(self) -> list[str]:
        base = f"{self._service}.{self._charm.model.name}"
        return [f"{base}.svc", f"{base}.svc.cluster.local", base]

    def _due(self, content: dict[str, str]) -> bool:
        from cryptography import x509

        leaf = x509.load_pem_x509_certificate(content["server-cert"].encode())
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return (
            _old(leaf)
            or names.get_values_for_type(x509.DNSName) != self._names
            or not _complete(x509.load_pem_x509_certificate(content["ca-cert"].encode()))
        )

    def _issue(self, content: dict[str, str]) -> dict[str, str]:
        """A new leaf, from the CA at hand while that outlives it, else from a new one."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec, rsa
        from cryptography.x509.oid import ExtendedKeyUsageOID

        def pem(key: _Key) -> str:
            form = serialization.PrivateFormat
            return key.private_bytes(
                serialization.Encoding.PEM,
                form.TraditionalOpenSSL if isinstance(key, rsa.RSAPrivateKey) else form.PKCS8,
                serialization.NoEncryption(),
            ).decode()

        def builder(
            subject: str, issuer: str, key: _Key, life: datetime.timedelta
        ) -> x509.CertificateBuilder:
            def name(text: str) -> x509.Name:
                text = text[:_LONGEST_NAME]
                return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

            return (
                x509.CertificateBuilder()
                .subject_name(name(subject))
                .issuer_name(name(issuer))
                .public_key(key.public_key())
                .serial_number(x509.random_serial_number())
                .not_valid_before(now() - _BACKDATE)
                .not_valid_after(now() + life)
            )

        def usage(*, ca: bool) -> x509.KeyUsage:
            return x509.KeyUsage(
                digital_signature=True, key_cert_sign=ca, crl_sign=ca,
                content_commitment=False, key_encipherment=not ca and self._rsa,
                data_encipherment=False, key_agreement=False,
                encipher_only=False, decipher_only=False,
            )  # fmt: skip

        issuer = f"{self._charm.app.name} {self._purpose}"
        before = ""
        if content and _lasts(x509.load_pem_x509_certificate(content["ca-cert"].encode())):
            ca_text, ca_key_text = content["ca-cert"], content["ca-key"]
            before = content.get("ca-before", "")
            ca_key = serialization.load_pem_private_key(ca_key_text.encode(), None)
            assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
        else:
            before = content.get("ca-cert", "")
            ca_key = ec.generate_private_key(ec.SECP256R1())
            ca_key_text = pem(ca_key)
            ca = (
                builder(issuer, issuer, ca_key, _CA_LIFE)
                .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
                .add_extension(usage(ca=True), critical=True)
                .add_extension(
                    x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False
                )
                .sign(ca_key, hashes.SHA256())
            )
            ca_text = ca.public_bytes(serialization.Encoding.PEM).decode()
        key = (
            rsa.generate_private_key(65537, _RSA_BITS)
            if self._rsa
            else ec.generate_private_key(ec.SECP256R1())
        )
        names = x509.SubjectAlternativeName([x509.DNSName(name) for name in self._names])
        purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
        leaf = (
            builder(self._names[0], issuer, key, _LEAF_LIFE)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(names, critical=False)
            .add_extension(usage(ca=False), critical=True)
            .add_extension(purpose, critical=False)
            .add_extension(signer, critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        return {
            "ca-cert": ca_text,
            "ca-key": ca_key_text,
            "server-cert": leaf.public_bytes(serialization.Encoding.PEM).decode(),
            "server-key": pem(key),
            **({"ca-before": before} if before else {}),
        }


class ServingCertificate(WebhookCertificate):
    """One for the application's Service and further host names, for clients of all kinds.

    With a relation `certificates` the related CA gives each unit one for a key of its own; without
    it the leader makes one. One by another CA is put into use once clients know of that CA: the
    charm says so by `told`.
    """

    _purpose = "CA"

    def __init__(
        self, charm: ServiceCharm, hosts: Sequence[str] = (), endpoint: str = "certificates"
    ):
        """Prepares.

        Args:
            charm: whose application it is for.
            hosts: names beside the Service's, which it shall be for, too; another list makes
                another certificate by the same CA.
            endpoint: of the interface tls-certificates.
        """
        from charmed_mlops.ca_change import CaChange  # here: it needs this module

        super().__init__(charm)
        self._change = CaChange(charm)
        self._label = "serving-certificate"
        self._hosts = list(hosts)
        self._endpoint = endpoint
        self._late: Waiting | Blocked | None = None
        self._related = self._requirer() if charm.model.relations[endpoint] else None

    def current(self) -> Certificate:
        """The certificate in use.

        A unit that has one goes on with it until the related CA has given another, also in a new
        pod: a refresh may ask for further names, and a CA may be asked by people.

        Raises:
            Blocked: the related CA refuses to give one, and there is none of before.
            Waiting: the related CA, or the leader, has not made one yet.
        """
        relation = _common.find(self._charm, self._endpoint)
        self._late = None
        if relation and self._related:
            try:
                given = self._signed(self._related, relation.app.name)
            except (Waiting, Blocked) as reason:
                last = self._change.last()
                if last is None:
                    raise
                self._late, given = reason, last
        else:
            given = super().current()
        return self._change.current(given)

    def require_given(self) -> None:
        """To be called when the certificate in use is shown.

        Raises:
            Blocked, Waiting: it is one of before, as the related CA refuses, or has not given,
                the one that is asked for.
        """
        if self._late:
            raise self._late

    def told(self) -> None:
        """To be called when the `ca` that `current` returned is published to clients."""
        self._change.told()

    def renew_elsewhere(self) -> str:
        """Have a related CA give this unit a certificate for a new key.

        Returns:
            The CA's application; empty when the certificate in use is by one's own CA.
        """
        relation = _common.find(self._charm, self._endpoint)
        if not relation or not self._related:
            return ""
        self._related.regenerate_private_key()
        return relation.app.name

    @property
    def _names(self) -> list[str]:
        _, *others = self._charm.addresses
        return [*self._hosts, *super()._names, *others, "localhost"]

    def _requirer(self) -> TLSCertificatesRequiresV4:
        from charmlibs.interfaces import tls_certificates as tls  # here: few have the relation

        charm = self._charm
        names = [*self._hosts, *charm.addresses]
        wanted = tls.CertificateRequestAttributes(
            common_name=names[0] if len(names[0]) <= _LONGEST_NAME else charm.app.name,
            sans_dns=names,
        )
        found = tls.TLSCertificatesRequiresV4(
            charm,
            self._endpoint,
            [wanted],
            refresh_events=[charm.on.config_changed, charm.on.start],
        )
        charm.reconcile_on(found.on.certificate_available)
        charm.leave_secrets_of(LIBRARY)
        return found

    def _signed(self, related: TLSCertificatesRequiresV4, ca: str) -> Certificate:
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
        return Certificate(str(found.ca), f"{chain}\n", f"{key}\n")


def _complete(ca: x509.Certificate) -> bool:
    """Whether it says all that strict clients ask of a CA, as those of Python 3.13 and newer do.

    https://docs.python.org/3/library/ssl.html#ssl.create_default_context: VERIFY_X509_STRICT. One
    that an earlier revision of the charm made does not.
    """
    from cryptography import x509

    return any(isinstance(each.value, x509.KeyUsage) for each in ca.extensions)


def _lasts(ca: x509.Certificate) -> bool:
    """Whether it signs further certificates."""
    return not _old(ca) and _complete(ca)


def _old(certificate: x509.Certificate) -> bool:
    """Whether two thirds of its life have passed."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return now() >= begin + (end - begin) * _RENEW_AT
