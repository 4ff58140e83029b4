"""Interface certificate_transfer: CAs are given and read, nothing wrong raises.

charmlibs' library plays the other side, as Charmhub's charms use it.
"""

from __future__ import annotations

import datetime
import functools
import json

import ops
import pytest
from charmlibs.interfaces import certificate_transfer as published
from charmlibs.interfaces import tls_certificates as tls
from hypothesis import given, settings
from hypothesis import strategies as st
from ops import testing

from charmed_mlops import Blocked, CaProvider, CaRequirer, ServiceCharm, Waiting
from charmed_mlops.testing import MODEL

META = {
    "name": "tea",
    "requires": {"receive-ca-cert": {"interface": "certificate_transfer"}},
    "provides": {"send-ca-cert": {"interface": "certificate_transfer"}},
}
CA = {"name": "ca", "provides": {"send-ca-cert": {"interface": "certificate_transfer"}}}
CLIENT = {"name": "client", "requires": {"receive-ca-cert": {"interface": "certificate_transfer"}}}


@functools.cache
def pem(name: str) -> str:
    wanted = tls.CertificateRequestAttributes(common_name=name, is_ca=True)
    key, validity = tls.PrivateKey.generate(), datetime.timedelta(days=365)
    return str(tls.Certificate.generate_self_signed_ca(wanted, key, validity))


class Tea(ServiceCharm):
    """Reads CAs, and gives two."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container=None)
        self.received = CaRequirer(self)
        self.sent = CaProvider(self)

    def reconcile(self) -> None:
        self.received.get()
        self.sent.publish(f"{pem('b')}\n{pem('a')}\n")


class Ca(ops.CharmBase):
    """Does what self-signed-certificates does when somebody asks."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework)
        self.transfer = published.CertificateTransferProvides(self, "send-ca-cert")
        framework.observe(self.on["send-ca-cert"].relation_changed, self._send)

    def _send(self, _: ops.EventBase) -> None:
        self.transfer.add_certificates({pem("a"), pem("b")})


class Client(ops.CharmBase):
    """Reads what it is given."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework)
        self.transfer = published.CertificateTransferRequires(self, "receive-ca-cert")


def tea(*relations: testing.Relation, leader: bool = True):
    context = testing.Context(Tea, meta=META)
    return context(
        context.on.config_changed(),
        testing.State(leader=leader, relations=relations, model=MODEL),
    )


def provider(app: str = "ca", **data: str) -> testing.Relation:
    return testing.Relation("receive-ca-cert", remote_app_name=app, remote_app_data=data)


def read(*relations: testing.Relation) -> str:
    with tea(*relations) as running:
        return running.charm.received.get()


def test_with_nothing_related_there_is_none():
    assert read() == ""


def test_what_the_providers_library_gives_is_read():
    asking = provider()
    with tea(asking) as running:
        asked = running.run().get_relation(asking.id).local_app_data
    assert asked == {"version": "1"}
    context = testing.Context(Ca, meta=CA)
    relation = testing.Relation("send-ca-cert", remote_app_name="tea", remote_app_data=asked)
    state = testing.State(leader=True, relations=[relation])
    out = context.run(context.on.relation_changed(relation), state)
    given_ = out.get_relation(relation.id).local_app_data
    assert read(provider(**given_)) == "".join(sorted(f"{pem(name)}\n" for name in "ab"))


def test_those_of_several_providers_are_one_text_each_once():
    first = provider("one", certificates=json.dumps([pem("a"), pem("b")]))
    second = provider("two", certificates=json.dumps([f"\n{pem('b')}\n{pem('c')}"]))
    text = read(first, second)
    assert [text.count(pem(name)) for name in "abc"] == [1, 1, 1]
    assert text == read(second, first)


@pytest.mark.parametrize("data", [{}, {"certificates": "[]", "version": "1"}])
def test_a_provider_that_has_given_none_is_waited_for(data):
    with pytest.raises(Waiting, match=r"^waiting for ca to give its CA's certificate$"):
        read(provider(**data))


@pytest.mark.parametrize(
    "text", ["x", "{}", '"x"', "[1]", '["x"]', "[[]]", "null", "[" * 100_000],
    ids=lambda text: text[:5],
)  # fmt: skip
def test_what_is_no_list_of_certificates_is_named(text):
    with pytest.raises(Blocked, match=r"^ca: certificates is no list of certificates$"):
        read(provider(certificates=text))


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.sampled_from(["certificates", "version"]), st.text()))
def test_nothing_that_a_provider_writes_raises(data):
    with tea(provider(**data)) as running:
        assert running.run().unit_status.name in ("waiting", "blocked")


def test_a_follower_writes_nothing():
    asking, client = provider(), testing.Relation("send-ca-cert", remote_app_name="client")
    with tea(asking, client, leader=False) as running:
        out = running.run()
    assert [out.get_relation(each.id).local_app_data for each in (asking, client)] == [{}, {}]


def test_the_requirers_library_reads_what_is_given():
    client = testing.Relation("send-ca-cert", remote_app_name="client")
    with tea(client) as running:
        told = running.run().get_relation(client.id).local_app_data
    context = testing.Context(Client, meta=CLIENT)
    relation = testing.Relation("receive-ca-cert", remote_app_name="tea", remote_app_data=told)
    state = testing.State(leader=True, relations=[relation])
    with context(context.on.relation_changed(relation), state) as running:
        running.run()
        found = running.charm.transfer.get_all_certificates()
    assert {each.strip() for each in found} == {pem("a"), pem("b")}
