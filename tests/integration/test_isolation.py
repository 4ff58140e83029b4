"""Attacks from a tenant's pod, past the gateway, and on the gateway's own connections.

The NetworkPolicies are those that follow from the relations. The last test switches them off, and
what was refused succeeds.
"""

from __future__ import annotations

import socket
import ssl
import urllib.parse
from collections.abc import Iterator

import httpx2
import jubilant
import pytest
import yaml
from browsers import PORT, namespace_of
from intruders import Pod, pod
from pages import notebook_state, spawn, wait_for
from people import Accounts
from reach import CommandError, Reach

CLOSED = [
    ("mlflow", 5000), ("mariadb", 3306), ("jupyter-ui", 5000), ("volumes-ui", 5000),
    ("tensorboards-ui", 5000), ("models-ui", 5000), ("dashboard", 8082), ("profiles", 8081),
    ("profiles", 8080), ("dex", 5556), ("dex", 5558), ("oauth2-proxy", 4180),
    ("oauth2-proxy", 44180), ("notebook-controller", 8080), ("gateway", 2020),
]  # fmt: skip
OPEN = [("gateway", 8443), ("object-store", 7070), ("admission-webhook", 4443)]


@pytest.fixture(scope="module")
def intruder(reach: Reach, other: str) -> Iterator[Pod]:
    """Bob's pod."""
    with pod(reach, other) as made:
        yield made


@pytest.fixture(scope="module")
def lab(ann: httpx2.Client, team: str) -> str:
    """The host of Ann's notebook, which runs."""
    answer = spawn(ann, team, "lab")
    assert answer.status_code == 200, answer.text
    wait_for(lambda: notebook_state(ann, team, "lab")["phase"] == "ready")
    wait_for(lambda: ann.get(f"/notebook/{team}/lab/api").status_code == 200)
    return f"lab.{team}.svc.cluster.local"


def hosts(stack: jubilant.Juju, targets: list[tuple[str, int]]) -> list[tuple[str, int]]:
    model = namespace_of(stack)
    return [(f"{name}.{model}.svc.cluster.local", port) for name, port in targets]


def test_a_tenant_s_pod_reaches_what_is_for_tenants_only(stack: jubilant.Juju, intruder: Pod):
    opened = hosts(stack, OPEN)
    assert intruder.reachable(*opened, *hosts(stack, CLOSED)) == set(opened)


def test_a_pod_of_the_model_that_is_no_client_reaches_nothing_more(
    stack: jubilant.Juju, reach: Reach
):
    with pod(reach, namespace_of(stack)) as stranger:
        opened = hosts(stack, OPEN)
        assert stranger.reachable(*opened, *hosts(stack, CLOSED)) == set(opened)


def test_another_tenant_s_notebook_is_closed_and_one_s_own_open(
    reach: Reach, team: str, lab: str, intruder: Pod
):
    assert intruder.reachable((lab, 80)) == set()
    with pod(reach, team) as friend:
        assert friend.reachable((lab, 80)) == {(lab, 80)}


def test_whatever_else_a_tenant_runs_is_closed_to_others(reach: Reach, team: str, intruder: Pod):
    serve = ["/usr/local/bin/python3", "-m", "http.server", "8000"]
    with pod(reach, team, "friend") as friend, pod(reach, team, "server", run=serve) as server:
        target = (server.address(), 8000)
        wait_for(lambda: friend.reachable(target) == {target})
        assert intruder.reachable(target) == set()


def test_a_websocket_to_another_s_notebook_is_refused(
    bob: httpx2.Client, ann: httpx2.Client, team: str, lab: str
):
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    path = f"/notebook/{team}/lab/api/kernels/x/channels"
    assert bob.get(path, headers=upgrade).status_code == 403
    assert ann.get(path, headers=upgrade).status_code == 404  # no such kernel, says JupyterLab


def test_a_service_of_one_s_own_does_not_lead_the_gateway_to_another_s_notebook(
    reach: Reach, bob: httpx2.Client, team: str, other: str, lab: str
):
    """It would: an administrator may make one, and then Bob reads what Ann's JupyterLab says."""
    name = {"name": "evil-predictor", "namespace": other}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": name,
        "spec": {"type": "ExternalName", "externalName": lab, "ports": [{"port": 80}]},
    }
    make = ("-n", other, "apply", "-f", "-")
    who = f"--as=system:serviceaccount:{other}:default-editor"
    with pytest.raises(CommandError) as error:
        reach.kubectl(*make, who, stdin=yaml.safe_dump(service))
    assert "no ExternalName" in error.value.stderr
    own = {**service, "spec": {"selector": {"app": "own"}, "ports": [{"port": 80}]}}
    reach.kubectl(*make, who, stdin=yaml.safe_dump(own))
    with pytest.raises(CommandError) as error:
        reach.kubectl(*make, who, stdin=yaml.safe_dump(service))
    assert "no ExternalName" in error.value.stderr
    reach.kubectl("-n", other, "delete", "service/evil-predictor")
    reach.kubectl(*make, stdin=yaml.safe_dump(service))
    try:
        wait_for(
            lambda: '"version"' in bob.get(f"/serving/{other}/evil/notebook/{team}/lab/api").text
        )
    finally:
        reach.kubectl("-n", other, "delete", "service/evil-predictor")


@pytest.mark.parametrize(
    "framing",
    [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: \x0bchunked",
        "Content-Length: 5\r\nContent-Length: 6",
    ],
)
def test_a_request_inside_another_s_body_is_no_way_round_the_rights(
    stack: jubilant.Juju, reach: Reach, bob: httpx2.Client, team: str, lab: str, framing: str
):
    shown = stack.run("gateway/0", "get-ca").results
    place = urllib.parse.urlsplit(shown["url"])
    cookie = "; ".join(f"{each.name}={each.value}" for each in bob.cookies.jar)
    own = f"Host: {place.netloc}\r\nCookie: {cookie}\r\n"
    hidden = f"GET /notebook/{team}/lab/api HTTP/1.1\r\n{own}Connection: close\r\n\r\n"
    text = f"POST /jupyter/ HTTP/1.1\r\n{own}{framing}\r\n\r\n0\r\n\r\n{hidden}"
    context = ssl.create_default_context(cadata=shown["ca"])
    with reach.forward(namespace_of(stack), "gateway", PORT) as url:
        local = urllib.parse.urlsplit(url)
        with (
            socket.create_connection((local.hostname or "", local.port or 0), timeout=60) as plain,
            context.wrap_socket(plain, server_hostname=place.hostname) as connection,
        ):
            connection.sendall(text.encode("latin-1"))
            said = b"".join(iter(lambda: _read(connection), b"")).decode(errors="replace")
    assert said.startswith("HTTP/1.1 ")
    assert '"version"' not in said
    statuses = [line.split()[1] for line in said.splitlines() if line.startswith("HTTP/1.1 ")]
    assert "200" not in statuses[1:], said


def _read(connection: ssl.SSLSocket) -> bytes:
    try:
        return connection.recv(65536)
    except (ConnectionResetError, ssl.SSLEOFError):
        return b""


def test_with_the_policies_off_every_attack_succeeds(
    stack: jubilant.Juju, team: str, lab: str, accounts: Accounts, intruder: Pod
):
    every = hosts(stack, [*OPEN, *CLOSED])
    model = namespace_of(stack)
    forged = f"http://jupyter-ui.{model}.svc.cluster.local:5000/api/namespaces/{team}/notebooks"
    assert intruder.ask(forged, kubeflow_userid=accounts.ann.email)[0] == 0
    stack.config("resource-broker", {"network-policies": "false"})
    try:
        wait_for(lambda: intruder.reachable(*every) == set(every))
        status, text = intruder.ask(forged, kubeflow_userid=accounts.ann.email)
        assert status == 200
        assert '"lab"' in text  # whoever sets the header is Ann
    finally:
        stack.cli("config", "resource-broker", "--reset", "network-policies")
    wait_for(lambda: intruder.reachable(*every) == set(hosts(stack, OPEN)))
