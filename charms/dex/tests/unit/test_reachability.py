"""The action `check-connectors`, with servers that answer, and with some that do it wrongly."""

from __future__ import annotations

import datetime
import email.utils
import http.server
import ipaddress
import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from ops import testing

from charms.small_servers import serving

GATEWAY = testing.Relation(
    "gateway", remote_app_name="gateway", remote_app_data={"url": '"https://ml.example.com"'}
)


class Pair(NamedTuple):
    """A certificate that signed itself, and the file of it and its key."""

    certificate: str
    file: Path


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "company")])
    now = datetime.datetime.now(datetime.timezone.utc)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    text = made.public_bytes(pem).decode()
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = tmp_path_factory.mktemp("pair") / "pair.pem"
    file.write_text(private.decode() + text)
    return Pair(text, file)


class Provider(http.server.ThreadingHTTPServer):
    """An issuer over TLS; `name` is what it calls itself, `ahead` its clock's error in seconds."""

    def __init__(self, pair: Pair):
        super().__init__(("127.0.0.1", 0), Answer)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.file)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.server_port}"
        self.name, self.ahead = self.url, 0

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that does not trust it goes away."""


class Answer(http.server.BaseHTTPRequestHandler):
    server: Provider  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"issuer": self.server.name}).encode())

    def date_time_string(self, timestamp: float | None = None) -> str:
        now = datetime.datetime.now(datetime.timezone.utc)
        return email.utils.format_datetime(now + datetime.timedelta(seconds=self.server.ahead))

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def provider(pair: Pair) -> Iterator[Provider]:
    server = Provider(pair)
    with serving(server):
        yield server


@pytest.fixture
def closed() -> Iterator[int]:
    """A port that nothing listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def said(charm, entry: dict, ca: str = "") -> str:
    """What the action says of a connector."""
    entry = {"id": "corp", "name": "Corp", "ca": ca, **entry}
    secret = testing.Secret({"corp-bind-password": "x", "corp-client-secret": "x"})
    given = {"connectors": yaml.safe_dump([entry]), "connector-secrets": secret.id}
    out = charm.settled(GATEWAY, secrets=[secret], config=given)
    assert out.unit_status == testing.ActiveStatus()
    return charm.act("check-connectors", out)["corp"]


def ldap(port: int, **more: object) -> dict:
    search = {"baseDN": "dc=x", "username": "mail", "idAttr": "uid"}
    config = {"host": f"127.0.0.1:{port}", "userSearch": search, **more}
    return {"type": "ldap", "config": config}


def oidc(issuer: str) -> dict:
    return {"type": "oidc", "config": {"issuer": issuer, "clientID": "us"}}


def test_one_that_answers_says_so(charm, provider: Provider, pair: Pair):
    assert said(charm, oidc(provider.url), pair.certificate) == "answers"
    assert said(charm, ldap(provider.server_port), pair.certificate) == "answers"
    signed = {"ssoURL": provider.url, "usernameAttr": "name", "emailAttr": "mail"}
    saml = {"type": "saml", "config": signed}
    assert said(charm, saml, pair.certificate).startswith("its certificate is not trusted: ")
    github = {"type": "github", "config": {"clientID": "us", "hostName": provider.url[8:]}}
    assert said(charm, github, pair.certificate) == "answers"


def test_a_certificate_of_another_ca_is_named(charm, provider: Provider):
    expected = "its certificate is not trusted: self-signed certificate; see ca"
    assert said(charm, oidc(provider.url)) == expected
    assert said(charm, ldap(provider.server_port)) == expected


def test_a_ca_that_is_no_certificate_is_named(charm, provider: Provider):
    ca = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    assert said(charm, oidc(provider.url), ca) == "its ca is no certificate"


def test_a_place_where_nothing_listens_is_named(charm, closed: int):
    refused = "does not answer: [Errno 111] Connection refused"
    assert said(charm, ldap(closed, insecureNoSSL=True)) == refused
    assert said(charm, oidc(f"http://127.0.0.1:{closed}")) == refused


def test_another_issuer_is_named(charm, provider: Provider, pair: Pair):
    provider.name = "https://other.example.com"
    assert said(charm, oidc(provider.url), pair.certificate) == (
        "names itself https://other.example.com: config.issuer has to be just that"
    )


@pytest.mark.parametrize(
    "seconds, words", [(300, "ahead of this one's"), (-300, "behind this one's")]
)
def test_a_clock_five_minutes_off_is_named(
    charm, provider: Provider, pair: Pair, seconds: int, words: str
):
    provider.ahead = seconds
    found = said(charm, oidc(provider.url), pair.certificate)
    assert found.startswith("its clock is ")
    assert found.endswith(words)
    off = int(found.removeprefix("its clock is ").partition(" ")[0])
    assert abs(off - 300) <= 5
