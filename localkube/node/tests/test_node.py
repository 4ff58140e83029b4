"""A pod on the real node; and what is left of it all on the host: nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from localkube import outer
from localkube.host import cgroups
from localkube.node.programs import NodePrograms
from localkube.tests.clusters import Cluster, host, pod, processes, wait_until, with_a_pod

pytestmark = [
    pytest.mark.localkube,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]


def test_its_pod_is_running(cluster: Cluster):
    found = json.loads(cluster.kubectl("get", "pod", "one", "-ojson"))
    assert found["status"]["phase"] == "Running"
    assert found["status"]["podIP"].startswith("10.1.")


def test_what_it_prints_can_be_read(cluster: Cluster):
    assert cluster.kubectl("logs", "one") == "hello\n"


def test_a_command_runs_in_it_as_the_user_that_the_pod_names(cluster: Cluster):
    assert cluster.shell("one", "id -u") == "1234\n"


def test_its_root_can_be_read_only_and_is_not_the_hosts(cluster: Cluster):
    said = cluster.shell("one", "touch /bin/new 2>&1 || true; [ -e /usr/bin ] || echo no /usr")
    assert said == "touch: /bin/new: Read-only file system\nno /usr\n"


def test_its_memory_is_limited(cluster: Cluster):
    uid = json.loads(cluster.kubectl("get", "pod", "one", "-ojson"))["metadata"]["uid"]
    limit = _memory_group(cluster, uid) / cgroups.MEMORY_FILES[outer.groups(cluster.state).version]
    assert int(limit.read_text()) == 32 * 2**20


def _memory_group(cluster: Cluster, uid: str) -> Path:
    """The control group that bounds a pod's memory."""
    groups = outer.groups(cluster.state)
    (folder,) = [
        folder
        for folder in groups.folders()
        if groups.version == 2 or "memory" in folder.parent.name.split(",")
    ]
    (found,) = folder.rglob(f"pod{uid}")
    return found


def test_it_reaches_the_api_server_by_its_service(cluster: Cluster):
    assert (
        cluster.shell("one", "nc -w 5 $KUBERNETES_SERVICE_HOST 443 </dev/null && echo y") == "y\n"
    )


@pytest.mark.parametrize("program", ["containerd", "kubelet", "kube-apiserver"])
def test_its_pod_goes_on_when_a_program_is_killed(cluster: Cluster, program: str):
    first = cluster.pid(program)
    assert first is not None
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: cluster.pid(program) not in (first, None), 30)
    wait_until(lambda: cluster.answers("exec", "one", "--", "id"), 60)
    assert _restarts(cluster) == 0


def test_a_deleted_pod_goes(cluster: Cluster):
    cluster.kubectl("create", "-f", "-", given=pod("two"))
    cluster.kubectl("wait", "--for=condition=Ready", "pod/two", "--timeout=60s")
    uid = json.loads(cluster.kubectl("get", "pod", "two", "-ojson"))["metadata"]["uid"]
    group = _memory_group(cluster, uid)
    cluster.kubectl("delete", "pod/two", "--timeout=60s")
    assert "pod/two" not in cluster.kubectl("get", "pods", "-oname")
    wait_until(lambda: not group.exists(), 30)


def test_a_stopped_cluster_leaves_nothing(programs: NodePrograms, state: Path):
    before = host()
    cluster = with_a_pod(programs, state)
    assert host() == before
    assert cluster.end(signal.SIGTERM) == 0
    assert host() == before
    assert [folder for folder in outer.groups(state).folders() if folder.exists()] == []


@pytest.mark.parametrize("seconds", [0.0, 0.5, 2.0, 4.0])
def test_a_cluster_that_is_stopped_while_it_starts_leaves_nothing(state: Path, seconds: float):
    before = host()
    process = subprocess.Popen([sys.executable, "-m", "localkube", str(state)])
    wait_until(lambda: any(folder.exists() for folder in outer.groups(state).folders()), 60)
    time.sleep(seconds)
    process.terminate()
    assert process.wait(60) == 0
    assert host() == before
    assert [folder for folder in outer.groups(state).folders() if folder.exists()] == []


def test_a_killed_cluster_leaves_no_process_and_its_pod_is_back_after_the_next_start(
    programs: NodePrograms, state: Path
):
    before = host()
    cluster = with_a_pod(programs, state)
    cluster.end(signal.SIGKILL)
    assert list(processes(state)) == []
    assert host() == before
    again = Cluster(programs, state)
    try:
        again.kubectl("wait", "--for=condition=Ready", "pod/one", "--timeout=60s")
        wait_until(lambda: _restarts(again) == 1, 60)
    finally:
        assert again.end(signal.SIGTERM) == 0
    assert [folder for folder in outer.groups(state).folders() if folder.exists()] == []


def _restarts(cluster: Cluster) -> int:
    found = json.loads(cluster.kubectl("get", "pod", "one", "-ojson"))
    return found["status"]["containerStatuses"][0]["restartCount"]
