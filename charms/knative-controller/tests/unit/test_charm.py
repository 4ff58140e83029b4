"""Knative's controller: it waits for its kinds, and writes requests' ways in tenants alone."""

from __future__ import annotations

from charmed_mlops.testing import relation


def rules(manifest: dict) -> dict[str, list[str]]:
    """Verbs by resource."""
    return {name: rule["verbs"] for rule in manifest["rules"] for name in rule["resources"]}


def test_it_starts_when_knative_serving_says_that_kinds_and_options_are_there(charm):
    out = charm.settled(relation("serving", "knative-serving"))
    assert out.unit_status.message == "waiting for knative-serving to give its address"
    assert not out.get_container("knative-controller").plan.services


def test_it_reads_its_options_in_the_model_s_namespace(charm):
    out = charm.settled()
    assert charm.environment(out)["SYSTEM_NAMESPACE"] == "shop"
    config = charm.manifest(out, "Role", "knative-controller-config")
    assert rules(config) == {"configmaps": ["get", "list", "watch"]}


def test_endpoints_and_pull_secrets_are_for_tenants_namespaces(charm):
    out = charm.settled()
    cluster = rules(charm.manifest(out, "ClusterRole"))
    assert cluster["endpoints"] == ["get", "list", "watch"]
    assert "secrets" not in cluster
    role, binding = charm.tenant_manifests(out)
    assert rules(role) == {"endpoints": ["create", "update", "delete"], "secrets": ["get"]}
    (subject,) = binding["subjects"]
    assert (subject["name"], subject["namespace"]) == ("knative-controller", "shop")
