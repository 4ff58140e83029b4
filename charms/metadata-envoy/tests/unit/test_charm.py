"""Envoy before ML Metadata: its configuration, its route."""

from __future__ import annotations

import json

import yaml

from charmed_mlops.testing import address, relation


def configuration(charm, out) -> dict:
    return yaml.safe_load(charm.file(out, "/tmp/envoy.yaml"))


def manager(charm, out) -> dict:
    listener = configuration(charm, out)["static_resources"]["listeners"][0]
    return listener["filter_chains"][0]["filters"][0]["typed_config"]


def test_it_turns_what_browsers_speak_into_grpc_for_ml_metadata(charm):
    out = charm.settled(address("metadata", 8080, "grpc"))
    assert charm.service(out).command == "/usr/local/bin/envoy -c /tmp/envoy.yaml"
    assert [each["name"] for each in manager(charm, out)["http_filters"]] == [
        "envoy.filters.http.grpc_web",
        "envoy.filters.http.router",
    ]
    resources = configuration(charm, out)["static_resources"]
    assert resources["listeners"][0]["address"]["socket_address"]["port_value"] == 9090
    (endpoint,) = resources["clusters"][0]["load_assignment"]["endpoints"][0]["lb_endpoints"]
    assert endpoint["endpoint"]["address"]["socket_address"] == {
        "address": "metadata.shop",
        "port_value": 8080,
    }


def test_a_long_answer_is_not_cut_off(charm):
    (host,) = manager(charm, charm.settled())["route_config"]["virtual_hosts"]
    assert host["routes"][0]["route"]["timeout"] == "0s"


def test_its_figures_can_be_had_but_not_its_admin_port(charm):
    found = configuration(charm, charm.settled())
    assert found["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"
    stats = found["static_resources"]["listeners"][1]
    assert stats["address"]["socket_address"]["port_value"] == 9902
    config = stats["filter_chains"][0]["filters"][0]["typed_config"]["route_config"]
    (route,) = config["virtual_hosts"][0]["routes"]
    assert route == {"match": {"path": "/stats/prometheus"}, "route": {"cluster": "admin"}}


def test_every_typed_part_is_of_envoys_third_api(charm):
    text = charm.file(charm.settled(), "/tmp/envoy.yaml")
    types = [line.partition("type.googleapis.com/")[2] for line in text.splitlines()]
    named = [each for each in types if each]
    assert len(named) == 6
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
