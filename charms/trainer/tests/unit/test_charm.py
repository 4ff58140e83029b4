"""Trainer and JobSet: two controllers that share a pod, their webhooks and their runtimes."""

from __future__ import annotations

import pytest
import yaml
from ops import testing

CONFIG = "/tmp/controller_manager_config.yaml"


def config(charm, out, container: str) -> dict:
    return yaml.safe_load(charm.file(out, CONFIG, container))


@pytest.mark.parametrize(
    "container, kind, webhook, health, metrics",
    [
        ("trainer", "trainer.kubeflow.org", 9443, 8081, 8080),
        ("jobset", "jobset.x-k8s.io", 9444, 8082, 8444),
    ],
)
def test_each_controller_has_ports_of_its_own(charm, container, kind, webhook, health, metrics):
    out = charm.settled()
    found = config(charm, out, container)
    assert charm.service(out, container).command == f"/manager --config={CONFIG} --zap-log-level=2"
    assert found["apiVersion"] == f"config.{kind}/v1alpha1"
    assert found["webhook"]["port"] == webhook
    assert container != "trainer" or found["webhook"]["host"] == ""
    assert found["health"]["healthProbeBindAddress"] == f":{health}"
    assert found["metrics"]["bindAddress"] == f":{metrics}"
    assert found["leaderElection"]["leaderElect"] is True
    check = out.get_container(container).plan.checks[container]
    assert check.http == {"url": f"http://localhost:{health}/readyz"}


def test_neither_controller_makes_certificates_of_its_own(charm):
    out = charm.settled()
    assert config(charm, out, "trainer")["certManagement"] == {"enable": False}
    assert config(charm, out, "jobset")["internalCertManagement"] == {"enable": False}
    for container in ("trainer", "jobset"):
        path = "/tmp/k8s-webhook-server/serving-certs/tls.crt"
        assert charm.file(out, path, container).startswith("-----BEGIN CERTIFICATE-----")


def test_webhooks_go_to_the_controller_that_serves_their_path(charm):
    out = charm.settled()
    for kind in ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"):
        for webhook in charm.manifest(out, kind)["webhooks"]:
            service = webhook["clientConfig"]["service"]
            assert service["port"] == (9443 if "trainer" in service["path"] else 9444)


def test_only_pods_of_jobsets_reach_the_pods_webhooks(charm):
    out = charm.settled()
    for kind in ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"):
        for webhook in charm.manifest(out, kind)["webhooks"]:
            if webhook["rules"][0]["resources"] == ["pods"]:
                assert webhook["objectSelector"]["matchExpressions"] == [
                    {"key": "jobset.sigs.k8s.io/jobset-name", "operator": "Exists"}
                ]


def test_the_runtimes_of_the_release_are_there_with_their_images(charm):
    out = charm.settled(config={"images": "{torch: r.local/torch:1}", "registry": "r.local"})
    runtimes = {
        each["metadata"]["name"]: str(each["spec"])
        for each in charm.manifests(out)
        if each["kind"] == "ClusterTrainingRuntime"
    }
    assert sorted(runtimes) == [
        "deepspeed-distributed",
        "mlx-distributed",
        "torch-distributed",
        "torchtune-llama3.2-1b",
        "torchtune-llama3.2-3b",
        "torchtune-qwen2.5-1.5b",
    ]
    assert "r.local/torch:1" in runtimes["torch-distributed"]
    assert "r.local/kubeflow/trainer/mlx-runtime:v2.1.0" in runtimes["mlx-distributed"]


def test_nodes_that_train_together_begin_anew_together(charm):
    runtime = charm.manifest(charm.settled(), "ClusterTrainingRuntime", "torch-distributed")
    jobs = runtime["spec"]["template"]["spec"]
    assert jobs["failurePolicy"] == {"maxRestarts": 3}
    (node,) = jobs["replicatedJobs"]
    assert node["template"]["spec"]["backoffLimit"] == 0  # a pod that ends fails the whole
    assert node["template"]["spec"]["template"]["spec"]["restartPolicy"] == "Never"


def test_the_wrong_log_level_blocks(charm):
    out = charm.settled(config={"log-level": 9})
    assert out.unit_status.message == (
        "config log-level=9: must be from 0 to 5: juju config trainer --reset log-level"
    )


PATH = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/a/trainjobs"


def job(name: str, *conditions: str) -> dict:
    return {
        "metadata": {"namespace": "a", "name": name},
        "spec": {"runtimeRef": {"name": "torch-distributed"}, "trainer": {"numNodes": 2}},
        "status": {"conditions": [{"type": each, "status": "True"} for each in conditions]},
    }


def test_a_job_is_suspended_and_resumed_but_not_when_it_has_ended(charm, api):
    api.add(PATH, job("runs"))
    api.add(PATH, job("ended", "Complete"))
    out = charm.settled()
    assert charm.act("suspend", out, namespace="a", name="runs") == {"suspended": "true"}
    assert api.get(PATH, "runs")["spec"]["suspend"] is True
    assert charm.act("resume", out, namespace="a", name="runs") == {"suspended": "false"}
    with pytest.raises(testing.ActionFailed, match="a/ended is Complete"):
        charm.act("suspend", out, namespace="a", name="ended")


def test_the_log_of_a_job_without_a_failed_pod_says_so(charm, api):
    api.add(PATH, job("runs"))
    with pytest.raises(testing.ActionFailed, match="no pod of a/runs has failed"):
        charm.act("failed-log", charm.settled(), namespace="a", name="runs")
