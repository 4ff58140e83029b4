"""A certificate by relation, from a CA that is another application's."""

from __future__ import annotations

import json

from charmlibs.interfaces import tls_certificates as tls
from ops import testing

from charmed_mlops.testing import relation
from charms.tls_double import CA, ENDPOINT, answered, request, signed

CONFIG = "/tmp/gateway/Caddyfile"
NAMES = {f"{name}.shop.svc.cluster.local" for name in ("gateway", "gateway--serving")}


def related(charm, **config) -> testing.State:
    """The state once the gateway has asked."""
    asking = relation(ENDPOINT, CA)
    out = charm.settled(asking, config=config)
    context = charm.context()
    return context.run(context.on.relation_changed(out.get_relation(asking.id)), out)


def served(charm, out: testing.State) -> str:
    """The chain that Caddy is told to serve."""
    text = charm.file(out, CONFIG)
    (name,) = {word.rpartition("/")[2] for word in text.split() if word.endswith(".crt")}
    return charm.file(out, f"/tmp/gateway/{name}")


def test_it_asks_for_the_names_that_people_and_pods_use(charm):
    out = related(charm, hostname="ml.example.com")
    assert request(out).sans_dns == NAMES | {"ml.example.com"}
    assert request(out).common_name == "ml.example.com"
    assert out.unit_status == testing.WaitingStatus(f"waiting for {CA} to give a certificate")


def test_a_name_that_is_none_blocks_and_is_not_asked_for(charm):
    out = related(charm, hostname="-")
    assert out.unit_status.name == "blocked"
    assert request(out).sans_dns == NAMES


def test_the_given_certificate_is_shown_and_its_ca_told_to_clients(charm):
    out, certificate, ca = signed(charm, related(charm))
    assert out.unit_status == testing.ActiveStatus()
    chain = served(charm, out)
    assert chain.split("-----END CERTIFICATE-----\n")[0].strip() in str(certificate)
    assert chain.count("BEGIN CERTIFICATE") == 2
    assert charm.act("get-ca", out)["ca"].strip() == str(ca)


def test_whoever_asks_for_its_ca_is_given_the_one_in_use(charm):
    out = charm.settled(relation("send-ca-cert", "client", version="1"))
    (own,) = json.loads(charm.published(out, "send-ca-cert")["certificates"])
    assert own == charm.act("get-ca", out)["ca"]

    asking = relation("send-ca-cert", "client", version="1"), relation(ENDPOINT, CA)
    out, _, ca = signed(charm, charm.settled(*asking))
    assert str(ca) in charm.published(out, "send-ca-cert")["certificates"].replace("\\n", "\n")


def test_a_refusal_is_said_with_its_reason(charm):
    out = related(charm)
    refusal = {
        "csr": str(request(out)),
        "error": {
            "code": tls.CertificateRequestErrorCode.DOMAIN_NOT_ALLOWED,
            "name": "domain_not_allowed",
            "message": "example.com is not ours",
            "reason": "policy",
            "provider": CA,
            "endpoint": "certificates",
        },
    }
    out = answered(charm, out, request_errors=json.dumps([refusal]))
    assert out.unit_status == testing.BlockedStatus(
        f"{CA} refuses a certificate: example.com is not ours"
    )


def test_what_is_malformed_in_the_relation_is_no_certificate(charm):
    out = related(charm)
    for data in ("{", '"x"', "[1]", '[{"certificate": "x"}]'):
        assert answered(charm, out, certificates=data).unit_status.name == "waiting"
        assert answered(charm, out, request_errors=data).unit_status.name == "waiting"


def test_when_the_relation_ends_it_makes_its_own_again(charm):
    out, _, ca = signed(charm, related(charm))
    (found,) = out.get_relations(ENDPOINT)
    context = charm.context()
    out = context.run(context.on.relation_broken(found), out)
    left = [each for each in out.relations if each.id != found.id]
    out = charm.again(out, relations=left)
    assert out.unit_status == testing.ActiveStatus()
    assert charm.act("get-ca", out)["ca"].strip() != str(ca)


def test_old_revisions_of_the_library_s_secrets_are_left_to_it(charm):
    out, _, _ = signed(charm, related(charm))
    keys = next(each for each in out.secrets if "private-key" in (each.label or ""))
    context = charm.context()
    context.run(context.on.secret_remove(keys, revision=0), out)
    assert context.removed_secret_revisions == [0]  # once


def test_renewed_by_hand_a_unit_asks_with_another_key(charm):
    out, _, _ = signed(charm, related(charm))
    context = charm.context()
    renewed = context.run(context.on.action("renew-certificate"), out)
    assert context.action_results == {"asked": CA}
    assert str(request(renewed)) != str(request(out))


def test_renewed_by_hand_its_own_certificate_is_another_by_the_same_ca(charm):
    out = charm.settled()
    chain = served(charm, out)
    ca = charm.act("get-ca", out)["ca"]
    context = charm.context()
    renewed = context.run(context.on.action("renew-certificate"), out)
    assert served(charm, renewed) != chain
    assert charm.act("get-ca", renewed)["ca"] == ca
