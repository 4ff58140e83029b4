"""The certificate by which the controller knows the Envoy of its own pod.

client-go sends its token over TLS only. So Envoy's listener for it speaks TLS, at 127.0.0.1.
"""

from __future__ import annotations

import datetime
import ipaddress

HOST = "127.0.0.1"
_DAYS = 3650


def certificate() -> dict[str, str]:
    """A new key and its self-signed certificate, as a Juju secret has them."""
    from cryptography import x509  # here: it is made once
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.timezone.utc)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    text = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain).decode()
    return {"certificate": made.public_bytes(pem).decode(), "key": text}
