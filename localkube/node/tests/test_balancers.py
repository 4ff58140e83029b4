"""Services of type LoadBalancer: each has an address of its own, and answers on it."""

from __future__ import annotations

import ipaddress
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from localkube.node.network import BALANCERS
from localkube.node.programs import NodePrograms
from localkube.tests.clusters import Cluster, pod, wait_until, with_a_pod

pytestmark = [
    pytest.mark.localkube,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]

_WEB = {"app": "balanced"}


def _service(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {
            "type": "LoadBalancer",
            "selector": _WEB,
            "ports": [{"port": 80, "targetPort": 8080}],
            **spec,
        },
    }


def _address(cluster: Cluster, name: str) -> str:
    path = "-ojsonpath={.status.loadBalancer.ingress[*].ip}"
    return cluster.kubectl("get", "service", name, path)


def _answer(cluster: Cluster, address: str) -> str:
    ask = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 2 {address} 80 || echo nothing"
    return cluster.shell("one", ask).split()[-1]


def test_each_has_an_address_of_its_own_that_answers_and_is_kept_over_a_restart(
    programs: NodePrograms, state: Path
):
    cluster = with_a_pod(programs, state)
    serving = "mkdir /www; echo web >/www/index.html; exec httpd -f -p 8080 -h /www"
    cluster.run(pod("balanced", serving, _WEB))
    cluster.create(
        _service("first"), _service("second"), _service("foreign", loadBalancerClass="some.org/x")
    )
    wait_until(lambda: all(_address(cluster, name) for name in ("first", "second")), 30)
    first, second = _address(cluster, "first"), _address(cluster, "second")
    assert first != second
    for address in (first, second):
        assert ipaddress.ip_address(address) in BALANCERS
        wait_until(lambda address=address: _answer(cluster, address) == "web", 30)
    assert _address(cluster, "foreign") == ""
    cluster.kubectl("delete", "service/first", "--timeout=60s")
    assert cluster.end(signal.SIGTERM) == 0
    again = Cluster(programs, state)
    try:
        again.create(_service("third"))
        wait_until(lambda: _address(again, "third") not in ("", second), 30)
        assert _address(again, "second") == second
        again.kubectl("wait", "--for=condition=Ready", "pod/balanced", "pod/one", "--timeout=60s")
        wait_until(lambda: _answer(again, second) == "web", 30)
        again.kubectl("patch", "service", "second", '--patch={"spec": {"type": "ClusterIP"}}')
        wait_until(lambda: _address(again, "second") == "", 30)
    finally:
        assert again.end(signal.SIGTERM) == 0
