"""Services: who answers, and whom the server sees."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from localkube.controlplane.plane import NODE_IP
from localkube.tests.clusters import Cluster, pod, wait_until

pytestmark = [
    pytest.mark.localkube,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]

_SEEN = {"app": "seen"}
# The server tells each client its address, as it sees it.
_SERVING = """
    mkdir -p /www/cgi-bin
    printf '#!/bin/sh\\necho; echo $REMOTE_ADDR\\n' >/www/cgi-bin/client
    busybox chmod +x /www/cgi-bin/client
    exec httpd -f -p 0.0.0.0:8080 -h /www
"""


def _service(name: str, selector: dict[str, str], **spec: Any) -> dict[str, Any]:
    ports = [{"port": 80, "targetPort": 8080}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": selector, "ports": ports, **spec},
    }


@pytest.fixture(scope="module")
def seen(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster with a server behind Services, a Service without one, and a client."""
    cluster.create(
        _service("seen", _SEEN), _service("port", _SEEN, type="NodePort"),
        _service("empty", {"app": "nobody"}),
    )  # fmt: skip
    cluster.run(pod("seen", _SERVING, _SEEN), pod("client"))
    yield cluster
    cluster.kubectl(
        "delete", "pod/seen", "pod/client", "service/seen", "service/port", "service/empty",
        "--timeout=60s",
    )  # fmt: skip


def _field(cluster: Cluster, kind: str, name: str, field: str) -> str:
    return cluster.kubectl("get", kind, name, f"-ojsonpath={{{field}}}")


def _asks(cluster: Cluster, asker: str, address: str, port: str = "80") -> str:
    """The last line of what the server, or the asking program, says."""
    ask = "printf 'GET /cgi-bin/client HTTP/1.0\\r\\n\\r\\n'"
    said = cluster.shell(asker, f"{ask} | nc -w 2 {address} {port} 2>&1 || true")
    return said.strip().rpartition("\n")[2]


def test_a_client_s_address_is_kept(seen: Cluster):
    service = _field(seen, "service", "seen", ".spec.clusterIP")
    client = _field(seen, "pod", "client", ".status.podIP")
    wait_until(lambda: _asks(seen, "client", service) == client, 30)


def test_a_pod_reaches_itself_through_its_service(seen: Cluster):
    service = _field(seen, "service", "seen", ".spec.clusterIP")
    wait_until(lambda: _asks(seen, "seen", service).startswith("10.1."), 30)


def test_a_node_port_answers_at_the_node(seen: Cluster):
    port = _field(seen, "service", "port", ".spec.ports[0].nodePort")
    wait_until(lambda: _asks(seen, "client", NODE_IP, port).startswith("10.1."), 30)


def test_a_service_without_a_pod_refuses(seen: Cluster):
    service = _field(seen, "service", "empty", ".spec.clusterIP")
    wait_until(lambda: "Connection refused" in _asks(seen, "client", service), 30)
