"""The page of served models: where it is, and that it changes no more than InferenceServices."""

from __future__ import annotations

import json

from charmed_mlops.testing import relation


def test_it_is_where_the_gateway_sends_its_path(charm):
    out = charm.settled(relation("gateway"), relation("dashboard-links"))
    assert charm.environment(out)["APP_PREFIX"] == "/kserve-endpoints"
    (route,) = json.loads(charm.published(out, "gateway")["routes"])
    assert (route["prefix"], route["rewrite"], route["port"]) == ("/kserve-endpoints/", "/", 5000)
    (link,) = json.loads(charm.published(out, "dashboard-links")["dashboard_links"])
    assert link["link"] == route["prefix"]


def test_its_version_is_its_own_and_not_that_of_kubeflow_s_web_apps(charm):
    assert charm.settled().workload_version == "0.16.1"


def test_what_it_changes_are_inference_services_and_graphs_only(charm):
    role = charm.manifest(charm.settled(), "ClusterRole", "shop-models-ui-controller")
    changed = {
        resource
        for rule in role["rules"]
        if set(rule["verbs"]) - {"get", "list", "watch"}
        for resource in rule["resources"]
    }
    assert changed == {"inferenceservices", "inferencegraphs", "subjectaccessreviews"}


def test_it_may_read_what_the_details_of_a_service_show(charm):
    """Upstream's routes, backend/apps/common/routes/get.py."""
    role = charm.manifest(charm.settled(), "ClusterRole", "shop-models-ui-controller")
    read = {
        (group, resource)
        for rule in role["rules"]
        if "get" in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert read >= {
        ("serving.knative.dev", "services"), ("serving.knative.dev", "configurations"),
        ("serving.knative.dev", "revisions"), ("serving.knative.dev", "routes"),
        ("apps", "deployments"), ("", "services"), ("autoscaling", "horizontalpodautoscalers"),
    }  # fmt: skip
