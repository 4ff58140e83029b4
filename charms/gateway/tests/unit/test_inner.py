"""The name that programs in the cluster are given: the Service that leads to serving units."""

from __future__ import annotations

import dataclasses
import json

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from ops import testing

from charmed_mlops.testing import broker, relation
from charms.tls_double import CA, ENDPOINT, answered, authority, request, signed

JUJU, SERVING = (
    f"https://{name}.shop.svc.cluster.local:8443" for name in ("gateway", "gateway--serving")
)
CONFIG = "/tmp/gateway/Caddyfile"
CLIENT = relation("routes", "mlflow", version="1", routes="[]")
KEY = "serving-name"


@pytest.fixture(autouse=True)
def pods(api):
    api.add("/api/v1/namespaces/shop/pods", {"metadata": {"name": "gateway-0"}})


def inside(charm, out: testing.State) -> str:
    """The URL that pods are given."""
    return charm.published(out, "routes").get("cluster-url", "")


def names(charm, out: testing.State) -> list[str]:
    """Of the certificate that Caddy is told to show."""
    (path,) = {word for word in charm.file(out, CONFIG).split() if word.endswith(".crt")}
    leaf = x509.load_pem_x509_certificates(charm.file(out, path).encode())[0]
    found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return found.get_values_for_type(x509.DNSName)


def changed(out: testing.State, endpoint: str, **changes) -> testing.State:
    """The state in which the one relation of an endpoint is another."""
    (found,) = out.get_relations(endpoint)
    others = [each for each in out.relations if each.id != found.id]
    return dataclasses.replace(out, relations=[*others, dataclasses.replace(found, **changes)])


def from_before(charm, out: testing.State, **others: dict[str, str]) -> testing.State:
    """The state that a revision without the Service left: its own pod's files are new."""
    (asked,), client = out.get_relations("manifests"), out.get_relation(CLIENT.id)
    assert isinstance(asked, testing.Relation)
    old = {"hash": json.dumps("old"), "inputs": json.dumps("old")}
    local, remote = {**asked.local_app_data, **old}, {**asked.remote_app_data, "hash": old["hash"]}
    out = changed(out, "manifests", local_app_data=local, remote_app_data=remote)
    out = changed(out, "routes", local_app_data={**client.local_app_data, "cluster-url": JUJU})
    units = {int(number): data for number, data in others.items()}
    out = changed(out, "peers", local_app_data={}, local_unit_data={}, peers_data=units)
    return dataclasses.replace(
        out, containers=charm.containers(), stored_states=set(), planned_units=1 + len(others)
    )


def test_a_first_deploy_gives_one_url_from_the_start(charm):
    first = charm.run(CLIENT, *charm.required()[0])
    assert inside(charm, first) == SERVING
    out = charm.applied(first)
    assert out.unit_status == testing.ActiveStatus()
    assert inside(charm, out) == SERVING
    assert SERVING.removeprefix("https://").removesuffix(":8443") in names(charm, out)


def test_the_url_that_people_type_is_as_it_was(charm):
    out = charm.settled(CLIENT)
    assert charm.published(out, "routes")["url"] == JUJU


def test_its_service_has_the_ports_of_juju_s(charm):
    out = charm.settled(CLIENT)
    ports = charm.manifest(out, "Service", "gateway--serving")["spec"]["ports"]
    assert {each["port"] for each in ports} == {each.port for each in out.opened_ports}
    assert {8443, 8080, 2020} == {each.port for each in out.opened_ports}


def test_after_a_refresh_it_is_given_once_the_service_is_there_and_the_unit_shows_it(charm):
    old = from_before(charm, charm.settled(CLIENT))
    first = charm.again(old, event="upgrade_charm")
    assert inside(charm, first) == JUJU
    assert inside(charm, charm.applied(first)) == SERVING


def test_after_a_refresh_it_is_given_once_every_unit_shows_it(charm):
    old = from_before(charm, charm.settled(CLIENT), **{"1": {}, "2": {KEY: "true"}})
    out = charm.applied(charm.again(old, event="upgrade_charm"))
    assert inside(charm, out) == JUJU
    told = {1: {KEY: "true"}, 2: {KEY: "true"}}
    out = charm.again(changed(out, "peers", peers_data=told))
    assert inside(charm, out) == SERVING
    joined = changed(out, "peers", peers_data={**told, 3: {}})
    assert inside(charm, charm.again(joined)) == SERVING


def test_a_follower_tells_that_it_shows_it(charm):
    old = from_before(charm, charm.settled(CLIENT), **{"0": {}})
    context = charm.context(1)
    state = dataclasses.replace(old, leader=False)
    out = context.run(context.on.update_status(), state)
    assert out.get_relations("peers")[0].local_unit_data[KEY] == "true"


def test_when_the_broker_goes_juju_s_is_given_until_another_has_made_the_service(charm):
    out = charm.settled(CLIENT)
    left = [each for each in out.relations if each.endpoint != "manifests"]
    without = charm.again(out, relations=left)
    assert without.unit_status.name == "blocked"
    assert inside(charm, without) == JUJU
    back = charm.again(without, relations=[*without.relations, broker()])
    assert inside(charm, back) == JUJU
    assert inside(charm, charm.applied(back)) == SERVING


def test_an_application_that_ends_leaves_what_it_told(charm):
    out = dataclasses.replace(charm.settled(CLIENT), planned_units=0)
    context = charm.context()
    after = context.run(context.on.relation_broken(out.get_relations("manifests")[0]), out)
    assert inside(charm, after) == SERVING


def test_with_a_related_ca_a_refreshed_unit_shows_what_it_has_until_another_is_given(charm):
    ca = authority()
    now, _, _ = signed(charm, charm.settled(relation(ENDPOINT, CA), CLIENT), ca)
    assert inside(charm, now) == SERVING
    # as a revision that asked for another list of names
    asked = charm.again(now, event="config_changed", config={"hostname": "old.example.com"})
    former, _, _ = signed(charm, asked, ca)
    assert "old.example.com" in names(charm, former)
    pod = dataclasses.replace(former, containers=charm.containers(), config={})
    waits = charm.applied(charm.again(pod, event="config_changed"))
    assert waits.unit_status == testing.WaitingStatus(f"waiting for {CA} to give a certificate")
    assert names(charm, waits) == names(charm, former)
    assert {each.port for each in waits.opened_ports} == {8443, 8080, 2020}
    after, _, _ = signed(charm, waits, ca)
    assert after.unit_status == testing.ActiveStatus()
    assert set(request(after).sans_dns) == {
        "gateway.shop.svc.cluster.local",
        "gateway--serving.shop.svc.cluster.local",
    }


def test_a_certificate_of_a_ca_that_leaves_the_name_out_is_not_called_by_it(charm):
    out = charm.settled(relation(ENDPOINT, CA), CLIENT)
    wanted, (ca, key) = request(out), authority()
    issuer = x509.load_pem_x509_certificate(str(ca).encode())
    signing = serialization.load_pem_private_key(str(key).encode(), None)
    assert isinstance(signing, rsa.RSAPrivateKey)
    asked = x509.load_pem_x509_csr(str(wanted).encode())
    leaf = (
        x509.CertificateBuilder(issuer.subject, asked.subject, asked.public_key(), 2)
        .not_valid_before(issuer.not_valid_before_utc)
        .not_valid_after(issuer.not_valid_after_utc)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("gateway.shop")]), False)
        .sign(signing, hashes.SHA256())
    )
    text = leaf.public_bytes(serialization.Encoding.PEM).decode()
    entry = {
        "certificate_signing_request": str(wanted),
        "certificate": text,
        "ca": str(ca),
        "chain": [text, str(ca)],
    }
    out = answered(charm, out, certificates=json.dumps([entry]))
    assert out.unit_status == testing.ActiveStatus()
    assert inside(charm, out) == JUJU
