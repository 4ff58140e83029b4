"""Attacks on the fence: a pod of Ann's calls a service of Bob's."""

from __future__ import annotations

from pathlib import Path

import pytest
from callers import (  # pyright: ignore[reportMissingImports]
    ANN,
    BOB,
    DOOR,
    LATER,
    NOBODY,
    NODE,
    Fence,
    Pods,
    deciding,
    pod,
    real,
)

from charms.small_servers import ask

HOSTS = ["m.bob", "m.bob.svc", "m.bob.svc.cluster.local", "m.bob:80",
         "m.bob.svc.cluster.local:8080", "M.BOB", "m.Bob.Svc.Cluster.Local",
         "blue-m.bob.svc.cluster.local"]  # fmt: skip
FORGED = [
    *(f"{name}: {BOB}" for name in (
        "X-Forwarded-For", "X-Real-IP", "True-Client-IP", "X-Client-IP", "X-Kourier-Peer",
        "x-kourier-peer", "X_Kourier_Peer", "X-Envoy-External-Address",
        "X-Envoy-Original-Dst-Host", "X-Envoy-Downstream-Remote-Address",
    )),
    f"X-Forwarded-For: {BOB}, {BOB}",
    f"X-Forwarded-For: {BOB}\nX-Forwarded-For: {BOB}",
    f"X-Kourier-Peer: {BOB}\nX-Kourier-Peer: {BOB}",
    f"X-Kourier-Peer: {DOOR}",
    f"Connection: X-Kourier-Peer\nX-Kourier-Peer: {BOB}",
    f"Forwarded: for={BOB}",
    "X-Forwarded-Host: m.ann",
    "X-Original-Host: m.ann",
    "K-Original-Host: m.ann",
    "K-Network-Probe: probe",
    "X-Envoy-Internal: true",
    "X-Envoy-Original-Path: /healthz",
    "User-Agent: kube-probe/1",
    "Authorization: Bearer anything",
    "X-Gateway-Namespace: bob",
]  # fmt: skip
METHODS = ["HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
# HTTP/1.1 as it is sent; those that name a host twice reach nobody on the listener itself, either
WRITTEN = {
    "the service's URL": "GET http://m.bob/ HTTP/1.1\nHost: m.bob\n\n",
    "her own host beside the service's URL": "GET http://m.bob/ HTTP/1.1\nHost: m.ann\n\n",
    "the path of the health check": "GET /healthz HTTP/1.1\nHost: m.bob\n\n",
    "a path that leads out": "GET /../healthz HTTP/1.1\nHost: m.bob\n\n",
    "a path with an empty part": "GET //healthz HTTP/1.1\nHost: m.bob\n\n",
    "a query": "GET /?host=m.ann HTTP/1.1\nHost: m.bob\n\n",
    "a body": "POST / HTTP/1.1\nHost: m.bob\nContent-Length: 2\n\nhi",
    "a long URL": f"GET /{'a' * 50_000} HTTP/1.1\nHost: m.bob\n\n",
}
TWICE = {
    "two hosts": "GET / HTTP/1.1\nHost: m.ann\nHost: m.bob\n\n",
    "two hosts, the other first": "GET / HTTP/1.1\nHost: m.bob\nHost: m.ann\n\n",
    "two hosts in a line": "GET / HTTP/1.1\nHost: m.ann, m.bob\n\n",
    "a space before the colon": "GET / HTTP/1.1\nHost: m.ann\nHost : m.bob\n\n",
    "a line that goes on": "GET / HTTP/1.1\nHost: m.ann\n m.bob\n\n",
    "an account before the host": "GET / HTTP/1.1\nHost: m.ann@m.bob\n\n",
    "an account in the URL": "GET http://m.ann@m.bob/ HTTP/1.1\nHost: m.ann\n\n",
    "a tunnel": "CONNECT m.bob:80 HTTP/1.1\nHost: m.bob:80\n\n",
    "no host": "GET / HTTP/1.1\n\n",
    "an empty host": "GET / HTTP/1.1\nHost:\n\n",
}


def is_refused(fence: Fence, answer) -> None:
    assert answer.status in (400, 403, 404)
    assert answer.service == ""
    assert not [each for each in fence.asked if "bob" in each]


# who passes


@pytest.mark.parametrize("host", HOSTS)
def test_a_pod_calls_the_services_of_its_own_namespace(fence: Fence, host: str):
    answer = fence.get(host, BOB)
    assert answer.status == 200
    assert answer.service.endswith("m.bob")


@pytest.mark.parametrize("host", HOSTS)
def test_the_gateway_calls_services_of_the_namespace_that_it_asked_for(fence: Fence, host: str):
    assert fence.get(host, DOOR, "X-Gateway-Namespace: bob").status == 200


def test_the_host_goes_on_as_it_came(fence: Fence):
    fence.get("m.Bob.svc:8080", BOB)
    assert fence.asked == ["GET m.Bob.svc:8080"]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_passes(fence: Fence, method: str):
    text = f"{method} / HTTP/1.1\nHost: m.bob\nContent-Length: 2\nConnection: close\n\nhi"
    assert fence.send(text, BOB).status == 200
    assert fence.asked[0] == f"{method} m.bob"


def test_grpc_passes(fence: Fence):
    answer = fence.call("g.ann")
    assert (answer.status, answer.headers["grpc-status"]) == (200, "0")
    assert answer.content == b"\0\0\0\0\1x"


def test_a_websocket_passes(fence: Fence):
    assert fence.upgrade("m.ann") == b"ping!"


def test_the_service_is_told_the_caller_s_own_address_last(fence: Fence):
    answer = fence.get("m.ann", ANN, f"X-Forwarded-For: {BOB}")
    assert answer.forwarded.split(",")[-1].strip() == ANN


# who does not; on the listener behind the fence each attack succeeds


@pytest.mark.parametrize("host", HOSTS)
def test_a_pod_calls_no_service_of_another_namespace(fence: Fence, host: str):
    answer = fence.get(host)
    is_refused(fence, answer)
    assert answer.content == b"pods of ann may not call services of bob"
    assert fence.get(host, off=True).service.endswith("m.bob")


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ("X-Gateway-Namespace: ann",),
        ("X-Gateway-Namespace:",),
        ("X-Gateway-Namespace: ann", "X-Gateway-Namespace: bob"),
        ("X-Gateway-Namespace: ann,bob",),
        ("X-Gateway-Namespace: bob.",),
        ("X_Gateway_Namespace: bob",),
    ],
)
def test_a_gateway_that_is_led_astray_calls_no_service(fence: Fence, headers: tuple[str, ...]):
    """By the name of Ann's Knative Service, which leads here, with the Host of Bob's."""
    answer = fence.get("m.bob", DOOR, *headers)
    is_refused(fence, answer)
    assert answer.content == b"the gateway has not asked for rights in bob"
    assert fence.get("m.bob", DOOR, *headers, off=True).service == "m.bob"


@pytest.mark.parametrize("header", FORGED)
def test_no_header_helps(fence: Fence, header: str):
    is_refused(fence, fence.get("m.bob", ANN, header))
    assert fence.get("m.bob", ANN, header, off=True).service == "m.bob"


@pytest.mark.parametrize("method", METHODS)
def test_no_method_helps(fence: Fence, method: str):
    text = f"{method} / HTTP/1.1\nHost: m.bob\nContent-Length: 2\nConnection: close\n\nhi"
    is_refused(fence, fence.send(text))
    assert fence.send(text, off=True).service == "m.bob"


@pytest.mark.parametrize("name", WRITTEN)
def test_no_way_to_write_it_helps(fence: Fence, name: str):
    is_refused(fence, fence.send(WRITTEN[name]))
    assert fence.send(WRITTEN[name], off=True).service == "m.bob"


@pytest.mark.parametrize("name", TWICE)
def test_a_host_that_can_be_read_in_two_ways_reaches_nobody(fence: Fence, name: str):
    is_refused(fence, fence.send(TWICE[name]))


@pytest.mark.parametrize(
    "host",
    ["m.ann.bob", "m.ann.m.bob", "m.bob.", "m.bob.svc.cluster.local.", "m.ann.svc.m.bob", ".bob",
     "m..bob", "bob", "m.bob.ann.svc", "m.bob:x", "m.bob:80:80", "127.0.0.1", "[::1]",
     "m.bob%2eann", "m.bob/m.ann", "m.bob#.ann", "m.ann\tm.bob", "internalkourier"],
)  # fmt: skip
def test_a_host_of_another_form_reaches_nobody(fence: Fence, host: str):
    is_refused(fence, fence.get(host))


def test_a_second_request_on_her_connection_is_asked_about_too(fence: Fence):
    text = "GET / HTTP/1.1\r\nHost: {}\r\n\r\n"
    with fence.connect(ANN) as connection:
        for host, status in (("m.ann", b"200"), ("m.bob", b"403"), ("m.ann", b"200")):
            connection.sendall(text.format(host).encode())
            answer = connection.recv(65536)
            assert answer.split()[1] == status
    assert fence.asked == ["GET m.ann", "GET m.ann"]


def test_a_request_in_another_s_body_reaches_nobody(fence: Fence):
    inner = "GET / HTTP/1.1\nHost: m.bob\n\n"
    for lengths in (
        f"Content-Length: 3\nTransfer-Encoding: chunked\n\n0\n\n{inner}",
        f"Transfer-Encoding: chunked\nTransfer-Encoding: identity\n\n0\n\n{inner}",
        f"Content-Length: 0\nContent-Length: 40\n\n{inner}",
        f"Content-Length: 0\n\n{inner}",
    ):
        fence.send(f"POST / HTTP/1.1\nHost: m.ann\n{lengths}")
    # the last one is a second request, plainly: it is asked about
    assert not [each for each in fence.asked if "bob" in each]


def test_grpc_is_refused_as_grpc_is(fence: Fence):
    answer = fence.call("g.bob")
    assert (answer.status, answer.headers["grpc-status"]) == (200, "7")
    assert answer.service == ""
    assert fence.call("g.bob", off=True).service == "g.bob"


def test_a_websocket_is_refused(fence: Fence):
    assert fence.upgrade("m.bob") == b""
    assert fence.upgrade("m.bob", off=True) == b"ping!"


@pytest.mark.parametrize(
    "headers",
    [
        ((":authority", "m.bob"), (":path", "/")),
        ((":authority", "m.bob"), (":path", "/"), ("host", "m.ann")),
        ((":path", "/"), ("host", "m.bob")),
        ((":authority", "m.bob"), (":path", "/"), ("x-kourier-peer", BOB)),
        ((":authority", "m.bob"), (":path", "/"), ("x-forwarded-for", BOB)),
        ((":authority", "m.ann"), (":path", "/"), ("host", "m.bob")),
        ((":authority", "m.ann"), (":authority", "m.bob"), (":path", "/")),
        ((":authority", "m.bob"), (":path", "healthz")),
        ((":authority", "m.bob"), (":path", "/ HTTP/1.1\r\nHost: m.ann\r\n\r\n")),
        ((":authority", "m.bob"), (":path", "/ HTTP/1.1")),
        ((":authority", "m.bob\r\nx-kourier-peer: " + BOB), (":path", "/")),
        ((":authority", "m.bob"), (":path", "/"), ("X-Kourier-Peer", BOB)),
    ],
)
def test_http_2_reaches_no_more(fence: Fence, headers):
    answer = fence.send_h2((":method", "GET"), *headers)
    assert answer.service in ("", "m.ann")
    assert not [each for each in fence.asked if "bob" in each]


# whose an address is


def test_an_address_of_no_pod_is_refused_until_the_pod_is_known(fence: Fence):
    assert fence.get("m.bob", NOBODY).content == b"the caller's address is of no pod that is known"
    fence.pods.there(pod("bob", "new", NOBODY))
    assert fence.get("m.bob", NOBODY).status == 200


def test_a_node_s_address_is_nobody_s(fence: Fence):
    for host in ("m.ann", "m.bob"):
        assert fence.get(host, NODE).status == 403
    fence.pods.there(pod("bob", "beside", NODE))
    assert fence.get("m.bob", NODE).status == 403


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_has_ended_has_no_address(fence: Fence, phase: str):
    fence.pods.there(pod("bob", "before", LATER, phase=phase))
    assert fence.get("m.bob", LATER).status == 403
    fence.pods.there(pod("ann", "after", LATER))
    assert fence.get("m.ann", LATER).status == 200
    assert fence.get("m.bob", LATER).status == 403


def test_an_address_of_pods_in_two_namespaces_is_nobody_s(fence: Fence):
    fence.pods.there(pod("ann", "one", LATER), pod("bob", "two", LATER))
    for host in ("m.ann", "m.bob"):
        assert fence.get(host, LATER).status == 403


def test_two_pods_of_one_namespace_pass(fence: Fence):
    fence.pods.there(pod("ann", "one", LATER), pod("ann", "two", LATER, phase="Pending"))
    assert fence.get("m.ann", LATER).status == 200


@pytest.mark.parametrize(
    "other",
    [
        pod("shop", "web-0", LATER, label="web", account="web"),
        pod("shop", "kourier-0", LATER, label="kourier", account="kourier"),
        pod("ann", "door-0", LATER, label="door", account="door"),
        pod("shop", "web-0", LATER, label="door", account="web"),
        pod("shop", "door-1", LATER, label="door", account="web"),
        pod("shop", "web-0", LATER, label="door", account="door"),
        pod("shop", "door-1", LATER, account="door"),
        pod("shop", "door-x", LATER, label="door", account="door"),
        pod("shop", "door-1", LATER, label="", account=""),
    ],
    ids=[
        "another application", "kourier itself", "in a tenant's namespace",
        "its own label changed", "another account", "another name", "no label",
        "no unit's name", "an empty label",
    ],
)  # fmt: skip
def test_who_only_looks_like_the_gateway_is_not(fence: Fence, other: dict):
    fence.pods.there(other)
    assert fence.get("m.bob", LATER).status == 403


# what fails


def test_while_kubernetes_does_not_answer_nothing_passes(fence: Fence):
    fence.pods.down = True
    for source, host in ((ANN, "m.ann"), (DOOR, "m.bob"), (ANN, "m.bob")):
        answer = fence.get(host, source)
        assert (answer.status, answer.service) == (503, "")
    fence.pods.down = False
    assert fence.get("m.ann").status == 200


def test_without_the_authorizer_nothing_passes(tmp_path: Path):
    with real(tmp_path) as fence:
        fence.stop()
        answer = fence.get("m.ann")
        assert (answer.status, answer.service) == (503, "")


def test_a_cluster_of_one_team_lets_every_pod_call_every_service(tmp_path: Path):
    with real(tmp_path, open=True) as fence:
        assert fence.get("m.bob").service == "m.bob"
        assert fence.get("m.bob", NOBODY).service == "m.bob"
        assert fence.pods.calls == []


# how often Kubernetes is asked


def test_whose_an_address_is_is_kept_for_a_while_and_a_refusal_is_not(tmp_path: Path):
    pods = Pods()
    pods.there(pod("ann", "work-0", ANN))
    with deciding(pods, tmp_path, ttl=60) as (port, _):
        for _ in range(3):
            assert ask(port, "/check/", {"host": "m.ann", "x-kourier-peer": ANN}) == 200
            assert ask(port, "/check/", {"host": "m.bob", "x-kourier-peer": ANN}) == 403
        assert len(pods.calls) == 1
        for _ in range(3):
            assert ask(port, "/check/", {"host": "m.ann", "x-kourier-peer": NOBODY}) == 403
        assert len(pods.calls) == 4


@pytest.mark.parametrize("address", ["", "ann", "127.0.1.1,status.phase=Running", "127.0.1.1&a=b"])
def test_what_is_no_address_asks_nobody(tmp_path: Path, address: str):
    pods = Pods()
    with deciding(pods, tmp_path) as (port, _):
        assert ask(port, "/check/", {"host": "m.ann", "x-kourier-peer": address}) == 403
    assert pods.calls == []
