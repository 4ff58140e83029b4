"""The control plane's certificates and keys: one authority, made once, kept in one folder."""

from __future__ import annotations

import datetime
import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_YEARS = 10
_SIGNS = x509.KeyUsage(
    key_cert_sign=True, crl_sign=True, digital_signature=True,
    content_commitment=False, key_encipherment=False, data_encipherment=False,
    key_agreement=False, encipher_only=False, decipher_only=False,
)  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates; keeps its own in `folder` and makes what is not there yet."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        self._folder = folder
        self.pair = Pair(folder / "ca.crt", folder / "ca.key")
        if not self.pair.key.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            name = _name("localkube", None)
            builder = (
                _builder(name, name, key.public_key(), key.public_key())
                .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
                .add_extension(_SIGNS, critical=True)
            )
            # The key comes last: it tells that both are there.
            _write_certificate(self.pair.certificate, builder.sign(key, hashes.SHA256()))
            _write_key(self.pair.key, key)

    def issue(
        self, name: str, common_name: str, group: str | None = None, hosts: tuple[str, ...] = ()
    ) -> Pair:
        """Returns the pair of files NAME.crt and NAME.key, made where they are not there yet.

        Args:
            name: of the files.
            common_name: the subject; Kubernetes reads it as the user.
            group: the subject's organisation; Kubernetes reads it as the user's group.
            hosts: DNS names and IP addresses of a server.
        """
        pair = Pair(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        if pair.certificate.exists() and pair.key.exists():
            return pair
        authority = x509.load_pem_x509_certificate(self.pair.certificate.read_bytes())
        signer = serialization.load_pem_private_key(self.pair.key.read_bytes(), None)
        assert isinstance(signer, ec.EllipticCurvePrivateKey)
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(
            _name(common_name, group), authority.subject, key.public_key(), signer.public_key()
        ).add_extension(
            x509.ExtendedKeyUsage(
                [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
            ),
            critical=False,
        )
        if hosts:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False
            )
        _write_key(pair.key, key)
        _write_certificate(pair.certificate, builder.sign(signer, hashes.SHA256()))
        return pair

    def service_account_key(self) -> Path:
        """The RSA key that signs service-account tokens."""
        file = self._folder / "service-account.key"
        if not file.exists():
            _write_key(file, rsa.generate_private_key(public_exponent=65537, key_size=2048))
        return file


def _name(common_name: str, group: str | None) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if group:
        parts.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, group))
    return x509.Name(parts)


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    signer: ec.EllipticCurvePublicKey,
) -> x509.CertificateBuilder:
    """With the identifiers of both keys, which Python 3.13 and newer insist on."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=365 * _YEARS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
    )


def _write_certificate(file: Path, certificate: x509.Certificate) -> None:
    _write(file, certificate.public_bytes(serialization.Encoding.PEM))


def _write_key(file: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    _write(file, pem)


def _write(file: Path, content: bytes) -> None:
    """All or nothing: a file that is there counts as made."""
    new = file.with_suffix(f"{file.suffix}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as output:
        output.write(content)
    new.replace(file)
