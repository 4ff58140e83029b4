"""Dex: its configuration, its users, its clients, its connectors."""

from __future__ import annotations

import dataclasses
import json

import bcrypt
import pytest
import yaml
from ops import testing

CONFIG = "/tmp/dex/config.yaml"
ASKING = testing.Relation(
    "oidc",
    remote_app_name="oauth2-proxy",
    remote_app_data={"redirect-uris": '["/oauth2/callback"]'},
)
GATEWAY = testing.Relation(
    "gateway", remote_app_name="gateway", remote_app_data={"url": "https://ml.example.com"}
)
PEM = "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n"
SEARCH = {"baseDN": "dc=x", "username": "mail", "idAttr": "uid", "emailAttr": "mail"}
CONNECTORS = {
    "ldap": {
        "type": "ldap", "id": "company", "name": "Company", "ca": PEM,
        "config": {"host": "ldap.x:636", "bindDN": "cn=r", "userSearch": SEARCH},
    },
    "oidc": {
        "type": "oidc", "id": "other", "name": "Other",
        "config": {"issuer": "https://other.example.com", "clientID": "us"},
    },
    "saml": {
        "type": "saml", "id": "corp", "name": "Corp", "ca": PEM,
        "config": {"ssoURL": "https://sso.x/a", "usernameAttr": "n", "emailAttr": "m"},
    },
    "github": {
        "type": "github", "id": "github", "name": "GitHub",
        "config": {"clientID": "us", "orgs": [{"name": "tea", "teams": ["green"]}]},
    },
}  # fmt: skip
PASSWORDS = {
    "company-bind-password": "p$ssw0rd", "other-client-secret": "o", "github-client-secret": "g",
}  # fmt: skip


def config(charm, out):
    return yaml.safe_load(charm.file(out, CONFIG))


def connected(charm, *names, gateway=True, passwords=PASSWORDS, entries=None):
    found = entries if entries is not None else [CONNECTORS[name] for name in names]
    text = found if isinstance(found, str) else yaml.safe_dump(found)
    secret = testing.Secret(passwords)
    relations = [GATEWAY] if gateway else []
    given = {"connectors": text, "connector-secrets": secret.id}
    return charm.settled(*relations, secrets=[secret], config=given)


def after(charm, out, action, **params):
    """The results of an action on the leader, and the state it leaves."""
    context = charm.context()
    state = context.run(context.on.action(action, params=params), out)
    return dict(context.action_results or {}), state


def secret(out, label):
    (found,) = [each for each in out.secrets if each.label == label]
    return found.latest_content or found.tracked_content


# what it runs with


def test_it_keeps_its_state_in_kubernetes_so_that_units_share_it(charm):
    out = charm.settled()
    assert charm.service(out).command == f"/usr/local/bin/dex serve {CONFIG}"
    assert charm.environment(out)["KUBERNETES_POD_NAMESPACE"] == "shop"
    found = config(charm, out)
    assert found["issuer"] == "http://dex.shop.svc.cluster.local:5556/dex"
    assert found["storage"] == {"type": "kubernetes", "config": {"inCluster": True}}
    assert found["expiry"] == {"idTokens": "24h"}
    assert found["connectors"] == []
    assert found["staticClients"] == []


def test_its_tables_are_declared_and_it_may_make_no_definition(charm):
    out = charm.settled()
    plurals = {
        each["spec"]["names"]["plural"]
        for each in charm.manifests(out)
        if each["kind"] == "CustomResourceDefinition"
    }
    role = charm.manifest(out, "Role")
    assert plurals == set(role["rules"][0]["resources"])
    assert {"signingkeies", "offlinesessionses"} < plurals
    assert not [each for each in charm.manifests(out) if each["kind"] == "ClusterRole"]


def test_a_client_is_what_the_relation_says(charm):
    out = charm.settled(ASKING)
    (client,) = config(charm, out)["staticClients"]
    published = charm.published(out, "oidc")
    assert client["id"] == published["client-id"] == f"oauth2-proxy-{ASKING.id}"
    assert client["redirectURIs"] == ["/oauth2/callback"]
    assert client["secret"] == secret(out, f"oidc.{ASKING.id}.client")["client-secret"]
    assert published["issuer"] == config(charm, out)["issuer"]
    assert published["authorization-url"] == "/dex/auth"


def test_a_wrong_client_blocks_but_the_others_have_theirs(charm):
    wrong = dataclasses.replace(ASKING, id=99, remote_app_data={"redirect-uris": "x"})
    out = charm.settled(ASKING, wrong)
    assert out.unit_status.message == "oauth2-proxy: redirect-uris are no list of URIs"
    assert len(config(charm, out)["staticClients"]) == 1


def test_the_gateway_lets_everybody_log_in(charm):
    out = charm.settled(GATEWAY)
    (route,) = json.loads(charm.published(out, "gateway")["routes"])
    assert (route["prefix"], route["access"], route["port"]) == ("/dex/", "public", 5556)


# users


def test_the_first_user_has_a_random_password_that_only_a_secret_holds(charm):
    out = charm.settled(config={"admin": "root@example.org"})
    text = charm.file(out, CONFIG)
    (user,) = yaml.safe_load(text)["staticPasswords"]
    given = dict(charm.act("get-admin-password", out))
    assert given["email"] == user["email"] == "root@example.org"
    assert len(given["password"]) >= 20
    assert bcrypt.checkpw(given["password"].encode(), user["hash"].encode())
    assert given["password"] not in text
    other = charm.settled(config={"admin": "root@example.org"})
    assert charm.act("get-admin-password", other)["password"] != given["password"]


def test_a_user_can_be_added_reset_and_removed(charm):
    out = charm.settled()
    added, out = after(charm, out, "add-user", email="ann@example.com")
    users = {each["email"]: each for each in config(charm, out)["staticPasswords"]}
    ann = users["ann@example.com"]
    assert bcrypt.checkpw(added["password"].encode(), ann["hash"].encode())
    assert added["password"] not in str(secret(out, "users"))
    assert charm.act("list-users", out) == {
        "count": "2", "users": "admin@example.com,ann@example.com",
    }  # fmt: skip
    reset, out = after(charm, out, "reset-password", email="ann@example.com")
    again = {each["email"]: each for each in config(charm, out)["staticPasswords"]}
    assert reset["password"] != added["password"]
    assert bcrypt.checkpw(reset["password"].encode(), again["ann@example.com"]["hash"].encode())
    assert again["ann@example.com"]["userID"] == ann["userID"]
    _, out = after(charm, out, "remove-user", email="ann@example.com")
    assert charm.act("list-users", out)["users"] == "admin@example.com"


def test_the_first_users_new_password_is_the_one_that_is_shown(charm):
    reset, out = after(charm, charm.settled(), "reset-password", email="admin@example.com")
    assert charm.act("get-admin-password", out)["password"] == reset["password"]


def test_a_change_of_users_wakes_the_other_units(charm):
    before = charm.settled()
    _, out = after(charm, before, "add-user", email="ann@example.com")

    def told(state):
        return state.get_relations("peers")[0].local_app_data["users"]

    assert told(out) != told(before)


@pytest.mark.parametrize(
    "action, email, message",
    [
        ("add-user", "admin@example.com", "there is a user admin@example.com already"),
        ("add-user", "Admin@example.com", "there is a user Admin@example.com already"),
        ("add-user", "ann", "email=ann: must match"),
        ("add-user", "a@b\nc", "email=a@b"),
        ("remove-user", "nobody@x.org", "there is no user nobody@x.org"),
        ("reset-password", "nobody@x.org", "there is no user nobody@x.org"),
    ],
)
def test_a_change_of_users_that_makes_no_sense_fails(charm, action, email, message):
    out = charm.settled()
    with pytest.raises(testing.ActionFailed) as failed:
        charm.act(action, out, email=email)
    assert failed.value.message.startswith(message)


def test_users_are_changed_on_the_leader(charm):
    out = dataclasses.replace(charm.settled(), leader=False)
    with pytest.raises(testing.ActionFailed, match="run this on the leader"):
        charm.act("add-user", out, email="ann@example.com")


# connectors


def test_connectors_get_their_passwords_from_the_secret_and_the_way_back(charm):
    out = connected(charm, "ldap", "oidc", "saml", "github")
    assert out.unit_status == testing.ActiveStatus()
    found = {each["id"]: each for each in config(charm, out)["connectors"]}
    ldap = found["company"]["config"]
    assert ldap["bindPW"] == "p$ssw0rd"
    assert charm.environment(out)["DEX_EXPAND_ENV"] == "false"
    assert charm.environment(out)["DEX_CONTINUE_ON_CONNECTOR_FAILURE"] == "true"
    assert ldap["userSearch"] == SEARCH
    assert charm.file(out, ldap["rootCA"]) == PEM
    assert "redirectURI" not in ldap
    assert found["other"]["config"] == {
        "issuer": "https://other.example.com", "clientID": "us", "clientSecret": "o",
        "redirectURI": "https://ml.example.com/dex/callback",
    }  # fmt: skip
    assert charm.file(out, found["corp"]["config"]["ca"]) == PEM
    assert found["github"]["config"]["orgs"] == [{"name": "tea", "teams": ["green"]}]
    assert {key: each["type"] for key, each in found.items()} == {
        "company": "ldap", "other": "oidc", "corp": "saml", "github": "github",
    }  # fmt: skip


@pytest.mark.parametrize(
    "entries, message",
    [
        ("{", "not YAML"),
        ("a", "Input should be a valid list"),
        ([{"type": "ftp"}], "0: Input tag 'ftp'"),
        ([{**CONNECTORS["ldap"], "id": "No"}], "0.ldap.id: "),
        ([{**CONNECTORS["ldap"], "ca": "x"}], "0.ldap.ca: must be a PEM certificate"),
        ([{**CONNECTORS["saml"], "ca": ""}], "0.saml: ca is missing"),
        ([CONNECTORS["ldap"], CONNECTORS["ldap"]], "there are two with id company"),
        (
            [{**CONNECTORS["oidc"], "config": {"issuer": "other", "clientID": "x"}}],
            "0.oidc.config.issuer: ",
        ),
        (
            [{**CONNECTORS["oidc"],
              "config": {**CONNECTORS["oidc"]["config"], "clientSecret": "x"}}],
            "0.oidc.config.clientSecret: Extra inputs",
        ),
    ],
)  # fmt: skip
def test_a_wrong_connector_blocks_and_the_login_of_others_goes_on(charm, entries, message):
    before = charm.settled()
    text = entries if isinstance(entries, str) else yaml.safe_dump(entries)
    out = charm.again(before, event="config_changed", config={"connectors": text})
    assert out.unit_status.name == "blocked"
    assert out.unit_status.message.startswith(f"config connectors: {message}")
    assert charm.service(out) == charm.service(before)


def test_a_missing_password_or_gateway_is_named(charm):
    out = connected(charm, "ldap", passwords={"x-y": "z"})
    assert out.unit_status.message == (
        "config connector-secrets: no company-bind-password in the secret"
    )
    out = connected(charm, "github", gateway=False)
    assert "juju integrate dex:gateway gateway" in out.unit_status.message


def test_a_secret_that_is_not_granted_names_the_command(charm):
    given = {"connector-secrets": "secret:d4g5ssfmp25c7a7kmq1g"}
    out = charm.settled(config=given)
    assert out.unit_status.message.endswith("juju grant-secret secret:d4g5ssfmp25c7a7kmq1g dex")


@pytest.mark.parametrize(
    "given, message",
    [
        ({"admin": "root"}, "config admin=root: must match"),
        ({"token-lifetime": "a day"}, "config token-lifetime=a day: must match"),
    ],
)
def test_a_wrong_option_blocks_and_says_why(charm, given, message):
    out = charm.settled(config=given)
    assert out.unit_status.name == "blocked"
    assert out.unit_status.message.startswith(message)


def test_its_pages_are_at_units_that_serve_and_its_issuer_s_name_never_changes(charm):
    out = charm.settled(GATEWAY)
    (route,) = json.loads(charm.published(out, "gateway")["routes"])
    assert route["host"] == "dex--serving.shop.svc.cluster.local"
    assert config(charm, out)["issuer"] == "http://dex.shop.svc.cluster.local:5556/dex"


def test_its_clients_get_tokens_and_keys_from_units_that_serve(charm):
    out = charm.settled(ASKING)
    published = charm.published(out, "oidc")
    assert published["issuer"] == "http://dex.shop.svc.cluster.local:5556/dex"
    assert published["token-url"] == "http://dex--serving.shop.svc.cluster.local:5556/dex/token"
    assert published["jwks-url"] == "http://dex--serving.shop.svc.cluster.local:5556/dex/keys"


def test_after_a_refresh_clients_are_given_the_service_once_it_is_there(charm):
    now = charm.settled(ASKING)
    asked, client = now.get_relations("manifests")[0], now.get_relation(ASKING.id)
    juju = {key: text.replace("--serving", "") for key, text in client.local_app_data.items()}
    told = {key: text for key, text in asked.local_app_data.items() if key != "serving"}
    told |= {"hash": json.dumps("old"), "inputs": json.dumps("old")}
    others = [each for each in now.relations if each.id not in (asked.id, client.id)]
    before = [
        *others,
        dataclasses.replace(asked, local_app_data=told),
        dataclasses.replace(client, local_app_data=juju),
    ]
    first = charm.again(now, event="upgrade_charm", relations=before)
    assert charm.published(first, "oidc") == juju
    assert charm.published(charm.applied(first), "oidc") == client.local_app_data


def test_when_the_broker_goes_clients_are_given_juju_s_name_again(charm):
    out = charm.settled(ASKING)
    left = [each for each in out.relations if each.endpoint != "manifests"]
    without = charm.again(out, relations=left)
    assert without.unit_status.name == "blocked"
    published = charm.published(without, "oidc")
    assert published["token-url"] == "http://dex.shop.svc.cluster.local:5556/dex/token"
    assert published["jwks-url"] == "http://dex.shop.svc.cluster.local:5556/dex/keys"
