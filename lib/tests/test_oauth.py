"""Interface oauth: what Charmhub's providers write is read, nothing wrong raises.

charmlibs' library plays the provider, as hydra and oauth-external-idp-integrator use it.
"""

from __future__ import annotations

import dataclasses
import datetime
import json

import ops
import pytest
from charmlibs.interfaces import oauth as published
from charmlibs.interfaces import tls_certificates as tls
from hypothesis import given, settings
from hypothesis import strategies as st
from ops import testing

from charmed_mlops import Blocked, OauthClient, OauthRequirer, ServiceCharm
from charmed_mlops.interfaces.oauth import OFFLINE
from charmed_mlops.interfaces.oidc_client import Issuer
from charmed_mlops.testing import MODEL

URL = "https://id.example.com/iam-hydra"
CALLBACK = "https://ml.example.com/oauth2/callback"
SCOPES = ["openid", "email", "profile", "groups"]
# what hydra tells in one go, as soon as it has a public URL: patch 12 of its library
ENDPOINTS = {
    "issuer_url": URL,
    "authorization_endpoint": f"{URL}/oauth2/auth",
    "token_endpoint": f"{URL}/oauth2/token",
    "introspection_endpoint": "http://hydra.iam.svc.cluster.local:4445/admin/oauth2/introspect",
    "userinfo_endpoint": f"{URL}/userinfo",
    "jwks_endpoint": f"{URL}/.well-known/jwks.json",
    "scope": "openid profile email phone",
    "jwt_access_token": "True",
}
# and once it has made the client
CREDENTIALS = {
    "client_id": "0e4b6f2c-3c5a-4b0e-9d0a-1f2e3d4c5b6a",
    "client_secret_id": "secret:d4g5ssfmp25c7a7kmq1g",
}
# oauth-external-idp-integrator, with patch 5 of the library: what its options say
INTEGRATOR = {
    "issuer_url": "https://login.example.com",
    "authorization_endpoint": "https://login.example.com/authorize?organization=tea",
    "token_endpoint": "https://login.example.com/token",
    "introspection_endpoint": "https://login.example.com/introspect",
    "userinfo_endpoint": "https://login.example.com/me",
    "jwks_endpoint": "https://login.example.com/keys",
    "scope": "openid email groups",
    "client_id": "4711",
    "client_secret_id": "secret://9f2c6e2f-6c2b-4a4e-8f2e-0f7d1e6a2b3c/d4g5ssfmp25c7a7kmq1g",
}
META = {"name": "tea", "requires": {"login": {"interface": "oauth", "limit": 1}}}
HYDRA = {"name": "hydra", "provides": {"oauth": {"interface": "oauth"}}}


class Tea(ServiceCharm):
    """Asks for a client."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container=None)
        self.login = OauthRequirer(self, "login")
        self.scopes = SCOPES

    def reconcile(self) -> None:
        self.login.get(CALLBACK, self.scopes)


class Hydra(ops.CharmBase):
    """Does what hydra-operator does in these two events."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework)
        self.oauth = published.OAuthProvider(self)
        framework.observe(self.on.oauth_relation_created, self._tell)
        framework.observe(self.oauth.on.client_created, self._make)
        framework.observe(self.oauth.on.client_changed, self._change)
        self.changed: list[str] = []

    def _tell(self, _: ops.EventBase) -> None:
        told = {**ENDPOINTS, "jwt_access_token": True}
        self.oauth.set_provider_info_in_relation_data(**told)  # type: ignore[arg-type]

    def _make(self, event: published.ClientCreatedEvent) -> None:
        self.oauth.set_client_credentials_in_relation_data(
            event.relation_id, CREDENTIALS["client_id"], "open-sesame"
        )

    def _change(self, event: published.ClientChangedEvent) -> None:
        self.changed.append(event.scope)


def manager(*relations, leader=True, secrets=()):
    context = testing.Context(Tea, meta=META)
    state = testing.State(leader=leader, relations=relations, secrets=secrets, model=MODEL)
    return context(context.on.config_changed(), state)


def provider(data, app="hydra") -> testing.Relation:
    return testing.Relation("login", "oauth", remote_app_name=app, remote_app_data=data)


def secret(data, **content: str) -> testing.Secret:
    return testing.Secret(content or {"secret": "open-sesame"}, id=data["client_secret_id"])


def read(data, scopes=SCOPES, **content: str) -> OauthClient:
    with manager(provider(data), secrets=[secret(data, **content)]) as running:
        return running.charm.login.get(CALLBACK, scopes)


def asked(data, scopes=SCOPES, *, leader=True) -> dict[str, str]:
    relation = provider(data)
    with manager(relation, leader=leader) as running:
        running.charm.scopes = scopes
        out = running.run()
    assert out.unit_status == ops.WaitingStatus("waiting for hydra to give a client")
    return dict(out.get_relation(relation.id).local_app_data)


def status(data, **kwargs):
    context = testing.Context(Tea, meta=META)
    state = testing.State(leader=True, relations=[provider(data)], **kwargs)
    return context.run(context.on.config_changed(), state).unit_status


# with the provider's library


def test_the_providers_library_makes_the_client_that_is_asked_for():
    context = testing.Context(Hydra, meta=HYDRA)
    relation = testing.Relation("oauth", "oauth", remote_app_name="tea")
    out = context.run(
        context.on.relation_created(relation), testing.State(leader=True, relations=[relation])
    )
    told = out.get_relation(relation.id).local_app_data
    assert told == ENDPOINTS
    request = asked(told)
    relation = dataclasses.replace(out.get_relation(relation.id), remote_app_data=request)
    with context(
        context.on.relation_changed(relation), dataclasses.replace(out, relations=[relation])
    ) as running:
        (given,) = running.charm.model.relations["oauth"]
        config = running.charm.oauth.get_client_config(given)
        out = running.run()
    assert config is not None
    config.validate()
    assert config == published.ClientConfig(
        CALLBACK, "openid email profile", ["authorization_code"], [], "client_secret_basic"
    )
    (made,) = out.secrets
    assert made.remote_grants == {relation.id: {"tea"}}
    told = out.get_relation(relation.id).local_app_data
    assert "open-sesame" not in str(told)
    granted = testing.Secret(made.tracked_content, id=made.id)
    with manager(provider(told), secrets=[granted]) as running:
        client = running.charm.login.get(CALLBACK, SCOPES)
    assert (client.client_id, client.client_secret) == (CREDENTIALS["client_id"], "open-sesame")


def test_another_scope_changes_the_client_that_is_there():
    context = testing.Context(Hydra, meta=HYDRA)
    request = asked(ENDPOINTS, [*SCOPES, OFFLINE])
    relation = testing.Relation(
        "oauth", "oauth", remote_app_name="tea", remote_app_data=request,
        local_app_data={**ENDPOINTS, **CREDENTIALS},
    )  # fmt: skip
    state = testing.State(leader=True, relations=[relation])
    with context(context.on.relation_changed(relation), state) as running:
        running.run()
        assert running.charm.changed == ["openid email profile offline_access"]


# as the providers write it


def test_hydras_client_is_read():
    assert read({**ENDPOINTS, **CREDENTIALS}) == OauthClient(
        Issuer(
            URL, f"{URL}/oauth2/auth", f"{URL}/oauth2/token", f"{URL}/.well-known/jwks.json"
        ),
        "0e4b6f2c-3c5a-4b0e-9d0a-1f2e3d4c5b6a",
        "open-sesame",
        CALLBACK,
        "openid email profile",
        f"{URL}/userinfo",
    )  # fmt: skip


def test_the_integrators_client_is_read_also_where_its_name_is_a_number():
    client = read(INTEGRATOR)
    assert client.client_id == "4711"
    assert client.scope == "openid email groups"
    assert client.issuer.authorization_url.endswith("/authorize?organization=tea")


def test_a_secrets_id_may_stand_alone_as_in_the_interfaces_example():
    data = {**ENDPOINTS, **CREDENTIALS, "client_secret_id": "d4g5ssfmp25c7a7kmq1g"}
    uri = f"secret://{MODEL.uuid}/d4g5ssfmp25c7a7kmq1g"  # as ops writes it out
    granted = testing.Secret({"secret": "open-sesame"}, id=uri)
    with manager(provider(data), secrets=[granted]) as running:
        assert running.charm.login.get(CALLBACK, SCOPES).client_secret == "open-sesame"


def test_the_claim_of_groups_is_the_one_that_the_provider_names():
    data = {**ENDPOINTS, **CREDENTIALS}
    assert read(data).groups_claim == "groups"
    assert read({**data, "groups": "https://example.com/roles"}).groups_claim.endswith("/roles")


def authority() -> str:
    wanted = tls.CertificateRequestAttributes(common_name="a CA", is_ca=True)
    key, validity = tls.PrivateKey.generate(), datetime.timedelta(days=365)
    return str(tls.Certificate.generate_self_signed_ca(wanted, key, validity))


def test_the_issuers_ca_comes_as_a_list_or_as_one_text():
    pem = authority()
    data = {**ENDPOINTS, **CREDENTIALS}
    assert read(data).ca == ""
    assert read({**data, "ca_chain": "[]"}).ca == ""
    assert read({**data, "ca_chain": json.dumps([pem, pem])}).ca == f"{pem}\n{pem}\n"
    assert read({**data, "ca_chain": pem}).ca == f"{pem}\n"


def test_fields_that_a_later_provider_adds_are_let_pass():
    assert read({**ENDPOINTS, **CREDENTIALS, "device_endpoint": "[1"}).scope


def test_a_new_revision_of_the_secret_is_read():
    data = {**ENDPOINTS, **CREDENTIALS}
    rotated = testing.Secret(
        {"secret": "before"}, latest_content={"secret": "after"}, id=data["client_secret_id"]
    )
    with manager(provider(data), secrets=[rotated]) as running:
        assert running.charm.login.get(CALLBACK, SCOPES).client_secret == "after"


# what is asked for


def test_it_asks_before_the_provider_has_written_anything():
    assert asked({}) == {
        "redirect_uri": CALLBACK,
        "scope": "openid email profile",
        "grant_types": '["authorization_code"]',
        "audience": "[]",
        "token_endpoint_auth_method": "client_secret_basic",
    }


def test_it_asks_for_no_scope_that_the_provider_does_not_name():
    assert asked({**ENDPOINTS, "scope": "openid groups"})["scope"] == "openid groups"
    assert asked({**ENDPOINTS, "scope": "email"})["scope"] == "openid email"


def test_refresh_tokens_are_asked_for_by_grant_and_scope():
    request = asked(ENDPOINTS, [*SCOPES, OFFLINE])
    assert request["scope"] == "openid email profile offline_access"
    assert json.loads(request["grant_types"]) == ["authorization_code", "refresh_token"]


def test_a_follower_asks_for_nothing_and_reads_the_same():
    assert asked(ENDPOINTS, leader=False) == {}
    data = {**ENDPOINTS, **CREDENTIALS}
    client = read(data)
    with manager(provider(data), leader=False, secrets=[secret(data)]) as running:
        assert running.charm.login.get(CALLBACK, SCOPES) == client


# what is missing


def test_without_a_relation_it_names_the_command():
    with manager() as running:
        assert running.charm.login.provider == ""
        with pytest.raises(Blocked, match="juju integrate tea:login"):
            running.charm.login.get(CALLBACK, SCOPES)


@pytest.mark.parametrize("missing", sorted({**ENDPOINTS, **CREDENTIALS}))
def test_a_field_that_is_missing_or_empty_is_waited_for_if_it_is_needed(missing):
    data = {**ENDPOINTS, **CREDENTIALS}
    needed = missing not in ("introspection_endpoint", "jwt_access_token")
    secrets = [secret(data)]
    for changed in ({**data, missing: ""}, {k: v for k, v in data.items() if k != missing}):
        found = status(changed, secrets=secrets)
        assert found == (
            ops.WaitingStatus("waiting for hydra to give a client") if needed
            else ops.ActiveStatus()
        )  # fmt: skip


def test_a_secret_that_is_not_granted_is_waited_for():
    found = status({**ENDPOINTS, **CREDENTIALS})
    assert found == ops.WaitingStatus("waiting for hydra to grant its secret")


def test_a_secret_without_its_field_is_waited_for():
    data = {**ENDPOINTS, **CREDENTIALS}
    found = status(data, secrets=[secret(data, password="open-sesame")])
    assert found == ops.WaitingStatus("waiting for hydra to give a client's secret")


# what is wrong


@pytest.mark.parametrize(
    "field, text, problem",
    [
        ("issuer_url", "id.example.com", "is no URL"),
        ("authorization_endpoint", "javascript:alert(1)", "is no URL"),
        ("token_endpoint", 'https://h/"\nskip_auth_routes = [".*"]', "is no URL"),
        ("token_endpoint", "https://", "is no URL"),
        ("token_endpoint", "https://[", "is no URL"),
        ("token_endpoint", "https://h:99999/token", "is no URL"),
        ("userinfo_endpoint", "https://ann:pw@h/", "is no URL"),
        ("jwks_endpoint", "https://h/a b", "is no URL"),
        ("jwks_endpoint", "file:///etc/passwd", "is no URL"),
        ("scope", '["openid", "email"]', "is no list of scopes"),
        ("scope", "openid\temail", "is no list of scopes"),
        ("client_id", "a\x00b", "is no client's name"),
        ("client_secret_id", "a\nb", "is no secret's URI"),
        ("groups", "é", "is no claim's name"),
        ("ca_chain", "{", "is no list of certificates"),
        ("ca_chain", "{}", "is no list of certificates"),
        ("ca_chain", "[1]", "is no list of certificates"),
        ("ca_chain", '["a"]', "is no list of certificates"),
        ("ca_chain", '[""]', "is no list of certificates"),
        ("ca_chain", "[" * 100_000, "is no list of certificates"),
        ("ca_chain", '["\\ud800"]', "is no list of certificates"),
        ("ca_chain", "-----BEGIN CERTIFICATE-----\nAAAA", "is no list of certificates"),
    ],
)
def test_a_malformed_field_blocks_and_is_named(field, text, problem):
    data = {**ENDPOINTS, **CREDENTIALS}
    found = status({**data, field: text}, secrets=[secret(data)])
    assert found == ops.BlockedStatus(f"hydra: {field} {problem}")


@given(
    st.dictionaries(
        st.sampled_from([*ENDPOINTS, *CREDENTIALS, "groups", "ca_chain"]),
        st.one_of(st.text(max_size=40), st.from_regex(r"\Ahttps?://[!-~]{0,20}\Z")),
    )
)
@settings(max_examples=40, deadline=None)
def test_whatever_stands_there_is_waited_for_or_named_in_one_line(written):
    found = status({**ENDPOINTS, **CREDENTIALS, **written})
    assert isinstance(found, (ops.WaitingStatus, ops.BlockedStatus))
    assert "\n" not in found.message
    assert len(found.message) <= 80
