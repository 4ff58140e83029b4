"""Argo's controller: its command, its configuration and its rights."""

from __future__ import annotations

import dataclasses
import json

import pytest
import yaml

from charmed_mlops.testing import bucket


def configuration(charm, out) -> dict:
    data = charm.manifest(out, "ConfigMap")["data"]
    return {key: yaml.safe_load(text) for key, text in data.items()}


def test_it_runs_for_the_whole_cluster_with_the_executor_of_its_version(charm):
    out = charm.settled()
    assert charm.service(out).command == (
        "workflow-controller --configmap argo-controller-configmap "
        "--executor-image quay.io/argoproj/argoexec:v3.7.3 --namespaced=false"
    )
    assert charm.environment(out) == {
        "LEADER_ELECTION_IDENTITY": "argo-controller-0", "DEFAULT_REQUEUE_TIME": "2s",
    }  # fmt: skip


def test_the_executor_can_come_from_a_registry_of_ones_own(charm):
    out = charm.settled(config={"registry": "r.local:5000/k"})
    assert "--executor-image r.local:5000/k/argoproj/argoexec:v3.7.3" in charm.service(out).command


def test_artifacts_go_to_the_bucket_by_the_key_of_the_workflows_namespace(charm):
    out = charm.settled()
    repository = configuration(charm, out)["artifactRepository"]
    assert repository["archiveLogs"] is True
    store = repository["s3"]
    assert (store["endpoint"], store["bucket"], store["insecure"]) == (
        "object-store:7070",
        "b",
        True,
    )
    assert store["accessKeySecret"] == {"name": "mlpipeline-minio-artifact", "key": "accesskey"}
    assert store["secretKeySecret"] == {"name": "mlpipeline-minio-artifact", "key": "secretkey"}
    assert store["keyFormat"].startswith(
        "private-artifacts/{{workflow.namespace}}/{{workflow.name}}/"
    )
    assert "open-sesame" not in json.dumps(charm.manifests(out))


def test_a_store_with_tls_is_not_insecure(charm):
    relation, secret = bucket("object-store")
    data = {**relation.remote_app_data, "endpoint": "https://s3.example.org"}
    relation = dataclasses.replace(relation, remote_app_data=data)
    out = charm.settled(relation, secrets=[secret])
    store = configuration(charm, out)["artifactRepository"]["s3"]
    assert (store["endpoint"], store["insecure"]) == ("s3.example.org", False)


def test_metrics_are_plain_http(charm):
    found = configuration(charm, charm.settled())["metricsConfig"]
    assert found == {"enabled": True, "path": "/metrics", "port": 9090, "secure": False}


def test_ended_workflows_and_their_pods_are_collected(charm):
    spec = configuration(charm, charm.settled())["workflowDefaults"]["spec"]
    assert spec == {
        "activeDeadlineSeconds": 604800,
        "ttlStrategy": {"secondsAfterCompletion": 86400},
        "podGC": {"strategy": "OnWorkflowCompletion"},
    }


def test_collection_and_the_deadline_can_be_turned_off(charm):
    given = {"workflow-ttl": 0, "workflow-deadline": 0, "pod-gc": "Never"}
    assert configuration(charm, charm.settled(config=given))["workflowDefaults"] == {"spec": {}}


def test_a_step_outlasts_a_store_that_restarts(charm):
    (steps,) = configuration(charm, charm.settled())["executor"]["env"]
    assert steps == {"name": "EXECUTOR_RETRY_BACKOFF_STEPS", "value": "9"}


def test_what_runs_at_once_can_be_bounded(charm):
    given = {"parallelism": 20, "namespace-parallelism": 5}
    found = configuration(charm, charm.settled(config=given))
    assert (found["parallelism"], found["namespaceParallelism"]) == (20, 5)
    assert "parallelism" not in configuration(charm, charm.settled())


@pytest.mark.parametrize(
    "given, message",
    [
        ({"requeue-time": "2"}, "config requeue-time=2: must match"),
        ({"pod-gc": "Sometimes"}, "config pod-gc=Sometimes: must be one of OnPodCompletion"),
        ({"workflow-ttl": -1}, "config workflow-ttl=-1: must be greater than or equal to 0"),
        ({"images": "{argo: x}"}, "config images: no image 'argo'"),
    ],
)
def test_a_wrong_option_blocks(charm, given, message):
    out = charm.settled(config=given)
    assert out.unit_status.name == "blocked"
    assert out.unit_status.message.startswith(message)


def test_it_defines_all_of_argos_kinds_as_upstream_does(charm):
    found = {
        each["spec"]["names"]["plural"]: each["spec"]
        for each in charm.manifests(charm.settled())
        if each["kind"] == "CustomResourceDefinition"
    }
    assert set(found) == {
        "workflows", "workflowtemplates", "cronworkflows", "clusterworkflowtemplates",
        "workflowtasksets", "workflowtaskresults", "workfloweventbindings",
        "workflowartifactgctasks",
    }  # fmt: skip
    assert found["clusterworkflowtemplates"]["scope"] == "Cluster"
    # a status that is no subresource: the controller writes workflows as a whole
    assert "subresources" not in found["workflows"]["versions"][0]
    assert found["workflowtasksets"]["versions"][0]["subresources"] == {"status": {}}


def test_it_may_neither_exec_nor_read_secrets(charm):
    for each in charm.manifests(charm.settled()):
        for rule in each.get("rules", ()):
            assert not {"pods/exec", "secrets"} & set(rule["resources"])


def test_in_tenants_namespaces_it_keeps_large_and_memoized_steps_and_reads_one_secret(charm):
    out = charm.settled()
    role, binding = charm.tenant_manifests(out)
    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "update", "delete"]},
        {
            "apiGroups": [""],
            "resources": ["secrets"],
            "resourceNames": ["argo-workflows-agent-ca-certificates"],
            "verbs": ["get"],
        },
    ]
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": "argo-controller", "namespace": "shop"}
    ]


def test_a_tenants_account_may_what_argos_own_pods_do_as_it(charm):
    edit = "rbac.authorization.kubeflow.org/aggregate-to-kubeflow-edit"
    rights = {
        (resource, verb)
        for each in charm.manifests(charm.settled())
        if each["metadata"].get("labels", {}).get(edit) == "true"
        for rule in each["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    # upstream's roles executor, agent and artifactgc
    assert rights >= {
        ("workflowtaskresults", "create"), ("workflowtaskresults", "patch"),
        ("workflowtasksets", "list"), ("workflowtasksets", "watch"),
        ("workflowtasksets/status", "patch"),
        ("workflowartifactgctasks", "list"), ("workflowartifactgctasks", "watch"),
        ("workflowartifactgctasks/status", "patch"),
    }  # fmt: skip
