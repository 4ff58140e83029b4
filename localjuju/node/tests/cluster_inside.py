"""Control plane and node in namespaces of their own: `python cluster_inside.py PROGRAMS STATE`.

Everything is real: API server, controllers, kube-proxy, pods. What the coroutine functions of the
module named by the third argument return is printed as JSON, or the text of what they raised.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from lightkube import AsyncClient, codecs
from lightkube.resources.core_v1 import Pod

from localjuju.images import Image
from localjuju.node import Node
from localkube.controlplane import ControlPlane
from localkube.host import namespaces
from localkube.node.client import client
from localkube.node.network import NODE_IP

SECONDS = 15.0
# Says who it is and who asks, over TCP and UDP.
_SERVER = """
import os, socketserver, threading
class Tcp(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(f"{os.environ['NAME']} {self.client_address[0]}".encode())
class Udp(socketserver.BaseRequestHandler):
    def handle(self):
        said = f"{os.environ['NAME']} {self.client_address[0]}".encode()
        self.request[1].sendto(said, self.client_address)
for kind, handler, port in (("ThreadingTCPServer", Tcp, 8080), ("ThreadingTCPServer", Tcp, 8081),
                            ("ThreadingUDPServer", Udp, 8080)):
    server = getattr(socketserver, kind)(("", port), handler)
    threading.Thread(target=server.serve_forever).start()
"""
_ASK = """
import socket, sys
kind, host, port = sys.argv[1:]
with socket.socket(type=socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as asking:
    asking.settimeout(1)
    try:
        asking.connect((host, int(port)))
        if kind == "udp":
            asking.send(b"?")
        print(asking.recv(100).decode())
    except OSError as error:
        print(type(error).__name__)
"""


class Cluster:
    """What a test asks of the cluster."""

    def __init__(self, api: AsyncClient, node: Node):
        self.api = api
        self.node = node

    async def create(self, kind: str, name: str, namespace: str = "default", **rest: Any) -> Any:
        """Creates an object; `version`, `labels`, `spec` and the like are its fields."""
        meta: dict[str, Any] = {"name": name, "labels": rest.pop("labels", {})}
        if kind != "Namespace":
            meta["namespace"] = namespace
        value = {"apiVersion": rest.pop("version", "v1"), "kind": kind, "metadata": meta, **rest}
        return await self.api.create(codecs.from_dict(value))

    async def server(self, name: str, namespace: str = "default") -> str:
        """A pod, labelled `app: NAME`, that answers on 8080 (TCP, UDP) and 8081; its address."""
        await until(lambda: self._make(name, namespace))
        await self.api.wait(Pod, name, for_conditions=["Ready"], namespace=namespace)
        pod = await self.pod(name, namespace)
        assert pod.status is not None
        assert pod.status.podIP is not None
        return pod.status.podIP

    async def pod(self, name: str, namespace: str = "default") -> Any:
        """The pod as the API server knows it now."""
        return await self.api.get(Pod, name, namespace=namespace)

    async def _make(self, name: str, namespace: str) -> Any:
        container = {
            "name": "c", "image": "test", "command": [sys.executable, "-c", _SERVER],
            "env": [{"name": "NAME", "value": name}],
            "readinessProbe": {"tcpSocket": {"port": 8081}, "periodSeconds": 1},
        }  # fmt: skip
        return await self.create(
            "Pod", name, namespace, labels={"app": name}, spec={"containers": [container]}
        )

    async def service(
        self, name: str, namespace: str = "default", *, app: str = "", **spec: Any
    ) -> Any:
        """A Service for the pods labelled `app`, its own name where that is empty."""
        ports = [
            {"name": "tcp", "port": 80, "targetPort": 8080},
            {"name": "more", "port": 81, "targetPort": 8081},
            {"name": "udp", "port": 80, "targetPort": 8080, "protocol": "UDP"},
        ]
        spec = {"selector": {"app": app or name}, "ports": ports, **spec}
        return (await self.create("Service", name, namespace, spec=spec)).spec

    async def ask(
        self, pod: str, host: str, port: int = 80, kind: str = "tcp", namespace: str = "default"
    ) -> str:
        """What a pod is answered by a server: `NAME ADDRESS`, or the class of the error."""
        argv = [sys.executable, "-c", _ASK, kind, host, str(port)]
        return (await self.node.exec(namespace, pod, "c", argv)).stdout.decode().strip()


async def ask(host: str, port: int = 80, kind: str = "tcp") -> str:
    """The same, from the node itself."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _ASK, kind, host, str(port), stdout=asyncio.subprocess.PIPE
    )
    return (await process.communicate())[0].decode().strip()


async def until(
    look: Callable[[], Awaitable[Any]], is_right: Callable[[Any], bool] = lambda _: True
) -> Any:
    """What `look` returns once it is right; what it saw last where that is too late."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            found = await look()
            if is_right(found) or time.monotonic() > deadline:
                return found
        except Exception:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.1)


async def _pull(reference: str) -> Image:
    rootfs = Path(sys.argv[2]) / "image"
    rootfs.mkdir(exist_ok=True)
    prefixes = {sys.base_prefix, sys.prefix}
    return Image(
        reference, "path", rootfs,
        binds=tuple(p for p in sorted(prefixes) if not Path(p).is_relative_to("/usr")),
    )  # fmt: skip


async def _run(node: Node, state: Path, tests: dict[str, Callable[..., Any]]) -> dict[str, Any]:
    control_plane = ControlPlane(Path(sys.argv[1]), state)
    found: dict[str, Any] = {}
    begin = time.monotonic()
    await control_plane.start()
    try:
        await control_plane.wait_ready(60)
        between = time.monotonic()
        await node.start()
        found["seconds"] = [between - begin, time.monotonic() - between]
        api = client(control_plane.kubeconfig)
        for name, test in tests.items():
            try:
                found[name] = await test(Cluster(api, node))
            except Exception:
                found[name] = traceback.format_exc()
        await api.close()
    finally:
        await node.stop()
        await control_plane.stop()
    return found


def main() -> int:
    """Runs inside the namespaces."""
    programs, state = (Path(argument) for argument in sys.argv[1:3])
    namespaces.use_resolver(NODE_IP, state)
    module = importlib.import_module(f"localjuju.node.tests.{sys.argv[3]}")
    node = Node(state / "kubeconfig", programs, state, _pull)
    print(json.dumps(asyncio.run(_run(node, state, module.TESTS))), flush=True)
    return 0


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("needs root")
    namespaces.enter(main, "test")
