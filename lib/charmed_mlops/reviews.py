"""What an authorizer needs beside its decision: Kubernetes' reviews, and a server on loopback.

A charm pushes this file with its authorizer into a container that has nothing but Python (see
authorizers.py): standard library only, and nothing of this package.
"""

from __future__ import annotations

import argparse
import http.client
import http.server
import json
import os
import signal
import ssl
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TIMEOUT_SECONDS = 5
CACHE_SIZE = 10_000
ALWAYS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
}


class User(NamedTuple):
    """Who it is."""

    name: str
    groups: tuple[str, ...]


class Refused(Exception):  # noqa: N818 (a decision, not a fault)
    """The request may not pass; `status` says why."""

    def __init__(self, status: int, reason: str):
        super().__init__(reason)
        self.status = status


class Cache:
    """Answers that are kept for a short time; what raised is not kept."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic):
        self._seconds, self._clock = seconds, clock
        self._found: OrderedDict[Any, tuple[float, Any]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Any, ask: Callable[[], Any]) -> Any:
        """The answer at hand, or a new one."""
        with self._lock:
            until, answer = self._found.get(key, (0.0, None))
        if self._clock() < until:
            return answer
        answer = ask()
        with self._lock:
            self._found[key] = (self._clock() + self._seconds, answer)
            self._found.move_to_end(key)
            while len(self._found) > CACHE_SIZE:
                self._found.popitem(last=False)
        return answer


class Connections:
    """Requests to one server, over connections that are kept."""

    def __init__(self, make: Callable[[], http.client.HTTPConnection]):
        self._make = make
        self._idle: deque[http.client.HTTPConnection] = deque()

    def ask(
        self, method: str, path: str, body: str | bytes | None, headers: Mapping[str, str]
    ) -> tuple[http.client.HTTPResponse, bytes]:
        """The answer, and its body.

        Raises:
            OSError, http.client.HTTPException: there is none.
        """
        kept = self._kept()
        for connection in [*kept, self._make()]:
            try:
                connection.request(method, path, body, headers)
                answer = connection.getresponse()
                content = answer.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                if connection not in kept:
                    raise
                continue  # the server closed it while it was idle
            self._idle.append(connection)
            return answer, content
        raise AssertionError

    def close(self) -> None:
        """Closes those that are idle."""
        while kept := self._kept():
            kept[0].close()

    def _kept(self) -> list[http.client.HTTPConnection]:
        try:
            return [self._idle.pop()]
        except IndexError:
            return []


class Kubernetes:
    """The reviews, asked with the pod's own ServiceAccount."""

    def __init__(self, host: str, port: int, account: Path = ACCOUNT):
        self._account = account
        context = ssl.create_default_context(cafile=str(account / "ca.crt"))
        self.connections = Connections(
            lambda: http.client.HTTPSConnection(
                host, port, timeout=TIMEOUT_SECONDS, context=context
            )
        )

    def user(self, token: str, audience: str) -> User | None:
        """Whose token it is; None if it is nobody's, has expired, or is meant for others."""
        spec = {"token": token, "audiences": [audience]}
        status = self._review("authentication.k8s.io", "TokenReview", spec)
        if not status.get("authenticated") or audience not in status.get("audiences", ()):
            return None
        found = status["user"]
        return User(found["username"], tuple(found.get("groups", ())))

    def allowed(self, user: User, namespace: str, group: str, resource: str, verb: str) -> bool:
        """Whether the user may; an empty namespace stands for all of them."""
        attributes = {"namespace": namespace, "group": group, "resource": resource, "verb": verb}
        groups = [*user.groups, "system:authenticated"]
        spec = {"user": user.name, "groups": groups, "resourceAttributes": attributes}
        status = self._review("authorization.k8s.io", "SubjectAccessReview", spec)
        return status.get("allowed") is True and not status.get("denied")

    def annotations(self, path: str) -> dict[str, str]:
        """An object's, none if it is not there."""
        found = self._found(path) or {"metadata": {}}
        return dict(found["metadata"].get("annotations") or {})

    def items(self, path: str) -> list[dict[str, Any]]:
        """The objects of a list."""
        return list((self._found(path) or {}).get("items") or ())

    def _found(self, path: str) -> dict[str, Any] | None:
        """What is at a path. Raises Refused."""
        try:
            status, text = self._ask("GET", path)
            if status == 404:
                return None
            if status != 200:
                raise ValueError(f"status {status}")
            return dict(json.loads(text))
        except (OSError, http.client.HTTPException, ValueError, TypeError) as error:
            print(f"{path}: {error!r}", flush=True)
            raise Refused(503, "Kubernetes does not answer: try again") from None

    def _review(self, group: str, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
        body = json.dumps({"apiVersion": f"{group}/v1", "kind": kind, "spec": spec})
        try:
            status, text = self._ask("POST", f"/apis/{group}/v1/{kind.lower()}s", body)
            if status != 201:
                raise ValueError(f"status {status}")
            return json.loads(text)["status"]
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            print(f"{kind}: {error!r}", flush=True)
            raise Refused(503, "Kubernetes does not answer: try again") from None

    def _ask(self, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
        # read each time: the kubelet renews it
        token = (self._account / "token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        answer, text = self.connections.ask(method, path, body, headers)
        return answer.status, text


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers `/healthz`; what is asked beside that is the authorizer's: `asked`."""

    protocol_version = "HTTP/1.1"
    timeout = 75
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if self.path == "/healthz":
            return self.answer(200, "well")
        return self.asked()

    do_POST = do_GET  # noqa: N815 (the standard library's name)

    def asked(self) -> None:
        """Another path than the one for the check."""
        self.answer(404, "there is nothing here")

    def decide(self, check: Callable[[], dict[str, str]]) -> None:
        """Answers 200 with the headers that `check` gives, or that it refuses."""
        try:
            headers = check()
        except Refused as refused:
            return self.answer(refused.status, str(refused))
        except Exception as error:
            print(f"refused for an error: {error!r}", flush=True)
            return self.answer(500, "this did not work")
        return self.answer(200, "", headers)

    def answer(
        self, status: int, text: str, headers: Mapping[str, str] | None = None,
        kind: str = "text/plain",
    ) -> None:  # fmt: skip
        """Sends it."""
        body = text.encode()
        self.send_response(status)
        own = {"Content-Type": f"{kind}; charset=utf-8", **ALWAYS} if body else {}
        for name, value in {**own, **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """The proxy has the log of requests."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # a proxy opens many connections at once; it is 5 else


def listening(handler: type[Handler], port: int) -> http.server.ThreadingHTTPServer:
    """The HTTP server, on loopback: only what is in the same pod reaches it."""
    return _Server(("127.0.0.1", port), handler)


def arguments(about: str | None) -> argparse.ArgumentParser:
    """The flags that every authorizer has; `about` is its module's text."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--ttl", type=float, required=True, help="seconds that answers are kept")
    parser.add_argument("--leaving", type=float, required=True, help="seconds after SIGTERM")
    return parser


def kubernetes() -> Kubernetes:
    """The cluster's own API, as a pod finds it."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    return Kubernetes(host, int(port))


def serve(serving: http.server.ThreadingHTTPServer, leaving: float) -> None:
    """Serves until SIGTERM, and then for as long as the proxy beside it takes requests."""
    leave = threading.Timer(leaving, serving.shutdown)
    signal.signal(signal.SIGTERM, lambda *_: leave.is_alive() or leave.start())
    serving.serve_forever()
