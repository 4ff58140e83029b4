"""Who may ask Pebble for what."""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ops import pebble

from localjuju.inpod.tests.test_client import _until
from localkube.tests.ports import ports

# Made by `openssl passwd -6`.
SECRET = (
    "$6$abcdefgh$ltjgWl6579NluT/Vi1nwEvcil.G5Nbc4NiXZaNGStk8PSwGfQv72N2CKPPrVACtLtip/"
    "cZ/1GM/O6IND4WQhG."
)
Run = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def run(tmp_path: Path, program: Path) -> Iterator[Run]:
    """Starts the daemon with these options; ends it at the latest with the test."""
    started: list[subprocess.Popen[bytes]] = []
    path = tmp_path / "pebble.socket"
    environment = {
        **os.environ, "PEBBLE": str(tmp_path / "pebble"), "PEBBLE_SOCKET": str(path),
    }  # fmt: skip

    def start(*options: str) -> subprocess.Popen[bytes]:
        argv = [program, "run", "--create-dirs", "--hold"]
        started.append(subprocess.Popen([*argv, *options], env=environment))
        _until(path.exists, 60)
        return started[-1]

    yield start
    for process in started:
        process.terminate()
        process.wait(20)


@pytest.fixture
def client(run: Run, tmp_path: Path) -> pebble.Client:
    run()
    return pebble.Client(str(tmp_path / "pebble.socket"))


class Local(http.client.HTTPConnection):
    """A connection to a Unix socket."""

    def __init__(self, path: str):
        super().__init__("pebble")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


def ask(
    connection: http.client.HTTPConnection, what: str, body: Any = None, login: str = ""
) -> int:
    """The status of the answer to `GET /v1/services` and the like."""
    method, path = what.split()
    word = base64.b64encode(login.encode()).decode()
    headers = {"Authorization": f"Basic {word}"} if login else {}
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


START = {"action": "start", "services": ["none"]}  # 400: there is no such service


def test_a_password_says_who_asks(client: pebble.Client, tmp_path: Path):
    level, basic = pebble.IdentityAccess, pebble.BasicIdentity(SECRET)
    client.replace_identities(
        {
            "reader": pebble.Identity(level.READ, basic=basic),
            "scraper": pebble.Identity(level.METRICS, basic=basic),
            "stranger": pebble.Identity(level.UNTRUSTED, basic=basic),
        }
    )
    shown = client.get_identities()["reader"].basic
    assert shown is not None
    assert shown.password == "*****"
    local = Local(str(tmp_path / "pebble.socket"))

    def statuses(login: str) -> list[int]:
        return [
            ask(local, "GET /v1/health", login=login),
            ask(local, "GET /v1/metrics", login=login),
            ask(local, "GET /v1/services", login=login),
            ask(local, "POST /v1/services", START, login=login),
        ]

    assert statuses("reader:secret") == [200, 200, 200, 401]
    assert statuses("scraper:secret") == [200, 200, 401, 401]
    assert statuses("stranger:secret") == [200, 401, 401, 401]
    assert statuses("reader:wrong") == [200, 200, 200, 400]  # as by its user id: ours
    assert ask(local, "GET /v1/notices", login="reader:secret") == 403  # whose are they?


def test_a_user_id_of_an_identity_has_its_level_even_the_daemons_own(client: pebble.Client):
    me = pebble.LocalIdentity(os.getuid())
    client.replace_identities({"me": pebble.Identity(pebble.IdentityAccess.READ, local=me)})
    assert client.get_services() == []
    with pytest.raises(pebble.APIError, match="access denied") as refused:
        client.add_layer("base", "{}")
    assert (refused.value.code, refused.value.body["result"]["kind"]) == (401, "login-required")
    with pytest.raises(pebble.APIError, match='only admins may use the "users" filter'):
        client.get_notices(users=pebble.NoticesUsers.ALL)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to be another user")
def test_any_other_user_may_read_and_sees_no_notice_of_another(
    client: pebble.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    ours = client.notify(pebble.NoticeType.CUSTOM, "example.com/ours")
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)  # the folders above are root's
    local = Local("pebble.socket")
    os.seteuid(65534)
    try:
        seen = [
            ask(local, "GET /v1/services"),
            ask(local, "POST /v1/services", START),
            ask(local, f"GET /v1/notices/{ours}"),
            ask(local, "GET /v1/files?action=read&path=/etc/shadow"),
        ]
    finally:
        os.seteuid(0)
    assert seen == [200, 401, 403, 401]


def test_at_the_port_nobody_is_known_but_by_a_password_for_metrics(run: Run, tmp_path: Path):
    (port,) = ports(1)
    run("--http", f"127.0.0.1:{port}")
    known = {
        name: pebble.Identity(access, basic=pebble.BasicIdentity(SECRET))
        for name, access in (
            ("scraper", pebble.IdentityAccess.METRICS), ("boss", pebble.IdentityAccess.ADMIN),
        )
    }  # fmt: skip
    pebble.Client(str(tmp_path / "pebble.socket")).replace_identities(known)
    remote = http.client.HTTPConnection("127.0.0.1", port)
    assert ask(remote, "GET /v1/health?level=alive") == 200
    assert ask(remote, "GET /v1/services") == 401
    assert ask(remote, "GET /v1/metrics") == 401
    assert ask(remote, "GET /v1/metrics", login="scraper:secret") == 200
    assert ask(remote, "GET /v1/services", login="boss:secret") == 401
    assert ask(remote, "GET /v1/nothing") == 404


def test_identities_are_read_from_a_file_and_outlive_the_daemon(run: Run, tmp_path: Path):
    file = tmp_path / "identities.yaml"
    file.write_text("identities:\n  charm:\n    access: admin\n    local: {user-id: 170}\n")
    client = pebble.Client(str(tmp_path / "pebble.socket"))
    first = run("--identities", str(file))
    bob = pebble.Identity(pebble.IdentityAccess.READ, basic=pebble.BasicIdentity(SECRET))
    client.replace_identities({"bob": bob})
    first.terminate()
    first.wait(20)
    run("--identities", str(file))
    known = client.get_identities()
    assert sorted(known) == ["bob", "charm"]
    assert known["charm"].local == pebble.LocalIdentity(170)
