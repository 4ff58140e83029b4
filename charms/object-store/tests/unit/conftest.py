"""The charm's modules, a gateway that remembers, and the real one where it is installed."""

from __future__ import annotations

import http.server
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from charms.small_servers import serving
from localkube.tests.ports import ports

CHARM = Path(__file__).parents[2]


class Double(http.server.BaseHTTPRequestHandler):
    """Answers as the gateway does, from memory: accounts, buckets, policies."""

    server: Memory  # pyright: ignore[reportIncompatibleVariableOverride]

    def _handle(self) -> None:
        memory = self.server
        body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
        address, _, query = self.path.partition("?")
        arguments = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        memory.calls.append(f"{self.command} {self.path}")
        access = re.search(r"Credential=([^/]+)/", self.headers.get("authorization", ""))
        if not access or access[1] != "root":
            return self._answer(403, "<Error><Message>Access Denied.</Message></Error>")
        status, text = 200, ""
        name = address.strip("/").split("/")[0]
        if address == "/list-users":
            text = "".join(f"<Accounts><Access>{a}</Access></Accounts>" for a in memory.accounts)
            text = f"<R>{text}</R>"
        elif address == "/create-user":
            memory.accounts[_tag(body, "Access")] = _tag(body, "Secret")
        elif address == "/update-user":
            memory.accounts[arguments["access"]] = _tag(body, "Secret")
        elif address == "/delete-user":
            del memory.accounts[arguments["access"]]
        elif address == "/list-buckets":
            text = "".join(
                f"<Buckets><Name>{b}</Name><Owner>{o}</Owner></Buckets>"
                for b, o in memory.buckets.items()
            )
            text = f"<R>{text}</R>"
        elif address == "/change-bucket-owner":
            memory.buckets[arguments["bucket"]] = arguments["owner"]
        elif address.endswith("/create"):
            memory.buckets[name] = self.headers["x-vgw-owner"]
        elif self.command == "PUT" and len(body) > memory.room:
            status, text = (
                500,
                "<Error><Message>We encountered an internal error.</Message></Error>",
            )
        elif self.command == "PUT":
            memory.policies[name] = json.loads(body)
        elif self.command == "DELETE":
            del memory.policies[name]
        elif name in memory.policies:
            text = json.dumps(memory.policies[name])
        else:
            status, text = 404, "<Error><Message>no policy</Message></Error>"
        return self._answer(status, text)

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    do_GET = do_PUT = do_PATCH = do_DELETE = _handle  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


class Memory(http.server.ThreadingHTTPServer):
    """What the double knows."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Double)
        self.accounts: dict[str, str] = {}
        self.buckets: dict[str, str] = {}
        self.policies: dict[str, dict] = {}
        self.calls: list[str] = []
        self.room = 65536  # bytes of a policy

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


def _tag(text: str, name: str) -> str:
    found = re.search(f"<{name}>(.*?)</{name}>", text)
    assert found, name
    return found[1]


@pytest.fixture
def memory() -> Iterator[Memory]:
    """A gateway that remembers what it was told."""
    server = Memory()
    with serving(server):
        yield server


@pytest.fixture
def module(monkeypatch) -> Iterator[object]:
    """src/charm.py, with the modules beside it, as only its own dispatch sees them."""
    names = ("gateway", "actions", "records", "tenants")
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(CHARM / "src"))
    spec = importlib.util.spec_from_file_location("object_store", CHARM / "src/charm.py")
    assert spec
    assert spec.loader
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    yield loaded
    for name in names:
        sys.modules.pop(name, None)


@pytest.fixture
def real(module, tmp_path) -> Iterator[object]:
    """The real gateway's API; skipped where its program is neither on PATH nor in the cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "charmed-mlops"
    cache = Path(os.environ.get("CHARMED_MLOPS_CACHE", cache))
    built = sorted(cache.glob("images/versitygw-v1.8.0-*/rootfs/usr/local/bin/versitygw"))
    program = shutil.which("versitygw") or next(iter(built), None)
    if not program:
        pytest.skip("versitygw is not installed")
    folders = {kind: tmp_path / kind for kind in ("buckets", "accounts", "versions")}
    for folder in folders.values():
        folder.mkdir()
    (port,) = ports(1)
    environment = {
        "ROOT_ACCESS_KEY_ID": "root",
        "ROOT_SECRET_ACCESS_KEY": "of-root",
        "VGW_PORT": f"127.0.0.1:{port}",
        "VGW_HEALTH": "/health",
        "VGW_IAM_DIR": str(folders["accounts"]),
        "VGW_VERSIONING_DIR": str(folders["versions"]),
        "VGW_QUIET": "true",
    }
    url = f"http://127.0.0.1:{port}"
    argv = [program, "posix", folders["buckets"]]
    with subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            for _ in range(100):
                try:
                    urllib.request.urlopen(f"{url}/health").close()
                    break
                except OSError:
                    time.sleep(0.05)
            yield lambda access="root", secret="of-root": module.Gateway(
                url, access, secret, "us-east-1"
            )
        finally:
            process.terminate()
