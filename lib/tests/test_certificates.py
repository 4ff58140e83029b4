"""The webhook certificate: who makes it, what it holds, when it is renewed."""

from __future__ import annotations

import datetime
import ssl

import ops
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
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
