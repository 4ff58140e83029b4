"""A cluster of a plain user: what its pods are, and what is left of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from localkube.node import egress
from localkube.node.programs import NodePrograms
from localkube.tests import plain
from localkube.tests.clusters import Cluster, children, host, pod, wait_until

pytestmark = [
    pytest.mark.localkube,
    pytest.mark.skipif(os.geteuid() != 0, reason="becomes a plain user"),
]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder of the plain user's, where it may enter all of those above."""
    with tempfile.TemporaryDirectory() as made:
        os.chown(made, plain.ID, plain.ID)
        yield Path(made)


@pytest.fixture(scope="module")
def of_a_user(programs: NodePrograms, way_out: None, folder: Path) -> Iterator[Cluster]:
    """The user's cluster, which is killed and removed in the end."""
    before = host()
    cluster = Cluster(programs, folder / "state", "--egress", within=plain.command("--tun"))
    assert host() == before
    wait_until(lambda: "default" in cluster.kubectl("get", "serviceaccounts", "-oname"), 30)
    yield cluster
    assert cluster.end(signal.SIGKILL) == -signal.SIGKILL
    assert host() == before
    remove(folder / "state")
    assert not (folder / "state").exists()


def as_the_user(code: str, *told: str) -> subprocess.CompletedProcess[str]:
    """Runs lines of Python as the user."""
    return subprocess.run(
        [*plain.command(*told), sys.executable, "-c", code],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def remove(state: Path) -> None:
    """As `down` removes it: some files are those of ids that pods had."""
    lines = (
        "from pathlib import Path\n"
        "from localkube.host import mapped, ownership\n"
        f"mapped.run(lambda: ownership.remove(Path({str(state)!r})))"
    )
    done = as_the_user(lines)
    assert done.returncode == 0, done.stderr


def _is_inner(pid: int) -> bool:
    return "--inner" in Path(f"/proc/{pid}/cmdline").read_text()


def test_its_programs_have_no_right_outside(of_a_user: Cluster):
    (inner,) = (each for each in children(of_a_user.process.pid) if _is_inner(each))
    status = Path(f"/proc/{inner}/status").read_text()
    assert f"Uid:\t{plain.ID}\t{plain.ID}" in status


def test_its_pods_have_a_way_out_by_a_device_of_its_own_network(of_a_user: Cluster):
    (inner,) = (each for each in children(of_a_user.process.pid) if _is_inner(each))
    devices = Path(f"/proc/{inner}/net/dev").read_text()
    assert f"{egress.DEVICE}:" in devices


def test_a_pod_runs_as_the_user_that_it_asks_for_and_owns_its_volume(of_a_user: Cluster):
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "kept"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Mi"}},
        },
    }
    writer = pod(
        "writer",
        container={"volumeMounts": [{"name": "kept", "mountPath": "/kept"}]},
        securityContext={"runAsUser": 1234, "runAsGroup": 1234, "fsGroup": 170},
        volumes=[{"name": "kept", "persistentVolumeClaim": {"claimName": "kept"}}],
    )
    of_a_user.create(claim)
    of_a_user.run(writer)
    said = of_a_user.shell("writer", "id -u; touch /kept/file; stat -c '%u %g' /kept/file")
    assert said.split() == ["1234", "1234", "170"]


def test_a_service_has_a_name_and_leads_to_its_pods(of_a_user: Cluster):
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
    }
    of_a_user.create(service)
    of_a_user.run(
        pod("web", "mkdir /w; echo found >/w/index.html; httpd -f -p 8080 -h /w", {"app": "web"}),
        pod("asks"),
    )
    assert of_a_user.shell("asks", "wget -qO- http://web.default.svc.cluster.local") == "found\n"


def test_a_network_policy_refuses(of_a_user: Cluster):
    of_a_user.run(
        pod("kept", "mkdir /w; httpd -f -p 8080 -h /w", {"app": "kept"}), pod("asks-too")
    )
    (address,) = of_a_user.kubectl("get", "pod/kept", "-ojsonpath={.status.podIP}").split()
    reaches = f"nc -w 2 {address} 8080 </dev/null && echo yes || echo no"
    wait_until(lambda: of_a_user.shell("asks-too", reaches) == "yes\n", 30)
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "kept"},
        "spec": {"podSelector": {"matchLabels": {"app": "kept"}}, "policyTypes": ["Ingress"]},
    }
    of_a_user.create(policy)
    wait_until(lambda: of_a_user.shell("asks-too", reaches) == "no\n", 30)
