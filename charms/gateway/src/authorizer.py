"""Decides for the gateway: may who sends this request do what the route needs?

Caddy asks for each request that is not public, with the request's own headers and, from itself:

- X-Gateway-User, X-Gateway-Groups: who is logged in, as oauth2-proxy says;
- X-Gateway-Namespace, -Group, -Resource, -Verb: what the route needs; no namespace, no rights;
- X-Gateway-Object, -Annotations: an object, and the domain of its annotations on requests.

A bearer token is a service account's: Kubernetes reviews it (TokenReview), for our audience only.
Rights are Kubernetes' to know (SubjectAccessReview). 200 names the user in Kubeflow-Userid and
Kubeflow-Groups; X-Gateway-Rewrite and X-RStudio-Root-Path say what the object's pod gets. 401, 403
and, while Kubernetes does not answer, 503 let nothing pass. Why not is a page for a browser that
opens one, and one line of plain text for programs.

Standard library only: it runs in a plain Python image.
"""

from __future__ import annotations

import argparse
import hashlib
import html
import http.client
import http.server
import json
import os
import re
import signal
import ssl
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import Any, NamedTuple

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TIMEOUT_SECONDS = 5
CACHE_SIZE = 10_000
LONGEST = 8192  # of a token
OWN = ("Authorization", "X-Gateway-User", "X-Gateway-Groups", "X-Gateway-Namespace",
       "X-Gateway-Group", "X-Gateway-Resource", "X-Gateway-Verb", "X-Gateway-Object",
       "X-Gateway-Annotations")  # fmt: skip
# The one header that an annotation may set: a notebook's owner writes it.
ROOT_PATH = "X-RStudio-Root-Path"
PATH = re.compile(r"(/[\w.~-]+)*/")
# it has all it needs: a browser loads nothing else for it
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width"><style>body{{font:16px sans-serif;
margin:4em auto;max-width:36em;padding:0 1em;overflow-wrap:anywhere}}small{{color:#666}}</style>
</head><body><h1>{title}</h1><p>{reason}</p><p><a href="/">To the start page</a></p>
<p><small>{status}</small></p></body></html>
"""
ALWAYS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
}
TITLES = {400: "This request is not clear", 401: "You are not logged in",
          403: "You may not open this", 503: "Not now"}  # fmt: skip


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


class Kubernetes:
    """The reviews, asked with the pod's own ServiceAccount; a connection for each thread."""

    def __init__(self, host: str, port: int, account: Path = ACCOUNT):
        self._host, self._port, self._account = host, port, account
        self._context = ssl.create_default_context(cafile=str(account / "ca.crt"))
        self._local = threading.local()

    def user(self, token: str, audience: str) -> User | None:
        """Whose token it is; None if it is nobody's, has expired, or is meant for others."""
        spec = {"token": token, "audiences": [audience]}
        status = self._review("authentication.k8s.io", "TokenReview", spec)
        if not status.get("authenticated") or audience not in status.get("audiences", ()):
            return None
        found = status["user"]
        return User(found["username"], tuple(found.get("groups", ())))

    def allowed(self, user: User, namespace: str, group: str, resource: str, verb: str) -> bool:
        """Whether the user may."""
        attributes = {"namespace": namespace, "group": group, "resource": resource, "verb": verb}
        groups = [*user.groups, "system:authenticated"]
        spec = {"user": user.name, "groups": groups, "resourceAttributes": attributes}
        status = self._review("authorization.k8s.io", "SubjectAccessReview", spec)
        return status.get("allowed") is True and not status.get("denied")

    def annotations(self, path: str) -> dict[str, str]:
        """An object's, none if it is not there."""
        try:
            status, text = self._ask("GET", path)
            if status == 404:
                return {}
            if status != 200:
                raise ValueError(f"status {status}")
            return dict(json.loads(text)["metadata"].get("annotations") or {})
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
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
        for attempt in (1, 2):
            kept: http.client.HTTPSConnection | None = getattr(self._local, "connection", None)
            connection = kept or http.client.HTTPSConnection(
                self._host, self._port, timeout=TIMEOUT_SECONDS, context=self._context
            )
            self._local.connection = connection
            try:
                connection.request(method, path, body, headers)
                answer = connection.getresponse()
                return answer.status, answer.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                self._local.connection = None
                if kept is None or attempt == 2:
                    raise
                # else the server closed a connection that was idle
        raise ValueError("no answer")


class Authorizer:
    """The decision."""

    def __init__(self, kubernetes: Kubernetes, audience: str, ttl: float):
        self._kubernetes, self._audience = kubernetes, audience
        self._users, self._decisions, self._objects = Cache(ttl), Cache(ttl), Cache(ttl)

    def check(self, headers: Message) -> dict[str, str]:
        """Who may pass, and what the pod gets, as headers.

        Raises:
            Refused: nobody, or not this one.
        """
        for name in OWN:
            if len(headers.get_all(name) or ()) > 1:
                raise Refused(400, f"{name} is there twice")
        scheme, _, token = (headers.get("Authorization") or "").strip().partition(" ")
        machine = scheme.lower() == "bearer"
        user = self._machine(token.strip()) if machine else self._person(headers)
        namespace = headers.get("X-Gateway-Namespace")
        if namespace is not None:
            self._require(user, namespace, headers)
        names = {"Kubeflow-Userid": user.name, "Kubeflow-Groups": ",".join(user.groups)}
        return {**names, **self._wanted(headers)}

    def _wanted(self, headers: Message) -> dict[str, str]:
        """What the object's annotations say of its pod's requests."""
        path, domain = headers.get("X-Gateway-Object"), headers.get("X-Gateway-Annotations")
        if not path or not domain:
            return {}
        found = self._objects.get(path, lambda: self._kubernetes.annotations(path))
        wanted = {}
        if found.get(f"{domain}/http-rewrite-uri") == "/":
            wanted["X-Gateway-Rewrite"] = "/"
        try:
            given = json.loads(found.get(f"{domain}/http-headers-request-set") or "{}")
            root = given.get(ROOT_PATH) if isinstance(given, dict) else None
        except (ValueError, RecursionError):
            root = None  # its owner's mistake: her pod does without
        if isinstance(root, str) and PATH.fullmatch(root):
            wanted[ROOT_PATH] = root
        return wanted

    def _machine(self, token: str) -> User:
        if not token or len(token) > LONGEST:
            raise Refused(401, "this is no token")
        # a digest, so that the cache holds no tokens
        key = hashlib.sha256(token.encode()).digest()
        user = self._users.get(key, lambda: self._kubernetes.user(token, self._audience))
        if user is None:
            raise Refused(401, f"the token is not valid, or not for {self._audience}")
        return user

    def _person(self, headers: Message) -> User:
        name = (headers.get("X-Gateway-User") or "").strip()
        # names of this kind are Kubernetes' own: no issuer may give them
        if not name or name.startswith("system:"):
            raise Refused(401, "log in first")
        groups = (each.strip() for each in (headers.get("X-Gateway-Groups") or "").split(","))
        return User(name, tuple(g for g in groups if g and not g.startswith("system:")))

    def _require(self, user: User, namespace: str, headers: Message) -> None:
        group = headers.get("X-Gateway-Group") or ""
        resource, verb = headers.get("X-Gateway-Resource"), headers.get("X-Gateway-Verb")
        if not namespace or not resource or not verb:
            # an empty namespace would ask for rights in all, or none: never a way in
            raise Refused(403, "the route says not what it needs")
        asked = (user, namespace, group, resource, verb)
        if not self._decisions.get(asked, lambda: self._kubernetes.allowed(*asked)):
            raise Refused(403, f"{user.name} has no right in {namespace}")


def wants_page(headers: Message) -> bool:
    """Whether a person's browser opens a page: what its scripts load names no HTML."""
    method = headers.get("X-Forwarded-Method") or "GET"
    return method in ("GET", "HEAD") and "text/html" in (headers.get("Accept") or "")


def page(status: int, reason: str) -> str:
    """Why a request does not pass, for a person; the reason has names that others gave."""
    title = TITLES.get(status, "This did not work")
    return PAGE.format(title=title, reason=html.escape(reason), status=status)


def server(authorizer: Authorizer, port: int) -> http.server.ThreadingHTTPServer:
    """The HTTP server, on loopback: only what is in the same pod reaches it."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 75
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            if self.path == "/healthz":
                return self._answer(200, "well")
            # Caddy leaves the question mark of a query that is empty
            if self.path not in ("/check", "/check?"):
                return self._answer(404, "there is nothing here")
            try:
                headers = authorizer.check(self.headers)
            except Refused as refused:
                return self._answer(refused.status, str(refused))
            except Exception as error:
                print(f"refused for an error: {error!r}", flush=True)
                return self._answer(500, "this did not work")
            return self._answer(200, "", headers)

        def _answer(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
            kind = "text/plain"
            if status >= 400 and wants_page(self.headers):
                kind, text = "text/html", page(status, text)
            body = text.encode()
            self.send_response(status)
            own = {"Content-Type": f"{kind}; charset=utf-8", **ALWAYS} if body else {}
            for name, value in {**own, **(headers or {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Caddy has the log of requests."""

    found = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    found.daemon_threads = True
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--audience", required=True)
    parser.add_argument("--ttl", type=float, required=True)
    parser.add_argument("--leaving", type=float, required=True, help="seconds after SIGTERM")
    args = parser.parse_args()
    kubernetes = Kubernetes(
        os.environ["KUBERNETES_SERVICE_HOST"], int(os.environ["KUBERNETES_SERVICE_PORT"])
    )
    serving = server(Authorizer(kubernetes, args.audience, args.ttl), args.port)
    # the gateway beside it takes requests for some time when their pod is to go
    leave = threading.Timer(args.leaving, serving.shutdown)
    signal.signal(signal.SIGTERM, lambda *_: leave.is_alive() or leave.start())
    serving.serve_forever()


if __name__ == "__main__":
    main()
