"""Programs that a client runs at a terminal."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import websocket
from ops import pebble

from localjuju.inpod.tests.test_access import Local
from localjuju.inpod.tests.test_client import client, daemon

__all__ = ["client", "daemon"]


class Session:
    """A program at a terminal, as a client sees it."""

    def __init__(self, path: str, request: dict[str, Any]):
        connection = Local(path)
        connection.request("POST", "/v1/exec", json.dumps(request))
        answer = _json(connection.getresponse())
        connection.close()
        self.change = pebble.ChangeID(answer["change"])
        self._path, self._task = path, answer["result"]["task-id"]
        self.control = self._connect("control")
        self.stdio = self._connect("stdio")
        self.seen = ""

    def _connect(self, name: str) -> websocket.WebSocket:
        local = Local(self._path)
        local.connect()
        local.sock.settimeout(15)
        socket = websocket.WebSocket()
        socket.connect(f"ws://pebble/v1/tasks/{self._task}/websocket/{name}", socket=local.sock)
        return socket

    def until(self, text: str) -> None:
        """Reads until that has been printed."""
        while text not in self.seen:
            part = self.stdio.recv()
            assert isinstance(part, bytes), f"the end came first: {self.seen}"
            self.seen += part.decode()

    def end(self) -> str:
        """Reads to the end; all that was printed."""
        while isinstance(part := self.stdio.recv(), bytes):
            self.seen += part.decode()
        assert json.loads(part) == {"command": "end"}
        return self.seen

    def close(self) -> None:
        self.control.close()
        self.stdio.close()


def _json(response: http.client.HTTPResponse) -> Any:
    assert response.status == 202
    return json.loads(response.read())


@pytest.fixture
def shell(client: pebble.Client, tmp_path: Path) -> Iterator[Session]:
    request = {
        "command": ["sh"], "terminal": True, "interactive": True, "width": 101, "height": 31,
        "environment": {"PS1": "ready>"},
    }  # fmt: skip
    session = Session(str(tmp_path / "pebble.socket"), request)
    session.until("ready>")
    yield session
    session.close()


def test_a_terminal_has_the_size_that_was_asked_for_and_another_when_told(shell: Session):
    shell.stdio.send_binary(b"stty size\n")
    shell.until("31 101")
    resize = {"command": "resize", "resize": {"width": 77, "height": 22}}
    shell.control.send(json.dumps(resize))
    deadline = time.monotonic() + 15
    while "22 77" not in shell.seen:  # the two sockets are not in step
        assert time.monotonic() < deadline
        shell.stdio.send_binary(b"stty size; echo do''ne\n")
        shell.seen = shell.seen.replace("done", "")
        shell.until("done")


def test_control_c_reaches_the_program_and_the_end_of_input_ends_the_shell(
    shell: Session, client: pebble.Client
):
    # What stands in the line is echoed: the words are only whole in what the program prints.
    loop = """trap 'echo interr""upted; exit' INT; echo beg""un; while true; do sleep 0.05; done"""
    shell.stdio.send_binary(f"({loop})\n".encode())
    shell.until("begun")
    shell.stdio.send_binary(b"\x03")
    shell.until("interrupted")
    shell.stdio.send_binary(b"echo do''ne\n")
    shell.until("done")
    shell.stdio.send(json.dumps({"command": "end"}))
    shell.end()
    change = client.wait_change(shell.change)
    assert change.tasks[0].data["exit-code"] == 0


def test_without_interaction_only_the_output_is_a_terminal(client: pebble.Client, tmp_path: Path):
    script = "test -t 0 || echo piped; test -t 1 && echo shown; cat; exit 3"
    session = Session(
        str(tmp_path / "pebble.socket"), {"command": ["sh", "-c", script], "terminal": True}
    )
    session.stdio.send_binary(b"words")
    session.stdio.send(json.dumps({"command": "end"}))
    assert session.end() == "piped\r\nshown\r\nwords"
    assert client.wait_change(session.change).tasks[0].data["exit-code"] == 3
    session.close()
