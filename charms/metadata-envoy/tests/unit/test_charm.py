"""Envoy before ML Metadata: its configuration, its route."""

from __future__ import annotations

import json

import yaml
from ops import testing

from charmed_mlops.testing import address, relation

CONFIG = "/tmp/envoy.yaml"


def configuration(charm, out) -> dict:
    return yaml.safe_load(charm.file(out, CONFIG))


def manager(charm, out) -> dict:
    listener = configuration(charm, out)["static_resources"]["listeners"][0]
    return listener["filter_chains"][0]["filters"][0]["typed_config"]


def test_it_turns_what_browsers_speak_into_grpc_for_ml_metadata(charm):
    out = charm.settled(address("metadata", 8080, "grpc"))
    assert charm.service(out).command == "/usr/local/bin/envoy -c /tmp/envoy.yaml"
    resources = configuration(charm, out)["static_resources"]
    assert resources["listeners"][0]["address"]["socket_address"]["port_value"] == 9090
    (endpoint,) = resources["clusters"][0]["load_assignment"]["endpoints"][0]["lb_endpoints"]
    assert endpoint["endpoint"]["address"]["socket_address"] == {
        "address": "metadata.shop",
        "port_value": 8080,
    }


# what a user may see


def test_an_authorizer_is_asked_before_the_store(charm):
    filters = manager(charm, charm.settled())["http_filters"]
    assert [each["name"] for each in filters] == [
        "envoy.filters.http.grpc_web",
        "envoy.filters.http.ext_authz",
        "envoy.filters.http.router",
    ]
    asked = filters[1]["typed_config"]
    assert (asked["failure_mode_allow"], asked["status_on_error"]["code"]) == (
        False,
        "ServiceUnavailable",
    )
    assert asked["with_request_body"] == {
        "max_request_bytes": 65536, "allow_partial_message": False, "pack_as_bytes": True,
    }  # fmt: skip
    assert asked["allowed_headers"]["patterns"] == [{"exact": "kubeflow-userid"}]
    assert asked["http_service"]["server_uri"]["uri"] == "http://127.0.0.1:9001"


def test_what_the_authorizer_asks_itself_comes_from_its_pod_alone(charm):
    listeners = configuration(charm, charm.settled())["static_resources"]["listeners"]
    open_to_others = {
        each["name"]
        for each in listeners
        if each["address"]["socket_address"]["address"] != "127.0.0.1"
    }
    assert open_to_others == {"service", "stats"}
    (inside,) = [each for each in listeners if each["name"] == "inside"]
    assert inside["address"]["socket_address"]["port_value"] == 9091
    filters = inside["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"]
    assert "envoy.filters.http.ext_authz" not in [each["name"] for each in filters]


def test_the_authorizer_runs_beside_envoy(charm):
    out = charm.settled()
    assert out.unit_status == testing.ActiveStatus()
    assert charm.service(out, "authorizer").command == (
        "/usr/local/bin/python3 /tmp/authorizer.py --port=9001 --store=9091 --ttl=5 --leaving=1"
    )
    assert charm.service(out, "authorizer").kill_delay == "5s"
    checks = out.get_container("authorizer").plan.checks
    assert checks["authorizer"].http == {"url": "http://localhost:9001/healthz"}


def test_the_authorizer_may_ask_for_reviews_of_rights_and_nothing_else(charm):
    (rule,) = charm.manifest(charm.settled(), "ClusterRole")["rules"]
    assert (rule["resources"], rule["verbs"]) == (["subjectaccessreviews"], ["create"])


def test_without_the_broker_no_user_gets_through(charm):
    out = charm.run(address("metadata"), relation("gateway", "gateway"))
    assert "juju integrate metadata-envoy:manifests" in out.unit_status.message
    assert "ext_authz" in charm.file(out, CONFIG)


# the rest


def test_a_long_answer_is_not_cut_off(charm):
    (host,) = manager(charm, charm.settled())["route_config"]["virtual_hosts"]
    assert host["routes"][0]["route"]["timeout"] == "0s"


def test_its_figures_can_be_had_but_not_its_admin_port(charm):
    found = configuration(charm, charm.settled())
    assert found["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"
    stats = found["static_resources"]["listeners"][2]
    assert stats["address"]["socket_address"]["port_value"] == 9902
    config = stats["filter_chains"][0]["filters"][0]["typed_config"]["route_config"]
    (route,) = config["virtual_hosts"][0]["routes"]
    assert route == {"match": {"path": "/stats/prometheus"}, "route": {"cluster": "admin"}}


def test_every_typed_part_is_of_envoys_third_api(charm):
    text = charm.file(charm.settled(), "/tmp/envoy.yaml")
    types = [line.partition("type.googleapis.com/")[2] for line in text.splitlines()]
    named = [each for each in types if each]
    assert len(named) == 10
    assert all(".v3." in each for each in named)


def test_the_route_is_the_grpc_services_path_for_who_is_logged_in(charm):
    out = charm.settled(relation("gateway", "gateway"))
    (route,) = json.loads(charm.published(out, "gateway")["routes"])
    assert route["prefix"] == "/ml_metadata.MetadataStoreService/"
    assert (route["port"], route["access"], route["rewrite"]) == (9090, "user", None)


def test_it_says_where_it_answers_and_opens_its_two_ports(charm):
    out = charm.settled(relation("metadata-envoy", "kfp-ui"))
    assert charm.published(out, "metadata-envoy")["port"] == "9090"
    assert {each.port for each in out.opened_ports} == {9090, 9902}
