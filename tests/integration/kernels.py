"""Runs a notebook's cell in JupyterLab through the gateway, over a websocket as the page does."""

from __future__ import annotations

import json
import ssl
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import websocket

SECONDS = 300.0


def run_cell(client: httpx2.Client, context: ssl.SSLContext, base: str, code: str) -> str:
    """What the cell prints.

    Args:
        client: a browser that is logged in.
        context: what the websocket trusts.
        base: the notebook's path, such as `/notebook/NAMESPACE/NAME`.
        code: Python.

    Raises:
        AssertionError: the cell fails, or does not end within five minutes; with its traceback.
    """
    with _kernel(client, context, base) as socket:
        return _executed(socket, code)


@contextmanager
def busy(client: httpx2.Client, context: ssl.SSLContext, base: str) -> Iterator[None]:
    """A cell that runs while the context lasts; the arguments are those of `run_cell`."""
    with _kernel(client, context, base) as socket:
        _send(socket, "import time; time.sleep(3600)")
        yield


@contextmanager
def _kernel(
    client: httpx2.Client, context: ssl.SSLContext, base: str
) -> Iterator[websocket.WebSocket]:
    """A new kernel's channels."""
    page = client.get(f"{base}/lab")
    token = page.cookies.get("_xsrf") or client.cookies.get("_xsrf") or ""
    answer = client.post(
        f"{base}/api/kernels",
        json={"name": "python3"},
        headers={"X-XSRFToken": token, "Origin": f"https://{page.request.headers['Host']}"},
    )
    assert answer.status_code == 201, answer.text
    kernel = answer.json()["id"]
    url = client.base_url.copy_with(scheme="wss", path=f"{base}/api/kernels/{kernel}/channels")
    host = page.request.headers["Host"]
    socket = websocket.create_connection(
        str(url),
        timeout=SECONDS,
        host=host,
        origin=f"https://{host}",
        cookie="; ".join(f"{each.name}={each.value}" for each in client.cookies.jar),
        sslopt={"context": context, "server_hostname": host.partition(":")[0]},
    )
    try:
        yield socket
    finally:
        socket.close()


def _send(socket: websocket.WebSocket, code: str) -> str:
    """Sends `execute_request`; its id.

    Source: https://jupyter-client.readthedocs.io/en/stable/messaging.html
    """
    header = {
        "msg_id": uuid.uuid4().hex, "username": "test", "session": uuid.uuid4().hex,
        "msg_type": "execute_request", "version": "5.3",
    }  # fmt: skip
    content = {
        "code": code, "silent": False, "store_history": False, "user_expressions": {},
        "allow_stdin": False, "stop_on_error": True,
    }  # fmt: skip
    message = {
        "header": header, "parent_header": {}, "metadata": {}, "content": content,
        "channel": "shell", "buffers": [],
    }  # fmt: skip
    socket.send(json.dumps(message))
    return header["msg_id"]


def _executed(socket: websocket.WebSocket, code: str) -> str:
    """Has the code executed and gathers the output."""
    sent = _send(socket, code)
    output, deadline = "", time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        found = json.loads(socket.recv())
        if found["parent_header"].get("msg_id") != sent:
            continue
        if found["msg_type"] == "stream":
            output += found["content"]["text"]
        elif found["msg_type"] == "error":
            raise AssertionError("\n".join(found["content"]["traceback"]) + output)
        elif found["msg_type"] == "execute_reply":
            return output
    raise AssertionError(f"the cell did not end within {SECONDS:.0f} s: {output}")
