"""The operator of the first training API: flags, rights, webhooks, actions on jobs."""

from __future__ import annotations

import shlex

import pytest
from ops import testing

ALL = "PyTorchJob TFJob XGBoostJob MPIJob PaddleJob JAXJob"
CERTIFICATES = "/tmp/k8s-webhook-server/serving-certs"


def flags(charm, out) -> list[str]:
    program, *rest = shlex.split(charm.service(out).command)
    assert program == "/manager"
    return rest


def rules(charm, out) -> dict[str, list[str]]:
    """Verbs by resource, of the operator's cluster role."""
    return {
        resource: rule["verbs"]
        for rule in charm.manifest(out, "ClusterRole", "shop-training-operator-controller")[
            "rules"
        ]
        for resource in rule["resources"]
    }


def test_it_runs_the_chosen_kinds(charm):
    out = charm.settled(config={"kinds": "PyTorchJob  MPIJob PyTorchJob"})
    chosen = [flag for flag in flags(charm, out) if flag.startswith("-enable-scheme")]
    assert chosen == ["-enable-scheme=pytorchjob", "-enable-scheme=mpijob"]
    assert "-leader-elect" in flags(charm, out)


def test_its_cluster_role_is_bound_to_it(charm):
    binding = charm.manifest(charm.settled(), "ClusterRoleBinding")
    assert binding["roleRef"]["name"] == "shop-training-operator-controller"


def test_a_kind_that_is_not_run_keeps_its_definition(charm):
    out = charm.settled(config={"kinds": "PyTorchJob"})
    found = {
        each["spec"]["names"]["kind"]
        for each in charm.manifests(out)
        if each["kind"] == "CustomResourceDefinition"
    }
    assert found == set(ALL.split())


def test_only_mpi_jobs_need_the_right_to_run_commands(charm):
    assert "pods/exec" in rules(charm, charm.settled())
    without = rules(charm, charm.settled(config={"kinds": "PyTorchJob TFJob"}))
    assert not {"pods/exec", "roles", "serviceaccounts", "mpijobs"} & set(without)


def test_it_serves_the_charm_s_certificate(charm):
    out = charm.settled()
    assert charm.file(out, f"{CERTIFICATES}/tls.crt").startswith("-----BEGIN CERTIFICATE-----")
    webhooks = charm.manifest(out, "ValidatingWebhookConfiguration")
    # under its own name the operator would put another certificate there
    assert webhooks["metadata"]["name"] == "shop-training-operator"
    paths = {each["clientConfig"]["service"]["path"] for each in webhooks["webhooks"]}
    kinds = ("pytorchjob", "tfjob", "xgboostjob", "paddlejob", "jaxjob")
    assert paths == {f"/validate-kubeflow-org-v1-{kind}" for kind in kinds}


def test_its_own_certificate_has_a_secret_that_it_alone_may_change(charm):
    out = charm.settled()
    secret = charm.manifest(out, "Secret")["metadata"]["name"]
    assert f"-webhook-secret-name={secret}" in flags(charm, out)
    reads, writes = charm.manifest(out, "Role", "training-operator-certificate")["rules"]
    assert reads["verbs"] == ["get", "list", "watch"]
    assert (writes["verbs"], writes["resourceNames"]) == (["update"], [secret])


def test_init_containers_come_from_the_registry_of_choice(charm):
    out = charm.settled(config={"registry": "r.local"})
    assert "-pytorch-init-container-image=r.local/library/alpine:3.10" in flags(charm, out)


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (
            {"kinds": "PyTorchJob MXJob"},
            "config kinds=PyTorchJob MXJob: must be one of PyTorchJob,",
        ),
        ({"kinds": " "}, "config kinds= : name at least one kind"),
        ({"threads": 0}, "config threads=0: "),
        ({"gang-scheduler": "a b"}, "config gang-scheduler=a b: must match"),
    ],
)
def test_a_wrong_option_is_named(charm, config, text):
    assert charm.refusal(config).startswith(text)


PATH = "/apis/kubeflow.org/v1/namespaces/a/pytorchjobs"


def job(name: str, *conditions: str) -> dict:
    return {
        "metadata": {"namespace": "a", "name": name},
        "spec": {"pytorchReplicaSpecs": {"Master": {}, "Worker": {"replicas": 3}}},
        "status": {"conditions": [{"type": each, "status": "True"} for each in conditions]},
    }


def test_jobs_are_listed_with_kind_replicas_and_state(charm, api):
    api.add(PATH, job("runs", "Created", "Running"))
    out = charm.settled(config={"kinds": "PyTorchJob"})
    found = charm.act("list-jobs", out, namespace="a")
    assert found["jobs"] == {
        "1": {
            "kind": "PyTorchJob",
            "namespace": "a",
            "name": "runs",
            "replicas": "Master=1, Worker=3",
            "state": "Running",
        }
    }


def test_a_job_is_suspended_and_resumed_but_not_when_it_has_ended(charm, api):
    api.add(PATH, job("runs"))
    api.add(PATH, job("ended", "Succeeded"))
    out = charm.settled()
    named = {"kind": "PyTorchJob", "namespace": "a"}
    assert charm.act("suspend", out, name="runs", **named) == {"suspended": "true"}
    assert api.get(PATH, "runs")["spec"]["runPolicy"] == {"suspend": True}
    assert charm.act("resume", out, name="runs", **named) == {"suspended": "false"}
    with pytest.raises(testing.ActionFailed, match="a/ended has ended: Succeeded"):
        charm.act("suspend", out, name="ended", **named)


def test_an_action_on_an_unknown_kind_names_the_kinds(charm, api):
    with pytest.raises(testing.ActionFailed, match="kind=Job: must be one of PyTorchJob"):
        charm.act("suspend", charm.settled(), kind="Job", namespace="a", name="x")


def test_the_log_of_a_job_without_a_failed_pod_says_so(charm, api):
    api.add(PATH, job("runs"))
    named = {"kind": "PyTorchJob", "namespace": "a", "name": "runs"}
    with pytest.raises(testing.ActionFailed, match="no pod of a/runs has failed"):
        charm.act("failed-log", charm.settled(), **named)
