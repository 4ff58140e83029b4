"""Answers on the host's side which images there are: inside there is no network to make one with.

One request a connection on a Unix socket in the state folder: the reference as a JSON string and
a newline; the answer is one JSON object, `{"image": …}`, null where there is none, or
`{"error": "one line"}`.
"""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from localkube.host import sockets
from localkube.host.errors import EngineError
from localkube.images.image import Image
from localkube.images.layers import Layer
from localkube.images.registry import Find

SOCKET = "images.sock"
"""The socket's name in the state folder."""


class _Threads(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True  # an image may take minutes


class Finder:
    """Serves requests, each in a thread of its own."""

    def __init__(self, path: Path, find: Find):
        """Prepares; listens to nothing.

        Args:
            path: of the socket; one that was left behind is replaced.
            find: tells which images there are.
        """
        self._path = path
        self._find = find
        self._server: _Threads | None = None

    def start(self) -> None:
        """Listens.

        Raises:
            OSError: no socket can be made at the path.
        """
        find = self._find

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                reference = json.loads(self.rfile.readline())
                self.wfile.write(json.dumps(_answer(find, reference)).encode() + b"\n")

        listening = sockets.listen(self._path)
        self._server = _Threads(str(self._path), Handler, bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = listening
        threading.Thread(target=self._server.serve_forever, daemon=True, name="finder").start()

    def stop(self) -> None:
        """Takes no more requests and removes the socket."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
        self._path.unlink(missing_ok=True)


def ask(path: Path, reference: str) -> Image | None:
    """The image of a reference, or None; see `localkube.images.registry.Find`.

    Raises:
        EngineError: it cannot be made, or nobody answers.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made, made.makefile("rwb") as stream:
        try:
            made.connect(str(path))
            stream.write(json.dumps(reference).encode() + b"\n")
            stream.flush()
            line = stream.readline()
        except OSError as error:
            raise EngineError(f"cannot ask for image {reference}: {error}") from None
    if not line:
        raise EngineError(f"what makes images ended while it made {reference}")
    answer = json.loads(line)
    if "error" in answer:
        raise EngineError(answer["error"])
    return None if answer["image"] is None else _read(answer["image"])


def _answer(find: Find, reference: str) -> dict[str, Any]:
    try:
        image = find(reference)
    except (EngineError, OSError) as error:
        return {"error": str(error)}
    return {"image": None if image is None else _write(image)}


def _write(image: Image) -> dict[str, Any]:
    layers = [{**asdict(layer), "folder": str(layer.folder)} for layer in image.layers]
    return {**asdict(image), "layers": layers}


def _read(said: Mapping[str, Any]) -> Image:
    layers = [
        Layer(
            **{
                **layer,
                "folder": Path(layer["folder"]),
                "owners": {path: (user, group) for path, (user, group) in layer["owners"].items()},
            }
        )
        for layer in said["layers"]
    ]
    return Image(**{**said, "layers": layers})
