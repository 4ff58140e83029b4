"""Small servers, which play what is around a program that a charm runs."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import socketserver
import threading
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[None]:
    """A server answers in a thread; it ends with the context, whatever is raised there.

    One that is closed while it serves would take a processor until the tests end.
    """
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


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
    with serving(found):
        yield found.server_port


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
