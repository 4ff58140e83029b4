"""A gRPC server and a client of the least: HTTP/2, one message each way, the status in trailers.

https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field

from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection

from charms.small_servers import serving


@dataclass
class Reply:
    """What a call gave."""

    headers: dict[str, str] = field(default_factory=dict)
    message: bytes = b""
    trailers: dict[str, str] = field(default_factory=dict)


class _Echo(socketserver.BaseRequestHandler):
    """Answers each call with its message, and with the user that it was told."""

    def handle(self) -> None:
        stream = H2Connection(H2Configuration(client_side=False))
        stream.initiate_connection()
        self.request.sendall(stream.data_to_send())
        users: dict[int, str] = {}
        while data := self.request.recv(65536):
            for event in stream.receive_data(data):
                if isinstance(event, events.RequestReceived):
                    users[event.stream_id] = _texts(event.headers).get("kubeflow-userid", "")
                    headers = [(":status", "200"), ("content-type", "application/grpc")]
                    headers.append(("user", users[event.stream_id]))
                    stream.send_headers(event.stream_id, headers)
                elif isinstance(event, events.DataReceived):
                    stream.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    stream.send_data(event.stream_id, event.data)
                elif isinstance(event, events.StreamEnded):
                    trailers = [("grpc-status", "0")]
                    stream.send_headers(event.stream_id, trailers, end_stream=True)
            self.request.sendall(stream.data_to_send())


@contextlib.contextmanager
def server() -> Iterator[int]:
    """A server without TLS; gives its port."""
    found = socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Echo)
    found.daemon_threads = True
    with serving(found):
        yield found.server_address[1]


def call(port: int, context: ssl.SSLContext, path: str, message: bytes, *headers) -> Reply:
    """A call by TLS; `headers` are pairs of name and value."""
    context.set_alpn_protocols(["h2"])
    reply = Reply()
    with (
        socket.create_connection(("localhost", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        stream = H2Connection()
        stream.initiate_connection()
        stream.send_headers(
            1,
            [
                (":method", "POST"), (":scheme", "https"), (":path", path),
                (":authority", f"localhost:{port}"), ("te", "trailers"),
                ("content-type", "application/grpc"), *headers,
            ],
        )  # fmt: skip
        stream.send_data(1, message, end_stream=True)
        secure.sendall(stream.data_to_send())
        while data := secure.recv(65536):
            for event in stream.receive_data(data):
                if isinstance(event, events.ResponseReceived):
                    reply.headers = _texts(event.headers)
                elif isinstance(event, events.DataReceived):
                    reply.message += event.data
                elif isinstance(event, events.TrailersReceived):
                    reply.trailers = _texts(event.headers)
                elif isinstance(event, events.StreamEnded | events.StreamReset):
                    return reply
            secure.sendall(stream.data_to_send())
    return reply


def _texts(headers) -> dict[str, str]:
    return {_text(name): _text(value) for name, value in headers}


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
