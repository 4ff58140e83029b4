"""Images that are not the cluster's own come from elsewhere, where that is asked for."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from localkube.host.errors import EngineError
from localkube.images import registry, upstream
from localkube.node import names
from localkube.node.programs import NodePrograms
from localkube.tests.clusters import (
    IMAGE,
    OUTSIDE,
    TWO_LAYERS,
    Cluster,
    find,
    other_network,
    pod,
    wait_until,
)
from localkube.tests.ports import ports

ELSEWHERE = "registry.example.org/team/elsewhere:1"
# A network that stands in for the host's, with a registry and another server.
SERVERS = f"""
{sys.executable} -m localkube.tests.other_registry {OUTSIDE} "$1/digests" &
{sys.executable} -m http.server --directory "$1" --bind {OUTSIDE} 8080 &
"""


def test_a_mirror_is_asked_after_the_clusters_own_registry():
    assert registry.hosts_before("https://mirror.example.org").splitlines() == [
        'server = "https://mirror.example.org"',
        'capabilities = ["pull", "resolve"]',
        '[host."http://127.0.0.1:5000"]',
        'capabilities = ["pull", "resolve"]',
    ]


def test_without_a_mirror_the_images_own_registry_is_asked():
    assert "server" not in registry.hosts_before()


def test_by_default_nobody_else_is_asked():
    assert registry.hosts().splitlines()[0] == 'server = "http://127.0.0.1:5000"'


@pytest.mark.parametrize(
    "given", ["docker.io", "docker.io=mirror", "=http://a", "../a=http://b", "a=ftp://b"]
)
def test_a_mirror_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch, given: str):
    monkeypatch.setenv(upstream.VARIABLE, given)
    with pytest.raises(EngineError, match=f"{upstream.VARIABLE}: "):
        upstream.mirrors()


def test_only_who_answers_as_a_registry_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    answers = registry.Registry(lambda _: None, tmp_path)
    (nobody,) = ports(1)
    monkeypatch.setenv(
        upstream.VARIABLE,
        f"a.example=http://127.0.0.1:{answers.start(0)} b.example=http://127.0.0.1:{nobody}",
    )
    try:
        assert upstream.answering(["b.example"]) == ["a.example"]
    finally:
        answers.stop()


def test_only_the_nodes_programs_may_ask_for_names_elsewhere():
    _, pods, node = names.corefile(Path("/kubeconfig"), "10.0.2.3", pods=False).split("\n. {")
    assert "bind 10.1.0.1\n" in pods
    assert "NXDOMAIN" in pods
    assert f"bind {names.OWN}\n" in node
    assert "forward . 10.0.2.3" in node


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """A network of its own with a registry that has an image; what runs a command in it."""
    find(IMAGE)  # made here: there is no archive in that network
    with other_network(SERVERS, tmp_path_factory.mktemp("served")) as within:
        yield within


@pytest.fixture(scope="module")
def leading_on(
    programs: NodePrograms,
    way_out: None,
    host: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cluster]:
    """A cluster whose other images come from that registry; its pods have no way out."""
    mirror = f"{upstream.VARIABLE}=registry.example.org=http://{OUTSIDE}:5000"
    found = Cluster(
        programs, tmp_path_factory.mktemp("state"), "--images-from=upstream",
        within=[*host, "env", mirror],
    )  # fmt: skip
    try:
        wait_until(lambda: "default" in found.kubectl("get", "serviceaccounts", "-oname"), 30)
        yield found
    finally:
        assert found.end(signal.SIGTERM) == 0


pytestmark_cluster = [
    pytest.mark.localkube,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]


class TestACluster:
    """What is seen of it in a cluster."""

    pytestmark = pytestmark_cluster

    def test_an_image_of_elsewhere_runs(self, leading_on: Cluster):
        leading_on.run(pod("elsewhere", container={"image": ELSEWHERE}))
        assert leading_on.shell("elsewhere", "cat /words/hello") == "hello\n"

    def test_the_clusters_own_images_stay_its_own(self, leading_on: Cluster):
        asked = pod("own")
        asked["spec"]["containers"] = [{"name": "main", "image": TWO_LAYERS[0]}]
        leading_on.run(asked)
        assert leading_on.kubectl("logs", "own") == "hello\n1234 0 word\n"

    @pytest.mark.parametrize(
        ("image", "why"),
        [
            ("registry.example.org/team/nowhere:1", "not found"),
            # Without a mirror the image's own registry is asked, by HTTPS, as this one is not.
            (f"{OUTSIDE}:5000/team/nowhere:1", f'Head "https://{OUTSIDE}:5000/v2/'),
            # Its name is looked up by way of the host, which has no name server here.
            ("registry.example.net/team/nowhere:1", f"lookup registry.example.net on {names.OWN}"),
        ],
    )
    def test_an_image_that_cannot_be_had_says_why(self, leading_on: Cluster, image: str, why: str):
        leading_on.create(pod("nowhere", container={"image": image}))
        events = ("get", "events", "--field-selector=reason=Failed")
        wait_until(lambda: why in leading_on.kubectl(*events), 90)
        leading_on.kubectl("delete", "pod/nowhere", "--timeout=60s")

    def test_a_pod_reaches_nothing_outside(self, leading_on: Cluster):
        leading_on.run(pod("inside"))
        asked = f"wget -qO- -T 3 http://{OUTSIDE}:8080/hello || echo refused"
        assert leading_on.shell("inside", asked).strip() == "refused"


@pytest.mark.localkube
def test_by_default_such_an_image_does_not_come(cluster: Cluster):
    cluster.create(pod("absent", container={"image": ELSEWHERE}))
    wait_until(
        lambda: "not found" in cluster.kubectl("get", "events", "--field-selector=reason=Failed"),
        60,
    )
    cluster.kubectl("delete", "pod/absent", "--timeout=60s")
