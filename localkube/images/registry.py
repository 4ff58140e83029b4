"""A registry that is only read, for containerd on the same loopback: images as they are asked for.

It answers for every host name: containerd asks it for `quay.io/a/b:1` as for `b:1`. It speaks the
part of the OCI distribution specification 1.1 that a pull needs.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from localkube.host import paths
from localkube.host.errors import EngineError
from localkube.images.image import Blob, Image, forget, pack
from localkube.images.layers import Layer

HOST = "127.0.0.1"
PORT = 5000
_PATH = re.compile(r"/v2/(?P<name>.+)/(?P<part>manifests|blobs)/(?P<reference>[^/]+)")
_log = logging.getLogger(__name__)


def digests() -> Path:
    """The folder of the digests of all layers that were read on this machine."""
    return paths.cache() / "builds" / "digests"


Find = Callable[[str], Image | None]
"""`find(reference)`: the image of a whole reference, such as `docker.io/library/a:1`, or None.

It is called by several threads at once, and may take its time. It raises EngineError where the
image cannot be made.
"""


def none(reference: str) -> Image | None:
    """Finds no image."""
    del reference


_URL = f"http://{HOST}:{PORT}"
_CAPABILITIES = 'capabilities = ["pull", "resolve"]\n'


def hosts() -> str:
    """containerd's `hosts.toml`: all that is pulled is asked for here, nowhere else.

    An empty `host` is no other server to be tried first; containerd 1.6 reads no file without.
    """
    return f'server = "{_URL}"\n{_CAPABILITIES}[host]\n'


def hosts_before(mirror: str = "") -> str:
    """containerd's `hosts.toml`: asked for here first, and elsewhere what is not found here.

    Args:
        mirror: the URL of who is asked then; the image's own registry where it is empty.
    """
    server = f'server = "{mirror}"\n{_CAPABILITIES}' if mirror else ""
    return f'{server}[host."{_URL}"]\n{_CAPABILITIES}'


class Registry:
    """The server, in threads of its own."""

    def __init__(self, find: Find, kept: Path):
        """Prepares; listens to nothing.

        Args:
            find: tells which images there are.
            kept: the folder of all layers' digests.
        """
        self._find = find
        self._kept = kept
        self._blobs: dict[str, Blob | EngineError] = {}
        self._server: ThreadingHTTPServer | None = None

    def start(self, port: int = PORT) -> int:
        """Listens; returns the port.

        Args:
            port: 0 for any that is free.

        Raises:
            OSError: the port is taken.
        """
        registry = self

        class Handler(_Handler):
            def blob(self, reference: str, digest: str) -> Blob | None:
                return registry.blob(reference, digest)

            def read(self, blob: Blob) -> Iterator[bytes]:
                return registry.read(blob)

        self._server = ThreadingHTTPServer((HOST, port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True, name="registry").start()
        return self._server.server_address[1]

    def stop(self) -> None:
        """Takes no more requests."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def blob(self, reference: str, digest: str) -> Blob | None:
        """What a digest names; the manifest of an image where there is none.

        Args:
            reference: the image's, with its tag or digest; empty for a blob.
            digest: such as `sha256:…`, or empty.

        Raises:
            EngineError: the image cannot be made, or the layer is not any more what it was.
        """
        known = self._blobs.get(digest)
        if isinstance(known, EngineError):
            raise known
        if known is not None:
            return known
        image = self._find(reference) if reference else None
        if image is None:
            return None
        manifest, named = pack(image, self._kept)
        self._blobs.update({blob.digest: blob for blob in (manifest, *named)})
        return manifest if digest in ("", manifest.digest) else None

    def read(self, blob: Blob) -> Iterator[bytes]:
        """A blob's bytes, in chunks; a layer whose tree has changed is read anew the next time.

        Raises:
            EngineError: it has changed; what came so far is to be thrown away.
        """
        try:
            yield from blob.read()
        except EngineError as error:
            assert isinstance(blob.content, Layer)
            self._blobs[blob.digest] = error
            forget(blob.content, self._kept)
            raise


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60  # seconds for which a connection may be idle

    def blob(self, reference: str, digest: str) -> Blob | None:
        raise NotImplementedError

    def read(self, blob: Blob) -> Iterator[bytes]:
        raise NotImplementedError

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        found = self._answer()
        if found is None:
            return
        try:
            for chunk in self.read(found):
                self.wfile.write(chunk)
        except EngineError as error:
            # Its end lacks, so containerd asks once more, and is told why.
            _log.warning("%s: %s", self.path, error)
            self.close_connection = True

    def _answer(self) -> Blob | None:
        """Sends the head of the answer; the blob whose bytes come next, if any."""
        url = urlsplit(self.path)
        if url.path == "/v2/":
            self._head(HTTPStatus.OK)
            return None
        match = _PATH.fullmatch(url.path)
        try:
            found = match and self.blob(*_asked(match, parse_qs(url.query)))
        except (EngineError, OSError) as error:
            _log.warning("%s: %s", url.path, error)
            # containerd tells the status line to the user, and nothing of what comes after it.
            why = " ".join(str(error).split()).encode("ascii", "replace").decode()
            self._head(HTTPStatus.BAD_GATEWAY, why)
            return None
        if not found:
            self._head(HTTPStatus.NOT_FOUND)
            return None
        headers = {"Content-Type": found.kind, "Docker-Content-Digest": found.digest}
        self._head(HTTPStatus.OK, None, found.size, headers)
        return found

    def _head(
        self, code: int, message: str | None = None, size: int = 0,
        headers: dict[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.send_response(code, message)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(size))
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        _log.debug(format, *args)


def _asked(match: re.Match[str], query: dict[str, list[str]]) -> tuple[str, str]:
    """The image's reference and the digest that a request names."""
    reference = match["reference"]
    digest = reference if ":" in reference else ""
    if match["part"] == "blobs":
        return "", digest
    # containerd says with `ns` whose mirror it takes this registry for.
    name = "/".join([*query.get("ns", []), match["name"]])
    return f"{name}{'@' if digest else ':'}{reference}", digest
