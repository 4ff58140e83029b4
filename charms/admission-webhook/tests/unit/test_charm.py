"""The PodDefaults webhook: its certificate, and whose pods it sees."""

from __future__ import annotations

import base64
import datetime

from ops import testing

from charmed_mlops import certificates


def test_it_runs_on_the_files_and_the_port_that_its_flags_name(charm):
    out = charm.settled()
    assert charm.service(out).command == (
        "/webhook -webhookPort=4443 "
        "-tlsCertFile=/tmp/webhook/tls.crt -tlsKeyFile=/tmp/webhook/tls.key"
    )
    assert charm.file(out, "/tmp/webhook/tls.crt").startswith("-----BEGIN CERTIFICATE-----")
    assert charm.file(out, "/tmp/webhook/tls.key").startswith("-----BEGIN PRIVATE KEY-----")
    assert {port.port for port in out.opened_ports} == {4443}


def webhooks(charm, out):
    return charm.manifest(out, "MutatingWebhookConfiguration")["webhooks"]


def test_it_sees_new_pods_of_users_namespaces_only_and_fails_closed(charm):
    out = charm.settled()
    for webhook in webhooks(charm, out):
        assert webhook["namespaceSelector"] == {
            "matchLabels": {"app.kubernetes.io/part-of": "kubeflow-profile"}
        }
        (rule,) = webhook["rules"]
        assert (rule["resources"], rule["operations"]) == (["pods"], ["CREATE"])
        client = webhook["clientConfig"]
        assert client["service"] == {
            "name": "admission-webhook",
            "namespace": "shop",
            "path": "/apply-poddefault",
            "port": 4443,
        }
        ca = base64.b64decode(client["caBundle"]).decode()
        assert ca in charm.file(out, "/tmp/webhook/tls.crt")
    assert webhooks(charm, out)[-1]["failurePolicy"] == "Fail"


def test_a_program_that_ends_while_it_is_asked_is_asked_again_for_pods_without_settings(charm):
    first, *later = found = webhooks(charm, charm.settled())
    assert [each["failurePolicy"] for each in found] == ["Ignore", "Ignore", "Fail"]
    assert "matchConditions" not in first
    for webhook in later:
        (condition,) = webhook["matchConditions"]
        assert "poddefault.admission.kubeflow.org/poddefault-" in condition["expression"]


def test_reviews_have_the_version_whose_answer_needs_no_kind(charm):
    for webhook in webhooks(charm, charm.settled()):
        assert webhook["admissionReviewVersions"][0] == "v1beta1"  # the API server takes the first


def test_a_renewed_certificate_is_written_and_the_program_goes_on(charm, monkeypatch):
    before = charm.settled()
    first = charm.file(before, "/tmp/webhook/tls.crt")
    later = certificates.now() + datetime.timedelta(days=300)
    monkeypatch.setattr(certificates, "now", lambda: later)
    out = charm.again(before)
    assert out.unit_status == testing.ActiveStatus()  # the CA, which the broker knows, is the same
    assert charm.file(out, "/tmp/webhook/tls.crt") != first
    assert charm.service(out) == charm.service(before)


def test_it_only_reads_poddefaults(charm):
    role = charm.manifest(charm.settled(), "ClusterRole", "shop-admission-webhook-controller")
    assert role["rules"] == [
        {
            "apiGroups": ["kubeflow.org"],
            "resources": ["poddefaults"],
            "verbs": ["get", "list", "watch"],
        }
    ]


def test_a_poddefault_needs_a_selector(charm):
    (version,) = charm.manifest(charm.settled(), "CustomResourceDefinition")["spec"]["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert version["name"] == "v1alpha1"
    assert spec["required"] == ["selector"]
    assert {
        "env",
        "envFrom",
        "volumes",
        "volumeMounts",
        "tolerations",
        "serviceAccountName",
    } < set(spec["properties"])
