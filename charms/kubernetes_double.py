"""A Kubernetes API of a few objects, for actions: get, list, watch, make, patch, delete."""

from __future__ import annotations

import datetime
import http.server
import ipaddress
import json
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from charms.small_servers import serving

Object = dict[str, Any]


class Api:
    """The objects by the path of their list; reached over TLS as a pod reaches the real one.

    Attributes:
        calls: "METHOD /path" of each call.
        created: is told the path of the list and each object that a call made: a controller.
    """

    def __init__(self) -> None:
        self.lists: dict[str, dict[str, Object]] = {}
        self.forbidden: set[str] = set()
        self.calls: list[str] = []
        self.created: Callable[[str, Object], None] = lambda path, found: None

    def add(self, path: str, found: Object) -> None:
        """Put an object into the list at `path`, which it is found by."""
        self.lists.setdefault(path, {})[found["metadata"]["name"]] = found

    def get(self, path: str, name: str) -> Object:
        """The object as it is now."""
        return self.lists[path][name]

    def answer(self, method: str, path: str, body: Object) -> tuple[int, Object]:
        """Status and answer of one call."""
        self.calls.append(f"{method} {path}")
        if path in self.forbidden:
            return 403, {"message": "no right"}
        if method == "POST":
            if body["metadata"]["name"] in self.lists.get(path, {}):
                return 409, {"message": f"{body['metadata']['name']} already exists"}
            self.add(path, body)
            self.created(path, body)
            return 201, body
        parent, _, name = path.rpartition("/")
        known = path in self.lists or parent in self.lists
        if method == "GET" and (path in self.lists or not known):
            return 200, {"items": self._listed(path)}
        if name not in self.lists.get(parent, {}):
            return 404, {}
        found = self.lists[parent][name]
        if method == "PATCH":
            _merge(found, body)
        elif method == "DELETE":
            del self.lists[parent][name]
        return 200, found

    def events(self, path: str, name: str) -> list[Object]:
        """What a watch for one object says until its time is over: it is there, or nothing."""
        found = self.lists.get(path, {}).get(name)
        return [{"type": "ADDED", "object": found}] if found else []

    def _listed(self, path: str) -> list[Object]:
        """A list of one namespace, or of all when the path names none."""
        group, _, plural = path.rpartition("/")
        return [
            each
            for where, objects in sorted(self.lists.items())
            if where == path
            or (where.startswith(f"{group}/namespaces/") and where.endswith(f"/{plural}"))
            for each in objects.values()
        ]


@contextmanager
def served(api: Api, folder: Path) -> Iterator[tuple[int, Path]]:
    """The port it answers on, and the folder of a ServiceAccount that may call it."""
    key, certificate = _certificate()
    (folder / "token").write_text("a-token")
    (folder / "ca.crt").write_bytes(certificate)
    (folder / "server.pem").write_bytes(key + certificate)

    class Handler(http.server.BaseHTTPRequestHandler):
        def _do(self) -> None:
            assert self.headers["Authorization"] == "Bearer a-token"
            text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            url = urlsplit(self.path)
            query = parse_qs(url.query)
            if "watch" in query:
                name = query["fieldSelector"][0].removeprefix("metadata.name=")
                status, found = 200, api.events(url.path, name)
            else:
                status, answer = api.answer(self.command, url.path, json.loads(text or "{}"))
                if "fieldSelector" in query and "items" in answer:
                    field, _, wanted = query["fieldSelector"][0].partition("=")
                    items = [each for each in answer["items"] if _at(each, field) == wanted]
                    answer = {**answer, "items": items}
                found = [answer]
            self.send_response(status)
            self.end_headers()
            self.wfile.write("".join(json.dumps(each) + "\n" for each in found).encode())

        do_GET = do_POST = do_PATCH = do_DELETE = _do  # noqa: N815 (the standard library's names)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with serving(server):
        yield server.server_port, folder


def _at(found: Object, path: str) -> Any:
    """A field by its path, such as `status.podIP`."""
    for name in path.split("."):
        found = found.get(name) or {}
    return found


def _merge(found: Object, patch: Object) -> None:
    """https://datatracker.ietf.org/doc/html/rfc7386"""
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        elif isinstance(value, dict):
            _merge(found.setdefault(key, {}), value)
        else:
            found[key] = value


def _certificate() -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    start = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=1)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return private, certificate.public_bytes(serialization.Encoding.PEM)
