"""What ends a container, how often it is probed, and what it knows of who started it."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from localkube.tests.clusters import Cluster, pod, wait_until

pytestmark = [
    pytest.mark.localkube,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]

_PERIOD = 2


def _status(cluster: Cluster, name: str) -> dict[str, Any]:
    found = json.loads(cluster.kubectl("get", "pod", name, "-ojson"))
    (status,) = found["status"].get("containerStatuses") or [{"restartCount": 0}]
    return status


def test_a_container_that_takes_more_memory_than_its_limit_is_ended(cluster: Cluster):
    # a shell's variable that doubles until it does not fit
    greedy = "x=0123456789abcdef; while true; do x=$x$x; done"
    container = {"resources": {"limits": {"memory": "32Mi"}}}
    cluster.create(pod("greedy", greedy, container=container, restartPolicy="Never"))
    wait_until(lambda: "terminated" in _status(cluster, "greedy").get("state", {}), 90)
    ended = _status(cluster, "greedy")["state"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)
    cluster.kubectl("delete", "pod/greedy", "--timeout=60s")


def test_a_container_that_fails_its_liveness_probe_is_started_again(cluster: Cluster):
    probe = {"exec": {"command": ["cat", "/alive"]}, "periodSeconds": 1, "failureThreshold": 1}
    script = "touch /alive; exec sleep 3600"
    cluster.run(pod("living", script, container={"livenessProbe": probe}))
    assert _status(cluster, "living")["restartCount"] == 0
    cluster.shell("living", "busybox rm /alive")
    wait_until(lambda: _status(cluster, "living")["restartCount"] == 1, 60)
    cluster.kubectl("wait", "--for=condition=Ready", "pod/living", "--timeout=60s")
    cluster.kubectl("delete", "pod/living", "--timeout=60s")


def test_a_container_is_probed_by_its_period(cluster: Cluster):
    command = ["sh", "-c", "busybox date +%s >>/probed"]
    probe = {"exec": {"command": command}, "periodSeconds": _PERIOD}
    cluster.run(pod("probed", container={"livenessProbe": probe}))

    def times() -> list[int]:
        return [int(word) for word in cluster.shell("probed", "cat /probed || true").split()]

    wait_until(lambda: len(times()) > 4, 90)
    seen = times()
    # A machine that is busy probes later, never more often; the first one comes by chance.
    assert (seen[-1] - seen[1]) / (len(seen) - 2) > 0.6 * _PERIOD
    cluster.kubectl("delete", "pod/probed", "--timeout=60s")


def test_nothing_of_the_caller_s_environment_is_in_a_container(cluster: Cluster):
    said = cluster.shell("one", "cat /proc/1/environ").split("\0")
    names = {word.partition("=")[0] for word in said if word}
    kubernetes = {name for name in names if name.startswith("KUBERNETES_")}
    assert kubernetes
    services = {name for name in names if "_SERVICE_" in name or "_PORT" in name}
    of_the_shell = {"PWD", "SHLVL"}
    assert names - kubernetes - services - of_the_shell == {"PATH", "HOSTNAME", "HOME"}
