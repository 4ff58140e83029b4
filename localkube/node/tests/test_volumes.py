"""What the default StorageClass keeps for pods, and what becomes of it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from localkube.node.programs import NodePrograms
from localkube.tests.clusters import Cluster, pod, wait_until, with_a_pod

pytestmark = [
    pytest.mark.localkube,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]

_GROUP = 170


def _claim(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }


def _stateful_set() -> dict[str, Any]:
    mounted = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    template = pod("set", labels={"app": "set"}, container=mounted)
    template["spec"]["securityContext"] = {"runAsUser": 1234, "fsGroup": _GROUP}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "set"},
        "spec": {
            "serviceName": "set",
            "selector": {"matchLabels": {"app": "set"}},
            "template": {"metadata": template["metadata"], "spec": template["spec"]},
            "volumeClaimTemplates": [_claim("data")],
        },
    }


def _ready(cluster: Cluster) -> None:
    cluster.kubectl("rollout", "status", "statefulset/set", "--timeout=90s")
    wait_until(lambda: cluster.answers("exec", "set-0", "--", "id"), 60)


def test_a_stateful_set_keeps_its_data_until_its_claim_is_deleted(
    programs: NodePrograms, state: Path
):
    cluster = with_a_pod(programs, state)
    try:
        cluster.create(_stateful_set())
        _ready(cluster)
        # a user of the group writes
        assert cluster.shell("set-0", "stat -c '%g' /data") == f"{_GROUP}\n"
        cluster.shell("set-0", "echo kept >/data/file")
        assert cluster.shell("set-0", "stat -c '%u %g' /data/file") == f"1234 {_GROUP}\n"

        cluster.kubectl("delete", "pod/set-0", "--timeout=60s")
        _ready(cluster)
        assert cluster.shell("set-0", "cat /data/file") == "kept\n"
    finally:
        assert cluster.end(signal.SIGTERM) == 0

    cluster = Cluster(programs, state)
    try:
        _ready(cluster)
        assert cluster.shell("set-0", "cat /data/file") == "kept\n"
        (folder,) = (state / "volumes").iterdir()
        assert (folder / "file").read_text() == "kept\n"

        cluster.kubectl("delete", "statefulset/set", "--timeout=60s")
        cluster.kubectl("delete", "pvc/data-set-0", "--timeout=60s")
        wait_until(lambda: not folder.exists(), 30)
        wait_until(lambda: cluster.kubectl("get", "pv", "-oname") == "", 30)
    finally:
        assert cluster.end(signal.SIGTERM) == 0


def test_a_claim_waits_for_its_first_pod(cluster: Cluster):
    cluster.create(_claim("later"))
    wait_until(lambda: "WaitForFirstConsumer" in cluster.kubectl("get", "events"), 30)
    claim = json.loads(cluster.kubectl("get", "pvc", "later", "-ojson"))
    assert claim["spec"]["storageClassName"] == "local"
    assert claim["status"]["phase"] == "Pending"
    mounted = {"volumeMounts": [{"name": "later", "mountPath": "/later"}]}
    source = {"name": "later", "persistentVolumeClaim": {"claimName": "later"}}
    cluster.run(pod("user", container=mounted, volumes=[source]))
    assert cluster.kubectl("get", "pvc", "later", "-ojsonpath={.status.phase}") == "Bound"
    cluster.kubectl("delete", "pod/user", "pvc/later", "--timeout=60s")
