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

Standard library only, and the one file that reviews.py is: it runs in a plain Python image.
"""

from __future__ import annotations

import hashlib
import html
import http.server
import json
import re
from collections.abc import Mapping
from email.message import Message

from charmed_mlops.reviews import (
    Cache,
    Handler,
    Kubernetes,
    Refused,
    User,
    arguments,
    kubernetes,
    listening,
    serve,
)

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
TITLES = {400: "This request is not clear", 401: "You are not logged in",
          403: "You may not open this", 503: "Not now"}  # fmt: skip


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
    """The HTTP server, on loopback."""

    class Door(Handler):
        def asked(self) -> None:
            # Caddy leaves the question mark of a query that is empty
            if self.path in ("/check", "/check?"):
                return self.decide(lambda: authorizer.check(self.headers))
            return super().asked()

        def answer(
            self, status: int, text: str, headers: Mapping[str, str] | None = None,
            kind: str = "text/plain",
        ) -> None:  # fmt: skip
            if status >= 400 and wants_page(self.headers):
                kind, text = "text/html", page(status, text)
            super().answer(status, text, headers, kind)

    return listening(Door, port)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--audience", required=True)
    args = parser.parse_args()
    authorizer = Authorizer(kubernetes(), args.audience, args.ttl)
    serve(server(authorizer, args.port), args.leaving)


if __name__ == "__main__":
    main()
