"""Whom pods find by name, and whom a NetworkPolicy lets them reach."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest

from localkube.tests.clusters import Cluster, pod, wait_until

pytestmark = [
    pytest.mark.localkube,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]

WEB = {"app": "web"}
FRIEND = {"app": "friend"}
_SECONDS = 10.0


@pytest.fixture(scope="module")
def served(cluster: Cluster) -> Cluster:
    """The cluster with a server behind the Service `web`, a `friend` and a `stranger`."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"selector": WEB, "ports": [{"port": 80, "targetPort": 8080}]},
    }
    headless = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "direct"},
        "spec": {"selector": WEB, "ports": [{"port": 8080}], "clusterIP": "None"},
    }
    cluster.create(service, headless)
    serving = "mkdir /www; echo web >/www/index.html; exec httpd -f -p 8080 -h /www"
    cluster.run(pod("web", serving, WEB), pod("friend", labels=FRIEND), pod("stranger"))
    return cluster


# Debian's static busybox has no resolver of libc's: what asks for a name is nslookup.
def _asks(cluster: Cluster, asker: str) -> str:
    """What the server says to a pod; `nothing` when it may not be reached."""
    ask = "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 2 $(" + _LOOK_UP + ") 80 || echo nothing"
    return cluster.shell(asker, ask.format("web.default.svc.cluster.local")).split()[-1]


_LOOK_UP = "nslookup -type=a {} | sed -n '/^Name:/,$s/^Address: //p'"


def _look_up(cluster: Cluster, name: str) -> list[str]:
    return cluster.shell("stranger", _LOOK_UP.format(name)).split()


def _address(cluster: Cluster, kind: str, name: str, field: str) -> str:
    return cluster.kubectl("get", kind, name, f"-ojsonpath={{{field}}}")


def test_a_pod_is_told_of_the_name_server_and_where_to_search(served: Cluster):
    assert served.shell("friend", "cat /etc/resolv.conf").splitlines() == [
        "search default.svc.cluster.local svc.cluster.local cluster.local",
        "nameserver 10.152.183.10",
        "options ndots:5",
    ]


def test_services_have_names(served: Cluster):
    service = _address(served, "service", "web", ".spec.clusterIP")
    pod_ = _address(served, "pod", "web", ".status.podIP")
    assert _look_up(served, "web.default.svc.cluster.local") == [service]
    wait_until(lambda: _look_up(served, "direct.default.svc.cluster.local") == [pod_], 10)
    assert _look_up(served, "kubernetes.default.svc.cluster.local") == ["10.152.183.1"]


def test_a_name_of_elsewhere_does_not_exist_and_nobody_waits_for_it(served: Cluster):
    began = time.monotonic()
    said = served.shell("friend", "nslookup example.org 2>&1 || true")
    assert "NXDOMAIN" in said
    assert time.monotonic() - began < 5


def test_the_name_server_comes_back_when_it_is_killed(served: Cluster):
    first = served.pid("coredns")
    assert first is not None
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: served.pid("coredns") not in (first, None), 30)
    wait_until(lambda: _look_up(served, "kubernetes.default.svc.cluster.local") != [], 30)


def _policy(name: str, selected: dict[str, str], **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name},
        "spec": {"podSelector": {"matchLabels": selected}, **spec},
    }


def test_a_policy_refuses_and_allows_within_seconds(served: Cluster):
    wait_until(lambda: _asks(served, "stranger") == "web", 30)
    allowed = [{"from": [{"podSelector": {"matchLabels": FRIEND}}]}]
    served.create(_policy("friends", WEB, ingress=allowed))
    wait_until(lambda: _asks(served, "stranger") == "nothing", _SECONDS)
    assert _asks(served, "friend") == "web"
    served.kubectl("delete", "networkpolicy", "friends")
    wait_until(lambda: _asks(served, "stranger") == "web", _SECONDS)


def test_a_policy_lets_a_pod_ask_for_names_and_nothing_else(served: Cluster):
    names = [{"ports": [{"protocol": kind, "port": 53} for kind in ("UDP", "TCP")]}]
    served.create(_policy("names", FRIEND, policyTypes=["Egress"], egress=names))
    wait_until(lambda: _asks(served, "friend") == "nothing", _SECONDS)
    assert "10.152.183.1" in served.shell(
        "friend", "nslookup kubernetes.default.svc.cluster.local"
    )
    assert _asks(served, "stranger") == "web"
    served.kubectl("delete", "networkpolicy", "names")
    wait_until(lambda: _asks(served, "friend") == "web", _SECONDS)
