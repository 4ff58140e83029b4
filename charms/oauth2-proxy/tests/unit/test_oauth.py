"""OAuth2 Proxy with an issuer of Charmhub's, over the interface oauth, in the place of dex."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable

import pytest
from ops import testing

from charmed_mlops.testing import broker, client, relation
from charms.tls_double import authority

CONFIG, CA = "/tmp/oauth2-proxy.cfg", "/tmp/issuer-ca.pem"
URL = "https://id.example.com/iam-hydra"
# what hydra writes: lib/tests/test_oauth.py holds it to the library that hydra uses
TOLD = {
    "issuer_url": URL,
    "authorization_endpoint": f"{URL}/oauth2/auth",
    "token_endpoint": f"{URL}/oauth2/token",
    "introspection_endpoint": "http://hydra.iam.svc.cluster.local:4445/admin/oauth2/introspect",
    "userinfo_endpoint": f"{URL}/userinfo",
    "jwks_endpoint": f"{URL}/.well-known/jwks.json",
    "scope": "openid profile email phone",
    "jwt_access_token": "True",
}


def gateway(**data: str) -> testing.Relation:
    return relation("gateway", "gateway", **data or {"url": "https://ml.example.com"})


def hydra(**data: str) -> tuple[testing.Relation, testing.Secret]:
    secret = testing.Secret({"secret": "open-sesame-client"})
    fields = {**TOLD, "client_id": "0e4b6f2c", "client_secret_id": secret.id, **data}
    return testing.Relation("oauth", remote_app_name="hydra", remote_app_data=fields), secret


def run(charm, *relations, **changes) -> testing.State:
    """Without dex, whose relation `settled` brings."""
    return charm.applied(charm.run(broker(), *relations, **changes))


def settled(charm, **data: str) -> testing.State:
    issuer, secret = hydra(**data)
    return run(charm, issuer, gateway(), secrets=[secret])


def config(charm, out) -> dict[str, str]:
    return dict(re.findall(r"^(\w+) = (.+)$", charm.file(out, CONFIG), re.MULTILINE))


def told(charm, out, change: Callable[[dict[str, str]], dict[str, str]]) -> testing.State:
    """The state after the issuer has changed what it wrote."""
    (issuer,) = out.get_relations("oauth")
    assert isinstance(issuer, testing.Relation)
    data = change({**issuer.remote_app_data})
    changed = dataclasses.replace(issuer, remote_app_data=data)
    others = [each for each in out.relations if each.id != issuer.id]
    context = charm.context()
    state = dataclasses.replace(out, relations=[*others, changed])
    return context.run(context.on.relation_changed(changed), state)


def without(charm, out, endpoint: str) -> testing.State:
    """The state after a relation of an endpoint has gone."""
    (gone,) = out.get_relations(endpoint)
    context = charm.context()
    after = context.run(context.on.relation_broken(gone), out)
    kept = [each for each in after.relations if each.id != gone.id]
    return dataclasses.replace(after, relations=kept)


def test_it_runs_without_dex(charm):
    out = settled(charm)
    assert out.unit_status == testing.ActiveStatus()
    assert charm.published(out, "oauth") == {
        "redirect_uri": "https://ml.example.com/oauth2/callback",
        "scope": "openid email profile",
        "grant_types": '["authorization_code"]',
        "audience": "[]",
        "token_endpoint_auth_method": "client_secret_basic",
    }


def test_the_issuers_own_addresses_are_used(charm):
    found = config(charm, settled(charm))
    assert found["oidc_issuer_url"] == f'"{URL}"'
    assert found["login_url"] == f'"{URL}/oauth2/auth"'
    assert found["redeem_url"] == f'"{URL}/oauth2/token"'
    assert found["oidc_jwks_url"] == f'"{URL}/.well-known/jwks.json"'
    assert found["profile_url"] == f'"{URL}/userinfo"'
    assert found["skip_oidc_discovery"] == "true"


def test_people_come_back_to_the_one_url_that_the_issuer_knows(charm):
    found = config(charm, settled(charm))
    assert found["redirect_url"] == '"https://ml.example.com/oauth2/callback"'
    assert found["relative_redirect_url"] == "false"
    assert "whitelist_domains" not in found


def test_what_the_program_asks_for_is_what_the_client_may(charm):
    out = settled(charm, scope="openid email groups", groups="roles")
    found = config(charm, out)
    assert found["scope"] == '"openid email groups"'
    assert charm.published(out, "oauth")["scope"] == "openid email groups"
    assert found["oidc_groups_claim"] == '"roles"'


def test_sessions_that_are_refreshed_need_the_grant_for_it(charm):
    issuer, secret = hydra()
    out = run(charm, issuer, gateway(), secrets=[secret], config={"session-refresh": "1h"})
    asked = charm.published(out, "oauth")
    assert json.loads(asked["grant_types"]) == ["authorization_code", "refresh_token"]
    assert asked["scope"] == "openid email profile offline_access"
    assert config(charm, out)["scope"] == '"openid email profile offline_access"'


def test_the_clients_secret_is_in_the_environment_only(charm):
    out = settled(charm)
    environment = charm.environment(out)
    assert environment["OAUTH2_PROXY_CLIENT_ID"] == "0e4b6f2c"
    assert environment["OAUTH2_PROXY_CLIENT_SECRET"] == "open-sesame-client"
    assert "open-sesame-client" not in charm.file(out, CONFIG)
    assert "open-sesame-client" not in str([each.local_app_data for each in out.relations])


def pem() -> str:
    """A CA's certificate."""
    certificate, _ = authority()
    return str(certificate)


def test_a_ca_that_the_issuer_tells_is_trusted_beside_the_public_ones(charm):
    ca = pem()
    out = settled(charm, ca_chain=json.dumps([ca]))
    found = config(charm, out)
    assert found["provider_ca_files"] == f'["{CA}"]'
    assert found["use_system_trust_store"] == "true"
    assert charm.file(out, CA) == f"{ca}\n"
    assert "provider_ca_files" not in config(charm, settled(charm))


def test_a_ca_that_another_application_gives_is_trusted_too(charm):
    told, given = pem(), pem()
    issuer, secret = hydra(ca_chain=json.dumps([told]))
    giver = relation("receive-ca-cert", "ca", certificates=json.dumps([given]), version="1")
    out = run(charm, issuer, gateway(), giver, secrets=[secret])
    assert charm.published(out, "receive-ca-cert") == {"version": "1"}
    assert charm.file(out, CA) == f"{told}\n{given}\n"

    issuer, secret = hydra()
    out = run(charm, issuer, gateway(), giver, secrets=[secret])
    assert charm.file(out, CA) == f"{given}\n"
    assert config(charm, out)["provider_ca_files"] == f'["{CA}"]'
    gone = without(charm, out, "receive-ca-cert")
    assert "provider_ca_files" not in config(charm, gone)


def test_a_ca_that_is_related_but_not_given_is_waited_for(charm):
    before = settled(charm)
    giver = relation("receive-ca-cert", "ca")
    out = charm.again(before, event="config_changed", relations=[*before.relations, giver])
    assert out.unit_status == testing.WaitingStatus("waiting for ca to give its CA's certificate")
    assert charm.service(out) == charm.service(before)


def test_a_second_run_writes_nothing_and_restarts_nothing(charm):
    before = settled(charm)
    after = charm.again(before)
    assert after.unit_status == before.unit_status
    assert charm.service(after) == charm.service(before)
    assert charm.published(after, "oauth") == charm.published(before, "oauth")


def test_three_units_serve_with_the_same_client(charm):
    out = settled(charm)
    for unit in (1, 2):
        context = charm.context(unit)
        state = testing.State(
            leader=False, model=out.model, relations=out.relations, secrets=out.secrets,
            containers=charm.containers(), planned_units=3,
        )  # fmt: skip
        after = context.run(context.on.config_changed(), state)
        assert after.unit_status == testing.ActiveStatus()
        assert charm.environment(after) == charm.environment(out)


def test_another_url_of_the_gateway_is_told_to_the_issuer(charm):
    before = settled(charm)
    others = [each for each in before.relations if each.endpoint != "gateway"]
    moved = gateway(url="https://new.example.com:8443")
    out = charm.again(before, event="config_changed", relations=[*others, moved])
    callback = "https://new.example.com:8443/oauth2/callback"
    assert charm.published(out, "oauth")["redirect_uri"] == callback
    assert config(charm, out)["redirect_url"] == f'"{callback}"'
    assert charm.service(out) != charm.service(before)


def test_a_new_secret_of_the_client_is_used(charm):
    issuer, secret = hydra()
    before = run(charm, issuer, gateway(), secrets=[secret])
    kept = [each for each in before.secrets if each.id != secret.id]
    (granted,) = [each for each in before.secrets if each.id == secret.id]
    rotated = dataclasses.replace(granted, latest_content={"secret": "open-barley"})
    context = charm.context()
    state = dataclasses.replace(before, secrets=[*kept, rotated])
    out = context.run(context.on.secret_changed(rotated), state)
    assert charm.environment(out)["OAUTH2_PROXY_CLIENT_SECRET"] == "open-barley"


# what is missing or wrong


def test_two_issuers_are_refused_and_both_ways_out_are_named(charm):
    issuer, secret = hydra()
    dex, password = client("oidc")
    out = run(charm, dex, issuer, gateway(), secrets=[secret, password])
    assert out.unit_status == testing.BlockedStatus(
        "two issuers: juju remove-relation oauth2-proxy:oidc dex, or oauth2-proxy:oauth hydra"
    )


@pytest.mark.parametrize("endpoint, url", [("oidc", f"{URL}/oauth2/auth"), ("oauth", "/dex/auth")])
def test_once_one_of_two_is_removed_the_other_is_used(charm, endpoint, url):
    issuer, secret = hydra()
    dex, password = client("oidc")
    out = run(charm, dex, issuer, gateway(), secrets=[secret, password])
    after = charm.applied(without(charm, out, endpoint))
    assert after.unit_status == testing.ActiveStatus()
    assert config(charm, after)["login_url"] == f'"{url}"'


def test_a_second_issuer_leaves_the_service_as_it_runs(charm):
    before = settled(charm)
    dex, password = client("oidc")
    out = charm.again(
        before, event="config_changed",
        relations=[*before.relations, dex], secrets=[*before.secrets, password],
    )  # fmt: skip
    assert out.unit_status.name == "blocked"
    assert charm.service(out) == charm.service(before)


def test_with_no_issuer_both_are_named(charm):
    message = "no relation oidc: juju integrate oauth2-proxy:oidc dex, or oauth2-proxy:oauth hydra"
    assert run(charm).unit_status == testing.BlockedStatus(message)
    out = without(charm, settled(charm), "oauth")
    assert out.unit_status == testing.BlockedStatus(message)


def test_the_gateway_has_to_say_where_people_come_back_to(charm):
    issuer, secret = hydra()
    out = run(charm, issuer, secrets=[secret])
    assert out.unit_status.name == "blocked"
    assert out.unit_status.message.startswith(
        "no relation gateway: juju integrate oauth2-proxy:gateway"
    )
    out = run(charm, issuer, gateway(version="1"), secrets=[secret])
    assert out.unit_status == testing.WaitingStatus("waiting for gateway to give its URL")


@pytest.mark.parametrize("missing", ["client_id", "client_secret_id", "token_endpoint"])
def test_what_the_issuer_has_not_told_is_waited_for(charm, missing):
    out = settled(charm, **{missing: ""})
    assert out.unit_status == testing.WaitingStatus("waiting for hydra to give a client")


def test_a_secret_that_is_not_granted_is_waited_for(charm):
    issuer, _ = hydra()
    out = run(charm, issuer, gateway())
    assert out.unit_status == testing.WaitingStatus("waiting for hydra to grant its secret")


def test_when_the_issuer_takes_the_client_back_the_service_runs_on_and_it_waits(charm):
    before = settled(charm)
    out = told(charm, before, lambda data: {k: data[k] for k in data if "client" not in k})
    assert out.unit_status == testing.WaitingStatus("waiting for hydra to give a client")
    assert charm.service(out) == charm.service(before)


@pytest.mark.parametrize(
    "field, text", [("token_endpoint", 'https://h/"\nskip = true'), ("issuer_url", "h"),
                    ("jwks_endpoint", "[]"), ("authorization_endpoint", "javascript:x")],
)  # fmt: skip
def test_a_malformed_field_is_named_and_leaves_the_service_as_it_runs(charm, field, text):
    before = settled(charm)
    out = told(charm, before, lambda data: {**data, field: text})
    assert out.unit_status == testing.BlockedStatus(f"hydra: {field} is no URL")
    assert charm.service(out) == charm.service(before)
