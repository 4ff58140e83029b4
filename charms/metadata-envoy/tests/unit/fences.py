"""The fence twice: the authorizer alone, and all that is real.

`real` is Envoy with the configuration that the charm renders, the authorizer, and ML Metadata's
own library with what the pipelines' driver writes. It is skipped where their images are not built
(./mlops up builds them). In both Kubernetes is a double that reviews.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import importlib
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest
from lineage import (  # pyright: ignore[reportMissingImports]
    PLAYED,
    SCRIPTS,
    Call,
    Played,
    World,
    written,
)

from charmed_mlops.testing import loaded, relation
from charms.kubernetes_double import Api, served
from charms.small_servers import http_server, serving
from localkube.host import paths
from localkube.tests.ports import ports

CHARM = Path(__file__).parents[2]
SERVICE = "/ml_metadata.MetadataStoreService/"
RIGHTS = {("ann", "ann", "get"), ("ann", "ann", "list"), ("bob", "bob", "get")}
EVERYWHERE = {("root", "", "get"), ("root", "", "list")}
START_SECONDS = 30
# its database is a file
STORE = (
    'connection_config {{ sqlite {{ filename_uri: "{}" connection_mode: READWRITE_OPENCREATE }} }}'
)


class Reviews(Api):
    """Kubernetes' reviews of rights on runs; `down` makes it fail."""

    def __init__(self) -> None:
        super().__init__()
        self.down = False
        self.rights: set[tuple[str, str, str]] = set()
        self.reset()

    def reset(self) -> None:
        self.down = False
        self.rights = RIGHTS | EVERYWHERE
        self.calls.clear()

    def answer(self, method: str, path: str, body: dict) -> tuple[int, dict]:
        self.calls.append(f"{method} {path}")
        if self.down:
            return 500, {}
        assert path == "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        asked = body["spec"]["resourceAttributes"]
        assert (asked["group"], asked["resource"]) == ("pipelines.kubeflow.org", "runs")
        key = (body["spec"]["user"], asked["namespace"], asked["verb"])
        return 201, {"status": {"allowed": key in self.rights}}


@dataclass
class Answer:
    """What came back: by HTTP, and of gRPC its status and its message."""

    status: int
    grpc: str
    content: bytes


@dataclass
class Fence:
    """What users reach.

    Attributes:
        port: where they do.
        prefix: what stands before the path.
        inside: the port behind the fence; 0 where there is none.
        played: the store that is played, if it is.
        stop: what takes a program away, by its name.
    """

    world: World
    reviews: Reviews
    port: int
    prefix: str = ""
    inside: int = 0
    played: Played | None = None
    stop: dict[str, Callable[[], object]] = field(default_factory=dict)

    def ask(self, call: Call, user: str = "ann", *, off: bool = False) -> Answer:
        """One call, as a page's script makes it; `off` leaves the fence out."""
        body = b"\0" + len(call.message).to_bytes(4, "big") + call.message
        given = {"kubeflow-userid": user} if user else {}
        return self.post(SERVICE + call.method, body, given, off=off)

    def ask_as_text(self, call: Call, user: str = "ann") -> Answer:
        """The same in base64."""
        body = b"\0" + len(call.message).to_bytes(4, "big") + call.message
        given = {"kubeflow-userid": user, "content-type": "application/grpc-web-text"}
        return self.post(SERVICE + call.method, base64.b64encode(body), given)

    def post(
        self, path: str, body: bytes, headers: dict[str, str], *, off: bool = False,
        method: str = "POST",
    ) -> Answer:  # fmt: skip
        """One request as it is."""
        port = self.inside if off else self.port
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        plain = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
        connection.request(method, self.prefix + path, body, {**plain, **headers})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        status = answer.getheader("grpc-status") or ""
        if b"grpc-status:" in content:
            status = content.rpartition(b"grpc-status:")[2].partition(b"\r\n")[0].decode()
        return Answer(answer.status, status, content)


def authorizer() -> ModuleType:
    """The module that the charm pushes."""
    with loaded(CHARM):
        return importlib.import_module("authorizer")


def program(image: str, name: str) -> Path | None:
    """A program of an image that is built, None if it is not."""
    found = sorted((paths.cache() / "images").glob(f"{image}-*/venv/bin/{name}"))
    return found[-1] if found else None


@contextlib.contextmanager
def deciding(
    store: int, folder: Path, ttl: float = 0
) -> Iterator[tuple[int, Reviews, Callable[[], None]]]:
    """The authorizer: its port, the Kubernetes that it asks, and what stops it."""
    module, reviews = authorizer(), Reviews()
    with served(reviews, folder) as (api, account):
        cluster, asked = module.Kubernetes("127.0.0.1", api, account), module.Store(store)
        server = module.server(module.Authorizer(cluster, asked, ttl), 0)
        with contextlib.ExitStack() as stack:
            stack.enter_context(serving(server))
            yield server.server_port, reviews, stack.close
        asked.connections.close()


@contextlib.contextmanager
def played(folder: Path, ttl: float = 0) -> Iterator[Fence]:
    """The authorizer alone, asked as Envoy asks it."""
    store = Played()
    with http_server(store.answer) as port, deciding(port, folder, ttl) as (at, reviews, _):
        yield Fence(PLAYED, reviews, at, prefix="/check", played=store)


@contextlib.contextmanager
def real(folder: Path) -> Iterator[Fence]:
    """Envoy, the authorizer and ML Metadata."""
    envoy = program("kfp-metadata-envoy", "envoy") or shutil.which("envoy")
    python = program("ml_metadata_store_server", "python")
    if not envoy or not python:
        pytest.skip("the images of metadata-envoy and mlmd are not built: ./mlops up builds them")
    grpc, port, inside, stats, admin = ports(5)
    with contextlib.ExitStack() as stack:
        settings = folder / "store.txtpb"
        settings.write_text(STORE.format(folder / "store.db"))
        front = [str(python), str(SCRIPTS / "metadata_store_server.py"), f"--grpc_port={grpc}"]
        front.append(f"--metadata_store_server_config_file={settings}")
        store = stack.enter_context(running(front, grpc, folder))
        world = written(f"127.0.0.1:{grpc}")
        at, reviews, stop = stack.enter_context(deciding(inside, folder))
        text = rendered(grpc)
        for old, new in ((9090, port), (9091, inside), (9902, stats), (9901, admin), (9001, at)):
            text = text.replace(f": {old}}}", f": {new}}}").replace(f":{old}", f":{new}")
        (folder / "envoy.yaml").write_text(text)
        command = [str(envoy), "-c", str(folder / "envoy.yaml"), "--concurrency", "2"]
        command += ["--use-dynamic-base-id"]
        stack.enter_context(running(command, port, folder))
        yield Fence(
            world, reviews, port, inside=inside, stop={"store": store.kill, "authorizer": stop}
        )


def rendered(grpc: int) -> str:
    """The charm's configuration for a store at a port of the loopback."""
    store = relation("metadata", "mlmd", version="1", host="127.0.0.1", port=str(grpc))
    with loaded(CHARM) as charm:
        out = charm.settled(store)
        return charm.file(out, "/tmp/envoy.yaml")


@contextlib.contextmanager
def running(command: list[str], port: int, folder: Path) -> Iterator[subprocess.Popen]:
    """A program, once it listens; what it says if it does not."""
    log = folder / f"{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=folder)
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(log.read_text()[-3000:])
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()
