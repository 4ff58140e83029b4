"""Which events of health checks `dispatch` passes over, by what Pebble says of the check now."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from charmed_mlops import check_events

FAILED, RECOVERED = "tea-pebble-check-failed", "tea-pebble-check-recovered"


@pytest.mark.parametrize(
    "event, check, status, old",
    [
        (FAILED, "tea", "down", False),
        (FAILED, "tea", "up", True),
        (RECOVERED, "tea", "up", False),
        (RECOVERED, "tea", "down", True),
        # one success of a start check is enough
        (RECOVERED, "tea-start", "down", False),
        (RECOVERED, "tea-start", "up", False),
        # it was stopped, as the service answered
        (RECOVERED, "tea-start", "inactive", True),
        (FAILED, "tea-start", "inactive", True),
        (FAILED, "tea-start", "down", False),
        # Pebble cannot be asked, or does not know the check any more
        (FAILED, "tea", None, False),
        (RECOVERED, "tea", None, False),
    ],
)
def test_an_event_is_old_news_once_the_check_says_something_else(event, check, status, old):
    assert check_events.is_old_news(event, check, status) is old


@pytest.fixture
def pebble(tmp_path: Path) -> Iterator[Callable[[bytes], str]]:
    """Starts a Pebble that gives one answer; returns its socket's path."""
    servers: list[tuple[socket.socket, threading.Thread]] = []

    def start(answer: bytes) -> str:
        path = str(tmp_path / "pebble.socket")
        server = socket.socket(socket.AF_UNIX)
        server.bind(path)
        server.listen()

        def serve() -> None:
            client, _ = server.accept()
            with client:
                assert client.recv(4096).startswith(b"GET /v1/checks?names=tea HTTP/1.0\r\n")
                client.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        servers.append((server, thread))
        return path

    yield start
    for server, thread in servers:
        thread.join()
        server.close()


HEAD = b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n"


@pytest.mark.parametrize(
    "answer, status",
    [
        (HEAD + b'{"type": "sync", "result": [{"name": "tea", "status": "up"}]}', "up"),
        (HEAD + b'{"type": "sync", "result": []}', None),
        (HEAD + b'{"type": "error", "result": {"message": "no"}}', None),
        (HEAD + b"\xff{", None),
        (HEAD + b"[" * 10_000, None),
        (HEAD, None),
        (b"", None),
    ],
)
def test_pebble_is_asked_for_the_check(pebble, answer: bytes, status):
    assert check_events.status_of(pebble(answer), "tea") == status


def test_a_pebble_that_has_gone_says_nothing(tmp_path: Path):
    assert check_events.status_of(str(tmp_path / "none.socket"), "tea") is None


def test_it_runs_on_python_alone_and_lets_the_charm_run_where_it_cannot_tell():
    done = subprocess.run(
        [sys.executable, "-I", "-S", check_events.__file__],
        env={"JUJU_DISPATCH_PATH": f"hooks/{FAILED}", "JUJU_PEBBLE_CHECK_NAME": "tea"},
        capture_output=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")
