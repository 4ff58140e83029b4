"""Interface oidc_client: both sides agree, secrets stay in Juju secrets, nothing wrong raises."""

from __future__ import annotations

import json

import ops
import pytest
from ops import testing

from charmed_mlops import Blocked, OidcProvider, OidcRequirer, ServiceCharm, Waiting
from charmed_mlops.interfaces.oidc_client import Client, Issuer

ISSUER = Issuer("http://i/dex", "/dex/auth", "http://i/dex/token", "http://i/dex/keys")
META = {
    "name": "tea",
    "requires": {"login": {"interface": "oidc_client"}},
    "provides": {"clients": {"interface": "oidc_client"}},
}


class Tea(ServiceCharm):
    """Has both sides."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container=None)
        self.login = OidcRequirer(self, "login", ["/oauth2/callback"])
        self.clients = OidcProvider(self, "clients")

    def reconcile(self) -> None:
        for request in self.clients.requests():
            self.clients.answer(request, ISSUER)


def manager(*relations, leader=True, secrets=()):
    context = testing.Context(Tea, meta=META)
    state = testing.State(leader=leader, relations=relations, secrets=secrets)
    return context(context.on.config_changed(), state)


def asking(text='["/oauth2/callback"]') -> testing.Relation:
    data = {"version": "1", "redirect-uris": text}
    return testing.Relation("clients", remote_app_name="kettle", remote_app_data=data)


def test_what_the_provider_writes_is_what_the_requirer_reads():
    request = asking()
    with manager(request) as running:
        out = running.run()
    (secret,) = out.secrets
    assert set(secret.tracked_content) == {"client-secret"}
    assert len(secret.tracked_content["client-secret"]) >= 43
    data = out.get_relation(request.id).local_app_data
    assert secret.tracked_content["client-secret"] not in str(data)
    assert secret.remote_grants == {request.id: {"kettle"}}
    granted = testing.Secret(secret.tracked_content, id=secret.id)
    given = testing.Relation("login", remote_app_name="dex", remote_app_data=data)
    with manager(given, secrets=[granted]) as running:
        client = running.charm.login.get()
    assert client == Client(
        ISSUER, f"kettle-{request.id}", secret.tracked_content["client-secret"]
    )


def test_answering_again_makes_no_new_secret():
    context = testing.Context(Tea, meta=META)
    first = context.run(
        context.on.config_changed(), testing.State(leader=True, relations=[asking()])
    )
    second = context.run(context.on.config_changed(), first)
    assert second.secrets == first.secrets
    assert second.relations == first.relations


def test_the_requirer_asks_and_waits():
    relation = testing.Relation("login", remote_app_name="dex")
    with manager(relation) as running:
        with pytest.raises(Waiting, match="waiting for dex to give a client"):
            running.charm.login.get()
        out = running.run()
    assert out.get_relation(relation.id).local_app_data == {
        "version": "1", "redirect-uris": '["/oauth2/callback"]',
    }  # fmt: skip


def test_without_a_relation_the_requirer_names_the_command():
    with manager() as running, pytest.raises(Blocked, match="juju integrate tea:login"):
        running.charm.login.get()


def test_a_secret_that_is_not_granted_is_waited_for():
    fields = {
        "issuer": "i", "authorization-url": "a", "token-url": "t", "jwks-url": "j",
        "client-id": "c", "secret-client": "secret:d4g5ssfmp25c7a7kmq1g",
    }  # fmt: skip
    relation = testing.Relation("login", remote_app_name="dex", remote_app_data=fields)
    with manager(relation) as running, pytest.raises(Waiting, match="waiting for dex to grant"):
        running.charm.login.get()


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "{}", "[1]", '["javascript:alert(1)"]', '["/a b"]', '["//evil.com/x"]',
     "[" * 100_000, json.dumps(["/ok", "https://h/\nx"])],
)  # fmt: skip
def test_what_is_no_list_of_uris_is_named_and_not_answered(text):
    request = asking(text)
    with manager(request) as running:
        assert list(running.charm.clients.requests()) == []
        assert running.charm.clients.problems == ["kettle: redirect-uris are no list of URIs"]
        out = running.run()
    assert out.get_relation(request.id).local_app_data == {}


def test_a_follower_waits_for_the_leaders_secret():
    with manager(asking(), leader=False) as running:
        (request,) = running.charm.clients.requests()
        with pytest.raises(Waiting, match="waiting for the leader"):
            running.charm.clients.secret(request)
