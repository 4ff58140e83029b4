"""Who may ask Pebble for what."""

from __future__ import annotations

import base64
import datetime
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

from localjuju.pebble import identities, notices, passwords
from localjuju.pebble.errors import ApiError
from localjuju.pebble.identities import Identities
from localjuju.pebble.tests.test_client import ROOT, _until

# Made by `openssl passwd -6`.
SECRET = (
    "$6$abcdefgh$ltjgWl6579NluT/Vi1nwEvcil.G5Nbc4NiXZaNGStk8PSwGfQv72N2CKPPrVACtLtip/"
    "cZ/1GM/O6IND4WQhG."
)
Run = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def run(tmp_path: Path, program: list[str]) -> Iterator[Run]:
    """Starts the daemon with these options; ends it at the latest with the test."""
    started: list[subprocess.Popen[bytes]] = []
    path = tmp_path / "pebble.socket"
    environment = {
        **os.environ, "PEBBLE": str(tmp_path / "pebble"), "PEBBLE_SOCKET": str(path),
        "PYTHONPATH": str(ROOT),
    }  # fmt: skip

    def start(*options: str) -> subprocess.Popen[bytes]:
        argv = [*program, "run", "--create-dirs", "--hold"]
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


@pytest.mark.parametrize(
    ("need", "requests"),
    [
        ("open", ["GET /v1/health", "GET /v1/system-info"]),
        ("metrics", ["GET /v1/metrics"]),
        ("read", ["GET /v1/services", "GET /v1/plan", "GET /v1/logs", "GET /v1/identities",
                  "GET /v1/notices", "POST /v1/notices", "GET /v1/changes/{id}/wait"]),
        ("admin", ["POST /v1/services", "POST /v1/layers", "POST /v1/exec", "GET /v1/files",
                   "POST /v1/files", "POST /v1/identities", "POST /v1/checks",
                   "GET /v1/tasks/{task}/websocket/{name}"]),
    ],
)  # fmt: skip
def test_what_a_request_needs(need: str, requests: list[str]):
    for request in requests:
        method, path = request.split()
        assert identities.needed(method, path) == need, request


@pytest.mark.parametrize(
    ("level", "at_the_socket", "at_the_port"),
    [
        ("admin", ["open", "metrics", "read", "admin"], ["open"]),
        ("read", ["open", "metrics", "read"], ["open"]),
        ("metrics", ["open", "metrics"], ["open", "metrics"]),
        ("untrusted", ["open"], ["open"]),
        (None, ["open"], ["open"]),
    ],
)
def test_what_each_level_may_do(
    level: str | None, at_the_socket: list[str], at_the_port: list[str]
):
    needs = ["open", "metrics", "read", "admin"]
    for local, expected in ((True, at_the_socket), (False, at_the_port)):
        assert [n for n in needs if identities.allowed(level, n, local=local)] == expected


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
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
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


@pytest.mark.parametrize(
    ("action", "given", "told"),
    [
        ("keep", {}, 'invalid action "keep"'),
        ("add", {"bob": {"access": "read", "local": {"user-id": 1}}}, "already exist: bob"),
        ("update", {"al": {"access": "read", "local": {"user-id": 1}}}, "do not exist: al"),
        ("remove", {"al": None}, "do not exist: al"),
        ("remove", {"bob": {"access": "read", "local": {"user-id": 1}}}, "must be null"),
        ("add", {"al": None}, "must not be null"),
        ("add", {"al": {"access": "read", "local": {"user-id": 42}}}, r"user ID 42 \(al, bob\)"),
        ("add", {"4": {"access": "read", "local": {"user-id": 1}}}, "must start with an"),
        (
            "add",
            {"al": {"access": "root", "local": {"user-id": 1}}},
            'invalid access value "root"',
        ),
        ("add", {"al": {"local": {"user-id": 1}}}, "access value must be specified"),
        ("add", {"al": {"access": "read", "local": {}}}, "must specify user-id"),
        ("add", {"al": {"access": "read", "basic": {}}}, "must specify password"),
        ("add", {"al": {"access": "read"}}, "at least one type"),
    ],
)
def test_a_wrong_identity_changes_nothing(
    tmp_path: Path, action: str, given: dict[str, Any], told: str
):
    known = Identities(tmp_path / "identities.json")
    known.change("add", {"bob": {"access": "admin", "local": {"user-id": 42}}})
    before = dict(known.all)
    with pytest.raises(ApiError, match=told):
        known.change(action, given)
    assert known.all == before


@pytest.mark.parametrize(
    ("password", "hashed", "fits"),
    [
        ("secret", SECRET, True),
        ("Secret", SECRET, False),
        ("pä$s wörd",
         "$6$rasalt0123456789$RBvprIe1BuVyT2lXX3DMmb2m4rCKbv9kMHUFwl1rGGw2kHAHgLRzT66.LLeSleyYXbQ"
         "dYq1M3daz0JCiQlWEM0", True),
        ("secret", "secret", False),
    ],
)  # fmt: skip
def test_passwords_are_hashed_as_openssl_does(password: str, hashed: str, fits: bool):
    assert passwords.fits(password, hashed) is fits


def test_a_notice_is_forgotten_after_a_week(monkeypatch: pytest.MonkeyPatch):
    kept = notices.Notices()
    kept.add("custom", "example.com/old")
    week = notices.units.now() + datetime.timedelta(days=7, seconds=1)
    monkeypatch.setattr(notices.units, "now", lambda: week)
    assert kept.find(types=set(), keys=set(), user=None, after=None) == []
