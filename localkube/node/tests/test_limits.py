"""Pods that would have more of the host than its folders that are named are refused."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from localkube.tests.clusters import Cluster, pod

pytestmark = [
    pytest.mark.localkube,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]


def _refusal(cluster: Cluster, made: dict[str, Any]) -> str:
    """Why an object is not made; empty where it is."""
    try:
        cluster.kubectl("create", "--dry-run=server", "-f", "-", given=made)
    except AssertionError as error:
        return str(error)
    return ""


def _with_host_path(path: str) -> dict[str, Any]:
    return pod("asks", volumes=[{"name": "host", "hostPath": {"path": path}}])


def _volume(name: str, **source: Any) -> dict[str, Any]:
    here = {"key": "kubernetes.io/hostname", "operator": "Exists"}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
            **source,
        },
    }


@pytest.mark.parametrize("below", ["", "/", "/some/folder"])
def test_a_pod_may_have_host_paths_in_the_folders_that_are_named(cluster: Cluster, below: str):
    assert _refusal(cluster, _with_host_path(f"{cluster.shared}{below}")) == ""


@pytest.mark.parametrize("path", ["/", "/etc", "{}2", "{}/../pki", "{}/..", "relative"])
def test_a_pod_may_have_no_other_host_path(cluster: Cluster, path: str):
    assert _refusal(cluster, _with_host_path(path.format(cluster.shared)))


def test_the_refusal_of_a_host_path_says_how_to_allow_it(cluster: Cluster):
    said = _refusal(cluster, _with_host_path("/etc/ssl"))
    assert "Forbidden" in said
    assert "start the engine with LOCALJUJU_HOST_PATHS=/etc/ssl to allow it" in said


@pytest.mark.parametrize("kind", ["hostPath", "local"])
def test_a_volume_is_held_to_the_same_folders_and_may_have_its_own(cluster: Cluster, kind: str):
    own = cluster.state.resolve() / "volumes" / "mine"
    for path, name, refused in (
        (cluster.shared / "data", "any", False),
        (own, "mine", False),
        (own, "other", True),
        ("/etc", "any", True),
    ):
        volume = _volume(name, **{kind: {"path": str(path)}})
        assert bool(_refusal(cluster, volume)) == refused, path


@pytest.mark.parametrize("namespace", ["hostNetwork", "hostPID", "hostIPC"])
@pytest.mark.parametrize("where", ["default", "kube-system"])
def test_a_pod_may_not_be_in_a_namespace_of_the_node_s(
    cluster: Cluster, namespace: str, where: str
):
    asked = pod("asks")
    asked["metadata"]["namespace"] = where
    asked["spec"][namespace] = True
    assert f"{namespace} is not supported by localkube" in _refusal(cluster, asked)
    asked["spec"][namespace] = False
    assert _refusal(cluster, asked) == ""


@pytest.mark.parametrize("kind", ["containers", "initContainers"])
@pytest.mark.parametrize(
    ("context", "said"),
    [
        ({"privileged": True}, "privileged containers are not supported"),
        ({"capabilities": {"add": ["CHOWN", "SYS_ADMIN"]}}, "may add no capabilities but"),
        ({"capabilities": {"add": ["ALL"]}}, "may add no capabilities but"),
        ({"capabilities": {"add": ["NET_BIND_SERVICE"], "drop": ["ALL"]}}, ""),
        ({"privileged": False}, ""),
    ],
)
def test_a_container_may_have_no_more_than_containerd_gives_to_all(
    cluster: Cluster, kind: str, context: dict[str, Any], said: str
):
    asked = pod("asks")
    container = {**asked["spec"]["containers"][0], "name": "other", "securityContext": context}
    asked["spec"].setdefault(kind, []).append(container)
    refusal = _refusal(cluster, asked)
    assert said in refusal
    assert bool(said) == bool(refusal)


def test_a_container_that_is_added_for_debugging_may_have_no_more_either(cluster: Cluster):
    for context, refused in (({"privileged": True}, True), ({"runAsUser": 7}, False)):
        added = {**pod("x")["spec"]["containers"][0], "name": f"debug-{refused}".lower()}
        added["securityContext"] = context
        change = json.dumps({"spec": {"ephemeralContainers": [added]}})
        done = cluster.answers(
            "patch", "pod", "one", "--subresource=ephemeralcontainers", "--dry-run=server",
            f"--patch={change}",
        )  # fmt: skip
        assert done != refused


def test_a_deployment_whose_pods_are_refused_says_why(cluster: Cluster):
    template = pod("x", labels={"app": "asks"}, hostNetwork=True)
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "asks"},
        "spec": {
            "selector": {"matchLabels": {"app": "asks"}},
            "template": {"metadata": template["metadata"], "spec": template["spec"]},
        },
    }
    cluster.create(deployment)
    condition = "--for=condition=ReplicaFailure"
    cluster.kubectl("wait", condition, "deployment/asks", "--timeout=60s")
    said = cluster.kubectl("get", "deployment", "asks", "-ojsonpath={.status.conditions}")
    assert "hostNetwork is not supported by localkube" in said
    cluster.kubectl("delete", "deployment/asks", "--timeout=60s")
