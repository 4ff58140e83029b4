"""Interface mysql_client: what each side writes and reads, with TLS and without it."""

from __future__ import annotations

import dataclasses
import json

import ops
import pytest
from ops import testing

from charmed_mlops import DatabaseProvider, DatabaseRequirer, ServiceCharm, Waiting
from charmed_mlops.interfaces.mysql import CA_FILE

CA = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
USER = {"username": "relation-3", "password": "pw"}
META = {
    "name": "tea",
    "requires": {
        "database": {"interface": "mysql_client"},
        "plain": {"interface": "mysql_client"},
    },
    "provides": {"clients": {"interface": "mysql_client"}},
}
# as data_interfaces 0.59 of a requirer writes it, and mysql-k8s revision 344 of a provider
ASKED_BY_LIBRARY = (
    '["username", "password", "tls", "tls-ca", "uris", "read-only-uris", "entity-name", '
    '"entity-password"]'
)
GIVEN_BY_MYSQL_K8S = {
    "database": "kettle",
    "endpoints": "mysql-k8s-primary.shop.svc.cluster.local.:3306",
    "read-only-endpoints": "mysql-k8s-replicas.shop.svc.cluster.local.:3306",
    "version": "8.0.42-0ubuntu0.22.04.1",
    "data": "{}",
}


class Tea(ServiceCharm):
    """Has both sides; its provider's server speaks TLS."""

    ca = CA

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container=None)
        self.database = DatabaseRequirer(self, "database", "kettle")
        self.plain = DatabaseRequirer(self, "plain", "kettle", tls=False)
        self.clients = DatabaseProvider(self, "clients")

    def reconcile(self) -> None:
        for request in self.clients.requests():
            self.clients.answer(request, USER, "db:3306", ca=self.ca)
        self.clients.require_valid()


class PlainTea(Tea):
    """Its provider's server does not."""

    ca = ""


def manager(*relations, secrets=()):
    context = testing.Context(Tea, meta=META)
    state = testing.State(leader=True, relations=relations, secrets=secrets)
    return context(context.on.config_changed(), state)


def asking(fields: str = "") -> testing.Relation:
    data = {"database": "kettle", **({"requested-secrets": fields} if fields else {})}
    return testing.Relation("clients", remote_app_name="kettle", remote_app_data=data)


def answered(request: testing.Relation, charm: type[Tea] = Tea):
    """What the provider wrote, and the state after it."""
    context = testing.Context(charm, meta=META)
    out = context.run(
        context.on.relation_changed(request), testing.State(leader=True, relations=[request])
    )
    return dict(out.get_relation(request.id).local_app_data), out


def given(endpoint: str = "database", **data: str) -> testing.Relation:
    fields = {key.replace("_", "-"): value for key, value in data.items()}
    return testing.Relation(endpoint, remote_app_name="db", remote_app_data=fields)


def ca_read(*secrets: testing.Secret, endpoint: str = "database", **data: str) -> str:
    user = testing.Secret(USER)
    answer = given(endpoint, **{"endpoints": "db:3306", "secret_user": user.id, **data})
    with manager(answer, secrets=[user, *secrets]) as running:
        requirer = running.charm.plain if endpoint == "plain" else running.charm.database
        return requirer.get().ca


# the provider


def test_a_requirer_that_asks_for_secrets_gets_the_ca_in_one():
    request = asking(ASKED_BY_LIBRARY)
    data, out = answered(request)
    secret = out.get_secret(label=f"clients.{request.id}.tls")
    assert data == {
        "database": "kettle",
        "endpoints": "db:3306",
        "secret-user": out.get_secret(label=f"clients.{request.id}.user").id,
        "secret-tls": secret.id,
    }
    assert secret.latest_content == {"tls": "True", "tls-ca": CA}
    assert secret.remote_grants == {request.id: {"kettle"}}


@pytest.mark.parametrize("fields", ["", "null", "{", '"tls-ca"'])
def test_one_that_asks_for_none_gets_it_in_the_databag(fields):
    data, _ = answered(asking(fields))
    assert (data["tls"], data["tls-ca"]) == ("True", CA)
    assert "secret-tls" not in data


def test_one_whose_program_cannot_encrypt_gets_no_ca():
    data, out = answered(asking('["username", "password"]'))
    assert data.keys() == {"database", "endpoints", "secret-user"}
    assert len(list(out.secrets)) == 1


@pytest.mark.parametrize("fields", ["", ASKED_BY_LIBRARY])
def test_a_server_without_tls_writes_what_it_always_wrote(fields):
    data, _ = answered(asking(fields), PlainTea)
    assert data.keys() == {"database", "endpoints", "secret-user"}


def test_another_ca_is_a_new_revision_of_the_same_secret():
    request = asking(ASKED_BY_LIBRARY)
    data, out = answered(request)

    class Renewed(Tea):
        ca = CA * 2

    context = testing.Context(Renewed, meta=META)
    again = context.run(context.on.update_status(), out)
    assert again.get_relation(request.id).local_app_data == data
    content = again.get_secret(label=f"clients.{request.id}.tls").latest_content
    assert content == {"tls": "True", "tls-ca": CA * 2}


def test_both_secrets_go_with_the_relation():
    request = asking(ASKED_BY_LIBRARY)
    _, out = answered(request)
    context = testing.Context(Tea, meta=META)
    with context(context.on.relation_broken(out.get_relation(request.id)), out) as running:
        (gone,) = running.charm.clients.gone([f"relation-{request.id}"])
        running.charm.clients.forget(gone)
        assert list(running.run().secrets) == []


# the provider, asked by version 1 of the library


ENTRY = {"resource": "kettle", "request-id": "f384c3e3", "salt": "JCHo97", "entity-type": None}


def asking_by_1(*entries: object, app: str = "kettle") -> testing.Relation:
    data = {"version": "v1", "requests": json.dumps(entries)}
    return testing.Relation("clients", remote_app_name=app, remote_app_data=data)


def test_a_request_of_version_1_is_answered_in_its_form():
    request = asking_by_1(ENTRY)
    data, out = answered(request)
    secrets = {
        each: out.get_secret(label=f"clients.{request.id}.{each}") for each in ("user", "tls")
    }
    assert data.keys() == {"version", "requests", "data"}
    assert data["version"] == "v1"
    assert json.loads(data["requests"]) == [
        {
            "resource": "kettle",
            "request-id": "f384c3e3",
            "salt": "JCHo97",
            "endpoints": "db:3306",
            "secret-user": secrets["user"].id,
            "secret-tls": secrets["tls"].id,
        }
    ]
    assert json.loads(data["data"]) == {"f384c3e3": ENTRY}
    # which it reads as JSON
    assert secrets["tls"].latest_content == {"tls": "true", "tls-ca": CA}
    assert secrets["tls"].remote_grants == {request.id: {"kettle"}}


def test_a_second_answer_to_version_1_writes_nothing_new():
    request = asking_by_1(ENTRY)
    data, out = answered(request)
    context = testing.Context(Tea, meta=META)
    again = context.run(context.on.update_status(), out)
    assert again.get_relation(request.id).local_app_data == data
    assert len(list(again.secrets)) == 2


def test_a_server_without_tls_tells_version_1_of_no_secret_for_it():
    data, _ = answered(asking_by_1(ENTRY), PlainTea)
    (answer,) = json.loads(data["requests"])
    assert "secret-tls" not in answer


@pytest.mark.parametrize(
    "entries", [[], [1], [{"resource": "kettle"}], [{**ENTRY, "resource": 1}]]
)
def test_what_is_no_request_of_version_1_is_not_answered(entries):
    data, out = answered(asking_by_1(*entries))
    assert (data, list(out.secrets)) == ({}, [])


@pytest.mark.parametrize("text", ["{", "{}", "null", "[" * 100_000])
def test_requests_that_are_no_list_are_not_answered(text):
    fields = {"version": "v1", "requests": text}
    data, out = answered(testing.Relation("clients", remote_app_data=fields))
    assert (data, list(out.secrets)) == ({}, [])


@pytest.mark.parametrize(
    "entries",
    [[ENTRY, {**ENTRY, "resource": "cup", "request-id": "2"}], [{**ENTRY, "entity-type": "USER"}]],
)
def test_one_that_asks_for_more_than_a_database_is_named(entries):
    data, out = answered(asking_by_1(*entries))
    assert data == {}
    assert out.unit_status == ops.BlockedStatus(
        "kettle asks for more than one database and its user in a relation: "
        "juju remove-relation tea kettle"
    )


def test_a_database_stays_the_one_s_that_was_answered_first_in_either_form():
    second, first = asking(), asking_by_1(ENTRY, app="other")
    _, out = answered(first)
    context = testing.Context(Tea, meta=META)
    both = dataclasses.replace(out, relations=[second, *out.relations])
    again = context.run(context.on.relation_changed(second), both)
    assert again.get_relation(second.id).local_app_data == {}
    assert again.unit_status.message.startswith(
        "kettle asks for database kettle, which is other's"
    )


# the requirer


@pytest.mark.parametrize("endpoint, wants", [("database", True), ("plain", False)])
def test_it_asks_for_tls_where_its_program_can_encrypt(endpoint, wants):
    relation = testing.Relation(endpoint, remote_app_name="db")
    with manager(relation) as running:
        with pytest.raises(Waiting):
            getattr(running.charm, endpoint).get()
        out = running.run()
    asked = json.loads(out.get_relation(relation.id).local_app_data["requested-secrets"])
    assert {"username", "password"} <= set(asked)
    assert ({"tls", "tls-ca"} <= set(asked)) is wants


@pytest.mark.parametrize("said, ca", [("True", CA), ("true", CA), ("False", ""), ("", "")])
def test_it_reads_the_ca_from_a_secret(said, ca):
    content = {"tls-ca": CA, **({"tls": said} if said else {})}
    secret = testing.Secret(content)
    assert ca_read(secret, secret_tls=secret.id) == ca


def test_it_reads_the_ca_from_the_databag():
    assert ca_read(tls="True", tls_ca=CA) == CA
    assert ca_read(tls="False", tls_ca=CA) == ""


def test_one_whose_program_cannot_encrypt_reads_none():
    assert ca_read(endpoint="plain", tls="True", tls_ca=CA) == ""


def test_a_ca_that_is_not_granted_yet_is_waited_for():
    with pytest.raises(Waiting, match="waiting for db to grant its secret"):
        ca_read(secret_tls="secret:cvq6j4nmp25c77v6q9dg")


def test_mysql_k8s_which_tells_of_no_tls_is_used_without_it():
    user = testing.Secret(USER)
    data = {**GIVEN_BY_MYSQL_K8S, "secret-user": user.id}
    relation = testing.Relation("database", remote_app_name="mysql-k8s", remote_app_data=data)
    with manager(relation, secrets=[user]) as running:
        found = running.charm.database.get()
    assert (found.port, found.ca, found.files) == (3306, "", {})


def test_the_container_gets_the_ca_as_a_file():
    user = testing.Secret(USER)
    answer = given(endpoints="db:3306", secret_user=user.id, tls="True", tls_ca=CA)
    with manager(answer, secrets=[user]) as running:
        assert running.charm.database.get().files == {CA_FILE: CA}
