"""The webhook certificate: who makes it, what it holds, when it is renewed."""

from __future__ import annotations

import contextlib
import datetime
import ssl
from pathlib import Path

import ops
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from ops import testing

from charmed_mlops import ServiceCharm, WebhookCertificate, certificates

META = {"name": "hook"}
ACTIONS = {"renew-certificate": {}}
START = datetime.datetime(2030, 1, 1, tzinfo=datetime.timezone.utc)


class Hook(ServiceCharm):
    """Keeps a certificate for its Service."""

    seen: certificates.Certificate

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container=None)
        self.certificate = WebhookCertificate(self)

    def reconcile(self) -> None:
        Hook.seen = self.certificate.current()


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch):
    """Sets the clock, in days since START."""

    def set_clock(days: float) -> None:
        monkeypatch.setattr(certificates, "now", lambda: START + datetime.timedelta(days=days))

    set_clock(0)
    return set_clock


def run(state: testing.State) -> testing.State:
    context = testing.Context(Hook, meta=META)
    return context.run(context.on.update_status(), state)


def renew(state: testing.State) -> tuple[testing.State, dict[str, str]]:
    context = testing.Context(Hook, meta=META, actions=ACTIONS)
    out = context.run(context.on.action("renew-certificate"), state)
    assert context.action_results is not None
    return out, context.action_results


def state(**changes) -> testing.State:
    return testing.State(leader=True, model=testing.Model("shop"), **changes)


def test_the_leader_makes_one_that_the_api_server_can_verify(at):
    out = run(state())
    assert out.unit_status == ops.ActiveStatus()
    chain = x509.load_pem_x509_certificates(Hook.seen.chain.encode())
    ca = x509.load_pem_x509_certificate(Hook.seen.ca.encode())
    chain[0].verify_directly_issued_by(ca)
    names = chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "hook.shop.svc" in names.get_values_for_type(x509.DNSName)
    assert ssl.create_default_context(cadata=Hook.seen.ca).get_ca_certs()


def handshake(seen: certificates.Certificate, folder: Path) -> None:
    """Between a client that is strict, as Python's are from 3.13 on, and a server.

    Raises:
        ssl.SSLError: the client does not trust the server.
    """
    (folder / "chain.pem").write_text(seen.chain)
    (folder / "key.pem").write_text(seen.key)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(folder / "chain.pem", folder / "key.pem")
    asking = ssl.create_default_context(cadata=seen.ca)
    asking.verify_flags |= ssl.VERIFY_X509_STRICT
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = asking.wrap_bio(back, there, server_hostname="hook.shop.svc")
    server = serving.wrap_bio(there, back, server_side=True)
    for side in (client, server, client, server):
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    assert client.version()


class OldHook(Hook):
    """Keeps one for a program that reads keys of PKCS #1 only."""

    def __init__(self, framework: ops.Framework):
        ServiceCharm.__init__(self, framework, container=None)
        self.certificate = WebhookCertificate(self, rsa=True)


def test_a_program_that_reads_keys_of_pkcs_1_only_gets_one(at):
    context = testing.Context(OldHook, meta=META)
    context.run(context.on.update_status(), state())
    assert Hook.seen.key.startswith("-----BEGIN RSA PRIVATE KEY-----")
    key = serialization.load_pem_private_key(Hook.seen.key.encode(), None)
    leaf = x509.load_pem_x509_certificates(Hook.seen.chain.encode())[0]
    assert leaf.public_key() == key.public_key()
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(Hook.seen.ca.encode()))


@pytest.mark.parametrize("charm", [Hook, OldHook])
def test_a_strict_client_trusts_it(tmp_path: Path, charm: type[Hook]):
    context = testing.Context(charm, meta=META)
    context.run(context.on.update_status(), state())
    handshake(Hook.seen, tmp_path)


def of_before() -> dict[str, str]:
    """What an earlier revision kept: its CA does not say what its key is for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hook webhooks")])
    names = ["hook.shop.svc", "hook.shop.svc.cluster.local", "hook.shop"]
    begin = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=300))
    )
    authority = builder.add_extension(x509.BasicConstraints(True, 0), critical=True)
    leaf = builder.add_extension(
        x509.SubjectAlternativeName([x509.DNSName(each) for each in names]), critical=False
    )
    pem = serialization.Encoding.PEM
    ca, server = (
        each.sign(key, hashes.SHA256()).public_bytes(pem).decode() for each in (authority, leaf)
    )
    plain = serialization.NoEncryption()
    text = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain).decode()
    return {"ca-cert": ca, "ca-key": text, "server-cert": server, "server-key": text}


def test_after_a_refresh_strict_clients_trust_it_too(tmp_path: Path):
    content = of_before()
    before = certificates.Certificate(
        content["ca-cert"], content["server-cert"], content["server-key"]
    )
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(before, tmp_path)
    secret = testing.Secret(content, label="webhook-certificate-hook", owner="app")
    out = run(state(secrets=[secret]))
    assert out.unit_status == ops.ActiveStatus()
    # the one of before is trusted until every unit has the new one
    assert content["ca-cert"] in Hook.seen.ca
    ca = Hook.seen.ca.replace(content["ca-cert"], "")
    handshake(certificates.Certificate(ca, Hook.seen.chain, Hook.seen.key), tmp_path)


def test_a_follower_reads_it_or_waits(at):
    made = run(state())
    expected = Hook.seen
    out = run(testing.State(leader=False, model=testing.Model("shop"), secrets=made.secrets))
    assert (out.unit_status, Hook.seen) == (ops.ActiveStatus(), expected)
    out = run(testing.State(leader=False, model=testing.Model("shop")))
    assert isinstance(out.unit_status, ops.WaitingStatus)


@pytest.mark.parametrize(
    ("days", "renewed", "new_ca"), [(240, False, False), (244, True, False), (2440, True, True)]
)
def test_renewal_at_two_thirds_of_the_life(at, days: float, renewed: bool, new_ca: bool):
    made = run(state())
    before = Hook.seen
    at(days)
    run(state(secrets=made.secrets))
    assert (Hook.seen.key != before.key) is renewed
    assert (Hook.seen.ca != before.ca) is new_ca


def test_a_follower_does_not_renew(at):
    made = run(state())
    before = Hook.seen
    at(300)
    run(testing.State(leader=False, model=testing.Model("shop"), secrets=made.secrets))
    assert Hook.seen == before


def test_the_action_makes_a_new_key_by_the_same_ca_and_units_take_it(at):
    made = run(state())
    before = Hook.seen
    at(1)
    out, results = renew(state(secrets=made.secrets))
    assert results == {"expires": "2031-01-02T00:00:00+00:00"}
    renewed = Hook.seen
    assert (renewed.key != before.key, renewed.ca) == (True, before.ca)
    run(testing.State(leader=False, model=testing.Model("shop"), secrets=out.secrets))
    assert Hook.seen == renewed


def test_the_action_needs_the_leader_and_a_certificate(at):
    made = run(state())
    for leader, secrets, reason in (
        (False, made.secrets, "run this on the leader: hook/leader"),
        (True, [], "there is no certificate yet"),
    ):
        with pytest.raises(testing.ActionFailed, match=reason):
            renew(testing.State(leader=leader, model=testing.Model("shop"), secrets=secrets))
