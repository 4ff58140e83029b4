"""Small HTTP servers, which play what is around a program that a charm runs."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import random
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def http_server(
    answer: Callable[[Any], None], host: str = "127.0.0.1", port: int = 0
) -> Iterator[int]:
    """A server whose every request is answered by `answer(handler)`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _do(self) -> None:
            answer(self)

        do_GET = do_POST = do_PUT = do_HEAD = do_PATCH = do_DELETE = do_OPTIONS = _do  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    found = http.server.ThreadingHTTPServer((host, port), Handler)
    found.daemon_threads = True
    thread = threading.Thread(target=found.serve_forever, args=(0.02,))
    thread.start()
    yield found.server_port
    found.shutdown()
    thread.join()
    found.server_close()


def reply(handler: Any, status: int, headers: dict[str, str], body: bytes = b"") -> None:
    handler.send_response(status)
    for name, value in {**headers, "content-length": str(len(body))}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def ask(port: int, path: str, headers: dict[str, str]) -> int:
    """The status of a GET."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers=headers)
    status = connection.getresponse().status
    connection.close()
    return status


def ports(count: int) -> list[int]:
    """TCP ports that nobody listens on.

    They are below those that connections get by themselves, one of which would take a port before
    the program that it is meant for.
    """
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(lowest // 2, lowest)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("", port))
            if port not in found:
                found.append(port)
    return found
