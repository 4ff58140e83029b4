"""What kubectl and pods ask of any node, and get here too."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator

import pytest

from localkube.tests.clusters import Cluster, pod, wait_until

pytestmark = [
    pytest.mark.localkube,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]

_FETCH = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:18080').read().decode())"


@pytest.fixture(scope="module")
def served(cluster: Cluster) -> Iterator[Cluster]:
    """A cluster with a pod that serves a page, and has what a pod may ask for itself."""
    secured = {
        "capabilities": {"drop": ["ALL"], "add": ["CHOWN"]},
        "allowPrivilegeEscalation": False,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {"securityContext": secured, "resources": {"limits": {"cpu": "250m"}}}
    script = "mkdir /tmp; echo page > /tmp/index.html; exec httpd -f -p 8080 -h /tmp"
    cluster.run(pod("server", script, container=container))
    yield cluster
    cluster.kubectl("delete", "pod/server", "--timeout=60s")


def test_a_port_is_forwarded(served: Cluster):
    inside = ["nsenter", f"--target={served.child('python')}", "--net", "--mount"]
    process = subprocess.Popen(
        [
            *inside, served.programs.kubernetes / "kubectl",
            f"--kubeconfig={served.state / 'kubeconfig'}", "port-forward", "pod/server",
            "18080:8080",
        ],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert b"Forwarding from 127.0.0.1:18080" in process.stdout.readline()
        done = subprocess.run([*inside, sys.executable, "-c", _FETCH], capture_output=True)
        assert done.stdout.strip() == b"page"
    finally:
        process.terminate()
        process.communicate()


def test_a_command_has_a_terminal(served: Cluster):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [
            "nsenter", f"--target={served.child('python')}", "--net", "--mount",
            served.programs.kubernetes / "kubectl", f"--kubeconfig={served.state / 'kubeconfig'}",
            "exec", "-it", "server", "--", "sh", "-c", "test -t 0 && test -t 1 && echo terminal",
        ],
        stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    assert process.wait(60) == 0
    os.close(theirs)
    assert b"terminal" in os.read(ours, 4096)
    os.close(ours)


def test_a_container_has_the_rights_that_it_asks_for(served: Cluster):
    said = dict(
        line.split(":\t", 1)
        for line in served.shell("server", "cat /proc/1/status").splitlines()
        if ":\t" in line
    )
    assert int(said["CapEff"], 16) == 1  # CAP_CHOWN
    assert (said["NoNewPrivs"].strip(), said["Seccomp"].strip()) == ("1", "2")


def test_a_container_has_the_processor_s_share_that_it_may_have(served: Cluster):
    places = ("/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
    said = served.shell("server", f"cat {' '.join(places)} 2>&1 || true")
    assert "25000" in said.split()


def test_a_probe_by_grpc_is_one(cluster: Cluster):
    asked = pod("probed", container={"readinessProbe": {"grpc": {"port": 9}, "periodSeconds": 1}})
    cluster.create(asked)
    events = ("get", "events", "--field-selector=reason=Unhealthy")
    wait_until(lambda: "Readiness probe failed" in cluster.kubectl(*events), 60)
    cluster.kubectl("delete", "pod/probed", "--timeout=60s")
