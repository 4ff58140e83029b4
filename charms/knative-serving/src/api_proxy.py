"""A way to the API server for programs that ask for more than they need.

The activator and the webhook list and watch every Secret of their namespace, of which they need at
most one. Kubernetes lets a role give list and watch of one object by its name, where the request
selects that name (https://kubernetes.io/docs/reference/access-authn-authz/rbac/): this adds that
to their requests. The webhook writes its webhook configurations even where they are as it wants
them, as it leaves out what the API server fills in. The broker has declared them: the answer is
what is there. Each request gets the ServiceAccount's token.

It fences nothing: what may be read and written is the role's matter.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import http.server
import os
import re
import signal
import ssl
import threading
import urllib.parse
from pathlib import Path

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
# those of one connection, and what is set here
_OWN = {
    "authorization", "connection", "content-length", "host", "keep-alive", "proxy-connection",
    "te", "trailer", "transfer-encoding", "upgrade",
}  # fmt: skip
_PIECE = 65536
_CONFIGURATIONS = re.compile(
    r"/apis/admissionregistration\.k8s\.io/v1/(mutating|validating)webhookconfigurations/[^/?]+"
)


def narrowed(target: str, namespace: str, secret: str) -> str:
    """The request's target; a list or watch of the namespace's Secrets is of the one."""
    path, _, query = target.partition("?")
    if path != f"/api/v1/namespaces/{namespace}/secrets":
        return target
    fields = urllib.parse.parse_qsl(query, keep_blank_values=True)
    kept = [(key, value) for key, value in fields if key != "fieldSelector"]
    chosen = ("fieldSelector", f"metadata.name={secret}")
    return f"{path}?{urllib.parse.urlencode([*kept, chosen])}"


def is_needless(method: str, target: str) -> bool:
    """Whether it writes a webhook configuration, which the broker has declared as it has to be."""
    return method == "PUT" and bool(_CONFIGURATIONS.fullmatch(target.partition("?")[0]))


class Proxy(http.server.ThreadingHTTPServer):
    """Answers on loopback, for the pod itself."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self, port: int, namespace: str, secret: str, server: str, account: Path = ACCOUNT
    ):
        """`server` is the API server's HOST:PORT."""
        super().__init__(("127.0.0.1", port), _Handler)
        self.namespace, self.secret, self.upstream = namespace, secret, server
        self._account = account
        self._context = ssl.create_default_context(cafile=str(account / "ca.crt"))
        self._connections = threading.local()

    def token(self) -> str:
        """Of now: the kubelet renews its file."""
        return (self._account / "token").read_text().strip()

    def connection(self) -> http.client.HTTPSConnection:
        """This thread's, which is one client connection's."""
        found = getattr(self._connections, "open", None)
        if found is None:
            host, _, port = self.upstream.rpartition(":")
            # no timeout: a watch may be silent for minutes
            found = http.client.HTTPSConnection(
                host.strip("[]"), int(port), context=self._context, timeout=None
            )
            self._connections.open = found
        return found


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Proxy  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"

    def _handle(self) -> None:
        if self.path == "/proxy-healthz":
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or None
        try:
            answer = self._ask(body)
        except (OSError, http.client.HTTPException) as error:
            self._drop()
            self.send_error(502, explain=str(error))
            return
        try:
            self._pass_on(answer)
        except (OSError, http.client.HTTPException):  # one of both sides has gone
            self._drop()
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _handle  # noqa: N815

    def _ask(self, body: bytes | None) -> http.client.HTTPResponse:
        headers = {key: value for key, value in self.headers.items() if key.lower() not in _OWN}
        headers["Authorization"] = f"Bearer {self.server.token()}"
        method, target = self.command, self.path
        if is_needless(method, target):
            method, target, body = "GET", target.partition("?")[0], None
        target = narrowed(target, self.server.namespace, self.server.secret)
        connection = self.server.connection()
        reused = connection.sock is not None
        try:
            connection.request(method, target, body, headers)
            return connection.getresponse()
        except (OSError, http.client.HTTPException):
            self._drop()
            # the server may have closed a connection that was idle; what changes something is
            # not sent twice
            if not reused or method not in ("GET", "HEAD"):
                raise
        connection.request(method, target, body, headers)
        return connection.getresponse()

    def _pass_on(self, answer: http.client.HTTPResponse) -> None:
        self.send_response_only(answer.status, answer.reason)
        for key, value in answer.getheaders():
            if key.lower() not in _OWN:
                self.send_header(key, value)
        bare = self.command == "HEAD" or answer.status in (204, 304)
        if bare or answer.length is not None:
            self.send_header("Content-Length", str(answer.length or 0))
            self.end_headers()
            while piece := answer.read(_PIECE):
                self.wfile.write(piece)
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        # as it comes: a watch has an event now and then
        while piece := answer.read1(_PIECE):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def _drop(self) -> None:
        self.server.connection().close()

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()
        self._drop()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: the API server's own audit names each request."""


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--namespace", required=True)
    parser.add_argument("--secret", required=True)
    given = parser.parse_args()
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    proxy = Proxy(given.port, given.namespace, given.secret, f"{host}:{port}")
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=proxy.shutdown).start())
    proxy.serve_forever()


if __name__ == "__main__":
    main()
