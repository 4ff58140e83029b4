"""The volume viewers' controller: its webhooks, its route, its fence, and Istio's kind."""

from __future__ import annotations

import json

import pytest

from charmed_mlops.testing import relation

FOLDER = "/tmp/k8s-webhook-server/serving-certs"  # controller-runtime's default


def test_it_runs_with_its_certificate_where_the_program_reads_it(charm):
    out = charm.settled()
    assert charm.service(out).command == "/manager --leader-elect"
    assert charm.file(out, f"{FOLDER}/tls.crt").startswith("-----BEGIN CERTIFICATE-----")
    assert charm.file(out, f"{FOLDER}/tls.key").startswith("-----BEGIN PRIVATE KEY-----")
    assert {port.port for port in out.opened_ports} == {8080, 9443}


@pytest.mark.parametrize(
    "kind, path",
    [
        ("MutatingWebhookConfiguration", "/mutate-kubeflow-org-v1alpha1-pvcviewer"),
        ("ValidatingWebhookConfiguration", "/validate-kubeflow-org-v1alpha1-pvcviewer"),
    ],
)
def test_viewers_go_through_the_webhooks(charm, kind, path):
    (webhook,) = charm.manifest(charm.settled(), kind)["webhooks"]
    service = webhook["clientConfig"]["service"]
    assert (service["path"], service["port"]) == (path, 9443)
    assert webhook["rules"][0]["resources"] == ["pvcviewers"]


def test_the_kind_that_the_program_insists_on_is_there_and_says_that_it_does_nothing(charm):
    out = charm.settled()
    found = charm.manifest(out, "CustomResourceDefinition", "virtualservices.networking.istio.io")
    (version,) = found["spec"]["versions"]
    assert version["name"] == "v1alpha3"
    assert "does nothing" in version["schema"]["openAPIV3Schema"]["description"]
    out = charm.settled(config={"virtual-service": False})
    own = charm.manifest(out, "CustomResourceDefinition")
    assert own["metadata"]["name"] == "pvcviewers.kubeflow.org"


def test_only_who_may_change_viewers_opens_one_and_others_cannot_reach_it(charm):
    out = charm.settled(relation("gateway", "gateway"))
    (route,) = json.loads(charm.published(out, "gateway")["routes"])
    assert route["prefix"] == "/pvcviewers/{namespace}/{name}/"
    assert route["host"] == "pvcviewer-{name}.{namespace}.svc.cluster.local"
    assert (route["rewrite"], route["verb"], route["resource"]) == ("/", "update", "pvcviewers")
    (policy,) = charm.tenant_manifests(out)
    assert policy["spec"]["podSelector"] == {
        "matchLabels": {"app.kubernetes.io/part-of": "pvc-viewer"}
    }
    assert "gateway" in str(policy["spec"]["ingress"])
