"""Pods with a way out reach what the host reaches, and never the host's own loopback."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from localkube.node.programs import NodePrograms
from localkube.tests.clusters import IMAGE, OUTSIDE, Cluster, find, other_network, pod, wait_until

pytestmark = [
    pytest.mark.localkube,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]

# A network that stands in for the host's: nothing of the real one is needed or reached.
SERVERS = f"""
{sys.executable} -m http.server --directory "$1" --bind {OUTSIDE} 8080 &
{sys.executable} -m http.server --directory "$1" --bind 127.0.0.1 8081 &
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """A network of its own with two servers; what runs a command in it."""
    with other_network(SERVERS, tmp_path_factory.mktemp("served")) as within:
        yield within


@pytest.fixture(scope="module")
def cluster_with_egress(
    programs: NodePrograms,
    way_out: None,
    host: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cluster]:
    """A cluster that leads out into that network."""
    find(IMAGE)  # made here: there is no archive in that network
    found = Cluster(programs, tmp_path_factory.mktemp("state"), "--egress", within=host)
    try:
        wait_until(lambda: "default" in found.kubectl("get", "serviceaccounts", "-oname"), 30)
        found.run(pod("one"))
    except BaseException:
        found.end(signal.SIGTERM)
        raise
    yield found
    assert found.end(signal.SIGTERM) == 0


def test_a_pod_reaches_what_the_host_reaches(cluster_with_egress: Cluster):
    asked = f"wget -qO- http://{OUTSIDE}:8080/hello"
    wait_until(lambda: cluster_with_egress.answers("exec", "one", "--", "sh", "-c", asked), 30)
    assert cluster_with_egress.shell("one", asked) == "hello from outside"


def test_a_pod_does_not_reach_the_hosts_loopback(cluster_with_egress: Cluster):
    asked = "wget -qO- -T 3 http://10.0.2.2:8081/hello || echo refused"
    assert cluster_with_egress.shell("one", asked).strip() == "refused"


def test_without_a_way_out_there_is_none(cluster: Cluster):
    asked = f"wget -qO- -T 3 http://{OUTSIDE}:8080/hello || echo refused"
    assert cluster.shell("one", asked).strip() == "refused"


@pytest.mark.usefixtures("way_out")
def test_the_way_out_ends_with_the_cluster(programs: NodePrograms, host: list[str], state: Path):
    found = Cluster(programs, state, "--egress", within=host)
    leading = found.child("slirp4netns")
    found.end(signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{leading}").exists(), 10)
