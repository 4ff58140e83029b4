"""The model registry's page: its command, what it calls, how users reach it, its rights."""

from __future__ import annotations

import json
import shlex

import yaml

from charmed_mlops.testing import address, relation


def test_it_runs_as_kubeflows_and_calls_its_own_pod_only(charm):
    out = charm.settled()
    assert shlex.split(charm.service(out).command) == [
        "/bff",
        "--port=8080",
        "--deployment-mode=kubeflow",
        "--auth-method=internal",
        "--dev-mode=true",
        "--dev-mode-model-registry-port=8081",
        "--dev-mode-catalog-port=8081",
    ]


def test_the_pods_port_leads_to_the_related_registry_and_others_do_not_reach_it(charm):
    out = charm.settled(address("model-registry", 9999))
    config = yaml.safe_load(charm.file(out, "/tmp/envoy.yaml", "forward"))["static_resources"]
    (listener,), (cluster,) = config["listeners"], config["clusters"]
    assert listener["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 8081}
    (endpoint,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    assert endpoint["endpoint"]["address"]["socket_address"] == {
        "address": "model-registry.shop",
        "port_value": 9999,
    }


def test_it_is_behind_the_gateway_for_users_only_and_in_the_dashboard(charm):
    out = charm.settled(relation("gateway"), relation("dashboard-links"))
    (route,) = json.loads(charm.published(out, "gateway")["routes"])
    assert (route["prefix"], route["rewrite"]) == ("/model-registry/", "/")
    assert (route["port"], route["access"]) == (8080, "user")
    (link,) = json.loads(charm.published(out, "dashboard-links")["dashboard_links"])
    assert link["link"] == route["prefix"]


def test_it_changes_nothing_in_the_cluster(charm):
    role = charm.manifest(charm.settled(), "ClusterRole", "shop-model-registry-ui-controller")
    rights = {(each["resources"][0], *sorted(each["verbs"])) for each in role["rules"]}
    assert rights == {
        ("subjectaccessreviews", "create"),
        ("services", "get", "list"),
        ("clusterrolebindings", "list"),
    }
