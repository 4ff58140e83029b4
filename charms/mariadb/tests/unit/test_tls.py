"""TLS: the server's certificate, how it is renewed, and who is told to trust it."""

from __future__ import annotations

import dataclasses
import datetime
import json
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from ops import testing

from charmed_mlops import certificates
from charmed_mlops.testing import relation
from charms.tls_double import CA, ENDPOINT, request, signed

SQL = ["/usr/bin/mariadb", "--defaults-file=/etc/mysql/charm.cnf", "--batch"]
PEM = "/etc/mysql/charm-certificate.pem"
CONFIG = "/etc/mysql/charm.cnf"
HOST = "mariadb-0.mariadb-endpoints.shop.svc.cluster.local"
START = datetime.datetime(2030, 1, 1, tzinfo=datetime.timezone.utc)
MLFLOW = 1003  # above the numbers that ops.testing gives to relations without one
SECRETS = '["username", "password", "tls", "tls-ca"]'


@pytest.fixture
def start(charm, tmp_path):
    """Runs a first hook on a server that has started, whose script noted no certificate."""
    data, etc = tmp_path / "data", tmp_path / "etc"
    data.mkdir()
    etc.mkdir()
    (data / ".charmed-mlops-version").write_text("10.11.19\n")
    box = testing.Container(
        "mariadb",
        can_connect=True,
        execs={
            testing.Exec(SQL),
            testing.Exec(["/usr/bin/chown"]),
        },
        mounts={
            "data": testing.Mount(location="/var/lib/mysql", source=data),
            "etc": testing.Mount(location="/etc/mysql", source=etc),
        },
    )
    storages = [testing.Storage("database"), testing.Storage("backups")]

    def run(*relations: testing.RelationBase, **config: bool) -> testing.State:
        return charm.run(*relations, containers=[box], storages=storages, config=config)

    return run


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch):
    """Sets the clock, in days since START."""

    def set_clock(days: float) -> None:
        monkeypatch.setattr(certificates, "now", lambda: START + datetime.timedelta(days=days))

    set_clock(0)
    return set_clock


def asking(fields: str = SECRETS, app: str = "mlflow", number: int = MLFLOW) -> testing.Relation:
    data = {"database": app, "requested-secrets": fields}
    return testing.Relation("database", id=number, remote_app_name=app, remote_app_data=data)


def statements(charm) -> list[str]:
    """What the server was told since the last look."""
    calls = charm.context().exec_history.pop("mariadb", [])
    return [line for call in calls for line in (call.stdin or "").splitlines()]


def leaf(charm, out: testing.State) -> x509.Certificate:
    return x509.load_pem_x509_certificates(charm.file(out, PEM).encode())[0]


def told(out: testing.State) -> str:
    """The CA that mlflow is told."""
    content = out.get_secret(label=f"database.{MLFLOW}.tls").latest_content
    assert content
    assert content["tls"] == "True"
    return content["tls-ca"]


# with a CA of its own


def test_the_server_offers_tls_and_refuses_nobody(charm, start):
    out = start()
    assert out.unit_status == testing.ActiveStatus()
    lines = charm.file(out, CONFIG).splitlines()
    assert {f"ssl-cert = {PEM}", f"ssl-key = {PEM}"} <= set(lines)
    assert "require-secure-transport = OFF" in lines
    assert charm.service(out).command.endswith(f" {PEM}")


def test_the_certificate_is_for_the_name_that_clients_are_given_and_signed_by_what_they_trust(
    charm, start
):
    out = start(asking())
    assert out.get_relation(MLFLOW).local_app_data["endpoints"] == f"{HOST}:3306"
    found = leaf(charm, out)
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert HOST in names.get_values_for_type(x509.DNSName)
    ca = x509.load_pem_x509_certificate(told(out).encode())
    found.verify_directly_issued_by(ca)
    assert ssl.create_default_context(cadata=told(out)).get_ca_certs()
    key = serialization.load_pem_private_key(charm.file(out, PEM).encode(), None)
    assert key.public_key() == found.public_key()


def test_the_key_is_readable_to_the_server_alone(charm, start):
    out = start()
    root = out.get_container("mariadb").get_filesystem(charm.context())
    assert (root / PEM.lstrip("/")).stat().st_mode & 0o777 == 0o600
    owners = [
        call.command for call in charm.context().exec_history["mariadb"] if "chown" in str(call)
    ]
    assert owners == [["/usr/bin/chown", "--reference=/var/lib/mysql", PEM]]


def test_the_certificate_is_loaded_once(charm, start):
    out = start(asking())
    assert statements(charm).count("FLUSH SSL;") == 1
    charm.again(out)
    assert statements(charm) == []


def test_one_that_the_start_has_loaded_is_not_loaded_again(charm, start, tmp_path):
    out = start()
    noted = tmp_path / "data/.charmed-mlops-certificate"
    noted.write_text(f"{noted.read_text()}  -\n")  # as sha256sum does
    statements(charm)
    charm.again(out)
    assert statements(charm) == []


def test_it_is_renewed_in_time_without_a_restart(charm, start, at):
    out = start(asking())
    service, before, ca = charm.service(out), leaf(charm, out), told(out)
    statements(charm)
    at(200)
    assert leaf(charm, charm.again(out)) == before
    at(300)
    renewed = charm.again(out)
    assert leaf(charm, renewed) != before
    assert statements(charm) == ["FLUSH SSL;"]
    assert charm.service(renewed) == service
    assert told(renewed) == ca  # no client has to do anything


def test_renewed_by_hand(charm, start):
    out = start(asking())
    before, ca = leaf(charm, out), told(out)
    statements(charm)
    context = charm.context()
    out = context.run(context.on.action("renew-certificate"), out)
    assert (context.action_results or {}).keys() == {"expires"}
    assert leaf(charm, out) != before
    assert statements(charm) == ["FLUSH SSL;"]
    assert charm.act("get-ca", out)["ca"] == ca == told(out)


def test_a_load_that_fails_is_tried_again(charm, start, at):
    out = start()
    at(300)
    box = out.get_container("mariadb")
    broken = dataclasses.replace(
        box,
        execs={testing.Exec(SQL, return_code=1, stderr="Failed to refresh SSL"),
               testing.Exec(["/usr/bin/chown"])},
    )  # fmt: skip
    failed = charm.again(out, containers=[broken])
    assert failed.unit_status.name == "waiting"
    assert "Failed to refresh SSL" in failed.unit_status.message
    statements(charm)
    mended = dataclasses.replace(failed.get_container("mariadb"), execs=box.execs)
    assert charm.again(failed, containers=[mended]).unit_status == testing.ActiveStatus()
    assert statements(charm) == ["FLUSH SSL;"]


# with a related CA


def test_a_related_ca_signs_for_the_same_name_and_clients_trust_it(charm, start):
    authority = relation(ENDPOINT, CA)
    out = start(authority)
    assert out.unit_status == testing.WaitingStatus(f"waiting for {CA} to give a certificate")
    asked = charm.context().run(
        charm.context().on.relation_changed(out.get_relation(authority.id)), out
    )
    assert request(asked).sans_dns == {HOST, "mariadb.shop.svc.cluster.local"}
    out, certificate, ca = signed(charm, asked)
    assert out.unit_status == testing.ActiveStatus()
    assert str(certificate) in charm.file(out, PEM)
    assert charm.act("get-ca", out)["ca"].strip() == str(ca)
    renewed = charm.context()
    renewed.run(renewed.on.action("renew-certificate"), out)
    assert renewed.action_results == {"asked": CA}


def test_a_running_server_goes_on_with_its_own_until_clients_know_the_related_ca(charm, start, at):
    out = start(asking())
    before = charm.file(out, PEM), charm.service(out), told(out)
    authority = relation(ENDPOINT, CA)
    out = charm.again(out, relations=[*out.relations, authority])
    assert out.unit_status.name == "waiting"
    assert (charm.file(out, PEM), charm.service(out), told(out)) == before
    statements(charm)
    asked = charm.context().run(
        charm.context().on.relation_changed(out.get_relation(authority.id)), out
    )
    at(0)
    out, certificate, ca = signed(charm, asked)
    assert told(out) == f"{before[2]}{ca}\n"
    assert statements(charm) == []
    assert charm.file(out, PEM) == before[0]
    at(1)
    out = charm.again(out)
    assert str(certificate) in charm.file(out, PEM)
    assert told(out) == f"{ca}\n{before[2]}"
    assert statements(charm) == ["FLUSH SSL;"]
    assert charm.service(out) == before[1]


def test_another_ca_is_told_to_clients_before_the_server_shows_what_it_signed(charm, start, at):
    # the CA of the tests signs from today on
    today = (datetime.datetime.now(datetime.timezone.utc) - START) / datetime.timedelta(days=1)
    at(today)
    out = start(asking(), relation(ENDPOINT, CA))
    (found,) = out.get_relations(ENDPOINT)
    asked = charm.context().run(charm.context().on.relation_changed(found), out)
    out, old, old_ca = signed(charm, asked)
    statements(charm)
    # the server does not answer, so that nobody can be told
    box = out.get_container("mariadb")
    down = dataclasses.replace(box, can_connect=False)
    out, new, new_ca = signed(charm, dataclasses.replace(out, containers=[down]))
    assert out.unit_status.name == "waiting"
    assert told(out) == str(old_ca)
    at(today + 1)
    out = charm.again(out, containers=[box])
    assert told(out) == f"{old_ca}\n{new_ca}\n"
    assert len(ssl.create_default_context(cadata=told(out)).get_ca_certs()) == 2
    at(today + 2)
    out = charm.again(out, leader=False)
    assert str(new) in charm.file(out, PEM)
    assert statements(charm) == ["FLUSH SSL;"]
    assert told(charm.again(out, leader=True)) == f"{new_ca}\n{old_ca}\n"
    at(today + 3)
    assert told(charm.again(out, leader=True)) == str(new_ca)
    assert str(old) not in charm.file(out, PEM)


# require-tls


def test_require_tls_makes_the_server_refuse_plain_connections(charm, start):
    out = start(asking(), **{"require-tls": True})
    assert "require-secure-transport = ON" in charm.file(out, CONFIG).splitlines()
    assert out.unit_status == testing.ActiveStatus()
    found = charm.act("get-credentials", out, application="mlflow")
    assert found["command"].startswith("mariadb --ssl -h ")


def test_to_require_it_restarts_the_server_which_ends_plain_connections(charm, start):
    before = start()
    after = charm.again(before, event="config_changed", config={"require-tls": True})
    assert charm.digest(after) != charm.digest(before)


def test_the_status_names_who_cannot_encrypt(charm, start):
    plain = json.dumps(["username", "password"])
    relations = [asking(), asking(plain, "katib-db-manager", 1004), asking(plain, "abacus", 1005)]
    out = start(*relations, **{"require-tls": True})
    assert out.unit_status == testing.BlockedStatus(
        "config require-tls=true keeps out abacus, katib-db-manager, which cannot encrypt: "
        "juju config mariadb require-tls=false, or another server for it"
    )
    assert told(out)  # the others are served
    assert start(*relations).unit_status == testing.ActiveStatus()
