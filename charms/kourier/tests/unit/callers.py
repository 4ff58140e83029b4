"""The fence as it is: Envoy with what the charm renders, and the authorizer.

Kubernetes is a double that knows pods. The listener behind the fence, which net-kourier's
controller would make, is written here as that makes it: a virtual host for each name of a service,
with and without a port (net-kourier v0.48.0, pkg/generator/ingress_translator.go). Pods are told
apart by addresses of the loopback. Skipped where Envoy's image is not built: ./mlops up builds it.
"""

from __future__ import annotations

import contextlib
import importlib
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection

from charmed_mlops.testing import loaded
from charms import grpc_double
from charms.kubernetes_double import Api, served
from charms.small_servers import http_server, reply, serving
from localkube.host import paths
from localkube.tests.ports import ports

CHARM = Path(__file__).parents[2]
START_SECONDS = 30
ANN, BOB, DOOR, NODE = "127.0.1.1", "127.0.2.1", "127.0.3.1", "127.0.4.1"
NOBODY, LATER = "127.0.5.1", "127.0.6.1"
SERVICES = ("m.ann", "m.bob", "blue-m.bob", "g.ann", "g.bob")
"""`g` speaks gRPC."""


def pod(namespace: str, name: str, address: str, **more: Any) -> dict:
    """A pod that runs: `label`, `account` and `phase`, or `node` for the address of its node."""
    labels = {"app.kubernetes.io/name": more["label"]} if "label" in more else {}
    spec = {"serviceAccountName": more.get("account", "default")}
    return {
        "metadata": {"namespace": namespace, "name": name, "labels": labels},
        "spec": {**spec, **({"hostNetwork": True} if more.get("node") else {})},
        "status": {"podIP": address, "phase": more.get("phase", "Running")},
    }


class Pods(Api):
    """Pods; `down` makes Kubernetes fail."""

    def __init__(self) -> None:
        super().__init__()
        self.down = False

    def answer(self, method: str, path: str, body: dict) -> tuple[int, dict]:
        assert path == "/api/v1/pods"
        return (500, {}) if self.down else super().answer(method, path, body)

    def there(self, *pods: dict) -> None:
        for each in pods:
            self.add(f"/api/v1/namespaces/{each['metadata']['namespace']}/pods", each)


@dataclass
class Answer:
    """What came back.

    Attributes:
        service: the one that was reached, "" if none was.
        forwarded: X-Forwarded-For, as the service got it.
    """

    status: int
    service: str = ""
    forwarded: str = ""
    content: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Fence:
    """What pods reach.

    Attributes:
        port: where they do.
        local: behind the fence.
        stop: takes the authorizer away.
        asked: what the services were asked.
    """

    pods: Pods
    port: int
    local: int
    stop: Callable[[], None]
    asked: list[str]

    def reset(self) -> None:
        self.pods.lists.clear()
        self.pods.down = False
        self.asked.clear()
        self.pods.there(
            pod("ann", "work-0", ANN),
            pod("bob", "work-0", BOB),
            pod("shop", "door-0", DOOR, label="door", account="door"),
            pod("ann", "agent-x", NODE, node=True),
        )

    def connect(self, source: str, *, off: bool = False) -> socket.socket:
        """From a pod's address; `off` leaves the fence out."""
        target = ("127.0.0.1", self.local if off else self.port)
        return socket.create_connection(target, 10, source_address=(source, 0))

    def send(self, text: str, source: str = ANN, *, off: bool = False) -> Answer:
        """One request of HTTP/1.1, written as it is."""
        with self.connect(source, off=off) as connection:
            connection.sendall(text.replace("\n", "\r\n").encode())
            return _answer(connection)

    def get(self, host: str, source: str = ANN, *headers: str, off: bool = False) -> Answer:
        lines = [f"GET / HTTP/1.1\nHost: {host}", *headers, "Connection: close", "", ""]
        return self.send("\n".join(lines), source, off=off)

    def send_h2(
        self, *headers: tuple[str, str], source: str = ANN, body: bytes = b"", off: bool = False
    ) -> Answer:
        """One request of HTTP/2 without TLS; the headers as they are, `:path` among them."""
        config = H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False)
        stream, found = H2Connection(config), Answer(0)
        with self.connect(source, off=off) as connection:
            stream.initiate_connection()
            stream.send_headers(1, [(":scheme", "http"), *headers], end_stream=not body)
            if body:
                stream.send_data(1, body, end_stream=True)
            connection.sendall(stream.data_to_send())
            while data := _received(connection):
                for event in stream.receive_data(data):
                    if isinstance(event, (events.ResponseReceived, events.TrailersReceived)):
                        found.headers |= {_text(k): _text(v) for k, v in event.headers}
                    elif isinstance(event, events.DataReceived):
                        found.content += event.data
                    elif isinstance(event, (events.StreamEnded, events.StreamReset)):
                        status = int(found.headers.get(":status", 0))
                        found.status, found.service = status, found.headers.get("service", "")
                        return found
        return found

    def call(self, host: str, source: str = ANN, *, off: bool = False) -> Answer:
        """A call of gRPC."""
        headers = ((":method", "POST"), (":authority", host), (":path", "/a.B/C"),
                   ("content-type", "application/grpc"), ("te", "trailers"))  # fmt: skip
        return self.send_h2(*headers, source=source, body=b"\0\0\0\0\1x", off=off)

    def upgrade(self, host: str, source: str = ANN, *, off: bool = False) -> bytes:
        """What a websocket gives back; no bytes if there is none."""
        lines = ["GET /ws HTTP/1.1", f"Host: {host}", "Connection: Upgrade", "Upgrade: websocket",
                 "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAA", "", ""]  # fmt: skip
        with self.connect(source, off=off) as connection:
            connection.sendall("\r\n".join(lines).encode())
            head = b""
            while b"\r\n\r\n" not in head and (data := _received(connection)):
                head += data
            if not head.startswith(b"HTTP/1.1 101"):
                return b""
            connection.sendall(b"ping!")
            return _received(connection)


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode()


def _received(connection: socket.socket) -> bytes:
    with contextlib.suppress(ConnectionError, TimeoutError):
        return connection.recv(65536)
    return b""


def _answer(connection: socket.socket) -> Answer:
    """The first answer on a connection of HTTP/1.1, up to its end or the connection's."""
    text = b""
    while data := _received(connection):
        text += data
        head, end, body = text.partition(b"\r\n\r\n")
        if end and (found := _lines(head)).get("content-length", "") == str(len(body)):
            break
    head, _, body = text.partition(b"\r\n\r\n")
    if not head:
        return Answer(0)
    found = _lines(head)
    forwarded = found.get("forwarded", "")
    return Answer(int(head.split()[1]), found.get("service", ""), forwarded, body, found)


def _lines(head: bytes) -> dict[str, str]:
    pairs = (line.partition(": ") for line in head.decode().split("\r\n")[1:])
    return {name.lower(): value for name, _, value in pairs}


@contextlib.contextmanager
def deciding(pods: Pods, folder: Path, *, ttl: float = 0, open: bool = False) -> Iterator[tuple]:
    """The authorizer: its port, and what stops it."""
    with loaded(CHARM):
        module = importlib.import_module("authorizer")
    with served(pods, folder) as (api, account):
        cluster = module.Kubernetes("127.0.0.1", api, account)
        decides = module.Authorizer(cluster, "x-kourier-peer", "shop", ["door"], open, ttl)
        server = module.server(decides, 0)
        with contextlib.ExitStack() as stack:
            stack.enter_context(serving(server))
            yield server.server_port, stack.close
        cluster.connections.close()


def hosts(service: str) -> list[str]:
    """Knative's names of a service, as net-kourier has them: with any port, too."""
    names = [service, f"{service}.svc", f"{service}.svc.cluster.local"]
    return [each + port for each in names for port in ("", ":*")]


def behind(local: int, plain: int, grpc: int) -> tuple[dict, list[dict]]:
    """The listener that net-kourier makes, and its clusters."""
    api = "type.googleapis.com/envoy.extensions"
    route = {"match": {"prefix": "/"}}
    virtual = [
        {
            "name": each,
            "domains": hosts(each),
            "routes": [
                {
                    **route,
                    "route": {
                        "cluster": "grpc" if each.startswith("g.") else "plain",
                        "timeout": "0s",
                        "upgrade_configs": [{"upgrade_type": "websocket", "enabled": True}],
                    },
                }
            ],
            "response_headers_to_add": [{"header": {"key": "service", "value": each}}],
        }
        for each in SERVICES
    ]
    manager = {
        "@type": f"{api}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "ingress_http",
        "stream_idle_timeout": "0s",
        "use_remote_address": False,
        "route_config": {"virtual_hosts": virtual},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{api}.filters.http.router.v3.Router"},
            }
        ],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    protocol = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    http2 = {
        protocol: {
            "@type": f"type.googleapis.com/{protocol}",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
    clusters = [
        {
            "name": name,
            "type": "STATIC",
            "load_assignment": {
                "cluster_name": name,
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _socket(port)}}]}],
            },
            **({"typed_extension_protocol_options": http2} if name == "grpc" else {}),
        }
        for name, port in (("plain", plain), ("grpc", grpc))
    ]
    listener = {
        "name": "local",
        "address": _socket(local),
        "filter_chains": [{"filters": filters}],
    }
    return listener, clusters


def _socket(port: int) -> dict:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def program() -> str | None:
    """Kourier's Envoy, None if its image is not built."""
    found = sorted((paths.cache() / "images").glob("envoy-*/venv/bin/envoy"))
    return str(found[-1]) if found else shutil.which("envoy")


def configuration(folder: Path, numbers: dict[int, int], plain: int, grpc: int) -> Path:
    """The charm's, at other ports, with the listener behind the fence."""
    with loaded(CHARM) as charm:
        out = charm.settled()
        text = charm.file(out, "/tmp/envoy.yaml")
        for name in ("tls.crt", "tls.key"):
            (folder / name).write_text(charm.file(out, f"/tmp/api/{name}"))
    for old, new in numbers.items():
        text = text.replace(f": {old}}}", f": {new}}}").replace(f":{old}", f":{new}")
    account = "/var/run/secrets/kubernetes.io/serviceaccount"
    text = text.replace("/tmp/api/", f"{folder}/").replace(account, str(folder))
    found = yaml.safe_load(text)
    listener, clusters = behind(numbers[8081], plain, grpc)
    found["static_resources"]["listeners"].append(listener)
    found["static_resources"]["clusters"] += clusters
    target = folder / "envoy.yaml"
    target.write_text(yaml.safe_dump(found))
    return target


@contextlib.contextmanager
def real(folder: Path, *, open: bool = False) -> Iterator[Fence]:
    """Envoy and the authorizer."""
    envoy = program()
    if not envoy:
        pytest.skip("Envoy's image is not built: ./mlops up builds it")
    fence, local, xds, stats, admin, api = ports(6)
    asked: list[str] = []
    with contextlib.ExitStack() as stack:
        pods = Pods()
        at, stop = stack.enter_context(deciding(pods, folder, open=open))
        plain = stack.enter_context(http_server(lambda handler: _served(handler, asked)))
        grpc = stack.enter_context(grpc_double.server())
        numbers = {8082: fence, 9001: at, 8081: local, 18000: xds, 9000: stats, 9901: admin,
                   9902: api}  # fmt: skip
        config = configuration(folder, numbers, plain, grpc)
        command = [envoy, "-c", str(config), "--concurrency", "2", "--use-dynamic-base-id"]
        stack.enter_context(running(command, (fence, local), folder / "log"))
        found = Fence(pods, fence, local, stop, asked)
        found.reset()
        yield found


def _served(handler: Any, asked: list[str]) -> None:
    """What a service answers: what it was asked; a websocket gives back what it gets."""
    asked.append(f"{handler.command} {handler.headers['host']}")
    if handler.headers.get("upgrade") == "websocket":
        handler.send_response(101)
        handler.send_header("Upgrade", "websocket")
        handler.send_header("Connection", "Upgrade")
        handler.end_headers()
        handler.wfile.write(handler.rfile.read(5))
        handler.close_connection = True
        return
    handler.rfile.read(int(handler.headers.get("content-length") or 0))
    forwarded = handler.headers.get("x-forwarded-for", "")
    reply(handler, 200, {"forwarded": forwarded})


@contextlib.contextmanager
def running(command: list[str], ports: tuple[int, ...], log: Path) -> Iterator[None]:
    """A program, once it listens; what it says if it does not."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=log.parent)
    try:
        deadline = time.monotonic() + START_SECONDS
        for port in ports:
            while True:
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                if process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(log.read_text()[-3000:])
                time.sleep(0.05)
        yield
    finally:
        process.kill()
        process.wait()
