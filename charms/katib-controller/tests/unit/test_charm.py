"""Katib's controller: its configuration, its certificate, its objects and its actions."""

from __future__ import annotations

import pytest
import yaml
from ops import testing

from charmed_mlops.testing import address

CONFIG = "/tmp/katib-config.yaml"


def config(charm, out) -> dict:
    return yaml.safe_load(charm.file(out, CONFIG))


def test_it_runs_with_the_configuration_that_upstream_documents(charm):
    out = charm.settled()
    assert charm.service(out).command == f"./katib-controller --katib-config={CONFIG}"
    found = config(charm, out)
    assert found["init"]["controller"]["webhookPort"] == 8443
    assert found["init"]["controller"]["enableLeaderElection"] is True
    assert found["init"]["certGenerator"] == {"enable": False}
    assert (
        "TrainJob.v1alpha1.trainer.kubeflow.org" in found["init"]["controller"]["trialResources"]
    )
    algorithms = {each["algorithmName"]: each["image"] for each in found["runtime"]["suggestions"]}
    assert algorithms["cmaes"] == "ghcr.io/kubeflow/katib/suggestion-goptuna:v0.19.0"
    assert len(algorithms) == 11
    kinds = [each["kind"] for each in found["runtime"]["metricsCollectors"]]
    assert kinds == ["StdOut", "File", "TensorFlowEvent"]


def test_the_webhook_reads_the_same_configuration_from_a_config_map(charm):
    out = charm.settled()
    found = charm.manifest(out, "ConfigMap", "katib-config")
    assert found["data"]["katib-config.yaml"].strip() == charm.file(out, CONFIG).strip()


def test_it_finds_the_database_manager_by_the_names_that_katib_puts_together(charm):
    manager = address("db-manager", 6789, "grpc")
    out = charm.settled(manager)
    environment = charm.environment(out)
    assert environment["KATIB_DB_MANAGER_SERVICE_IP"] == "db-manager"
    assert environment["KATIB_DB_MANAGER_SERVICE_NAMESPACE"] == "shop"
    assert environment["KATIB_DB_MANAGER_SERVICE_PORT"] == "6789"


def test_the_webhooks_trust_the_certificate_that_the_program_serves(charm):
    out = charm.settled()
    webhooks = charm.manifest(out, "MutatingWebhookConfiguration")["webhooks"]
    assert [each["clientConfig"]["service"]["path"] for each in webhooks] == [
        "/mutate-experiment",
        "/mutate-pod",
    ]
    assert {each["clientConfig"]["service"]["port"] for each in webhooks} == {8443}
    assert charm.file(out, "/tmp/cert/tls.crt").startswith("-----BEGIN CERTIFICATE-----")


def test_pods_reach_the_webhook_only_from_namespaces_that_want_it(charm):
    (_, pods) = charm.manifest(charm.settled(), "MutatingWebhookConfiguration")["webhooks"]
    assert pods["namespaceSelector"] == {
        "matchLabels": {"katib.kubeflow.org/metrics-collector-injection": "enabled"}
    }


@pytest.mark.parametrize(
    "given, image",
    [
        (
            {"registry": "r.local:5000/k"},
            "r.local:5000/k/kubeflow/katib/suggestion-goptuna:v0.19.0",
        ),
        ({"images": "{suggestion-goptuna: r.local/g:1}"}, "r.local/g:1"),
    ],
)
def test_an_image_can_come_from_a_registry_of_ones_own(charm, given, image):
    out = charm.settled(config=given)
    suggestions = config(charm, out)["runtime"]["suggestions"]
    assert image in [each["image"] for each in suggestions]


def test_it_may_do_with_each_kind_of_trial_what_it_does_with_jobs(charm):
    """Without the right to watch a kind that the cluster has, the program ends."""
    given = "Job.v1.batch JAXJob.v1.kubeflow.org PipelineRun.v1.tekton.dev Study.v1.x.org"
    out = charm.settled(config={"trial-resources": given})
    role = charm.manifest(out, "ClusterRole", "shop-katib-controller-controller")
    rights = {
        (group, resource): rule["verbs"]
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    for kind in (
        ("batch", "jobs"), ("kubeflow.org", "jaxjobs"), ("tekton.dev", "pipelineruns"),
        ("x.org", "studies"),
    ):  # fmt: skip
        assert rights[kind] == ["get", "list", "watch", "create", "delete"]
    usual = charm.manifest(charm.settled(), "ClusterRole", "shop-katib-controller-controller")
    assert len(role["rules"]) == len(usual["rules"]) + 3


@pytest.mark.parametrize(
    "given, message",
    [
        ({"trial-resources": "Job"}, "config trial-resources=Job: must match"),
        ({"suggestion-memory-limit": "lots"}, "config suggestion-memory-limit=lots: must be a"),
        ({"images": "{nosuch: x}"}, "config images: no image 'nosuch'"),
        ({"registry": "a b"}, "config registry=a b: must be HOST"),
    ],
)
def test_a_wrong_option_blocks_and_the_service_goes_on(charm, given, message):
    before = charm.settled()
    out = charm.again(before, event="config_changed", config=given)
    assert out.unit_status.name == "blocked"
    assert out.unit_status.message.startswith(message)
    assert charm.service(out) == charm.service(before)


PATH = "/apis/kubeflow.org/v1beta1/namespaces/a/experiments"


def experiment(name: str, ended: str = "", policy: str = "Never") -> dict:
    condition = {"type": "Succeeded" if ended else "Running", "status": "True"}
    status = {"conditions": [condition], "trials": 3, "trialsSucceeded": 2}
    return {
        "metadata": {"namespace": "a", "name": name},
        "spec": {"maxTrialCount": 3, "resumePolicy": policy},
        "status": status | ({"completionTime": ended} if ended else {}),
    }


def test_purge_takes_only_what_ended_long_ago_and_only_when_confirmed(charm, api):
    for each in (
        experiment("old", "2020-01-01T00:00:00Z"),
        experiment("new", "2999-01-01T00:00:00Z"),
        experiment("running"),
    ):
        api.add(PATH, each)
    assert charm.act("purge", charm.settled()) == {"count": "1", "would-delete": "a/old"}
    assert not [call for call in api.calls if call.startswith("DELETE")]
    assert charm.act("purge", charm.settled(), confirm=True)["deleted"] == "a/old"
    assert [call for call in api.calls if call.startswith("DELETE")] == [f"DELETE {PATH}/old"]


def test_resume_lets_only_an_experiment_go_on_that_may(charm, api):
    api.add(PATH, experiment("long", policy="LongRunning"))
    api.add(PATH, experiment("never"))
    given = {"namespace": "a", "further_trials": 2}
    assert charm.act("resume", charm.settled(), name="long", **given) == {"max-trial-count": "5"}
    assert api.get(PATH, "long")["spec"]["maxTrialCount"] == 5
    with pytest.raises(testing.ActionFailed, match="never has resumePolicy Never"):
        charm.act("resume", charm.settled(), name="never", **given)
