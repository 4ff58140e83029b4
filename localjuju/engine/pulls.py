"""Asks the outer process for an image: the inner one has no network to build it with.

One request a connection on `state()/images.sock`: the reference as a JSON string and a newline;
the answer is one JSON object, `{"image": …}` or `{"error": "one line"}`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

from localjuju.images import Image
from localkube.host.errors import EngineError
from localkube.host.sockets import PrivateSocket

_LIMIT = 1 << 20


class PullServer(PrivateSocket):
    """Serves image requests in the outer process; each distinct image is built once at a time."""

    def __init__(self, socket: Path, ensure: Callable[[str], Image]):
        super().__init__(socket, self._serve_one)
        self._ensure = ensure

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            reference = json.loads(await reader.readline())
            try:
                image = await asyncio.to_thread(self._ensure, reference)
                answer = {"image": image.to_json()}
            except (EngineError, OSError) as error:
                answer = {"error": str(error)}
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        except (ConnectionError, ValueError):
            pass
        finally:
            writer.close()


async def pull(socket: Path, reference: str) -> Image:
    """Returns the image, built first where it is not in the cache.

    Raises:
        EngineError: no catalogue entry, or the build failed; the line says which and what to do.
    """
    try:
        reader, writer = await asyncio.open_unix_connection(str(socket), limit=_LIMIT)
    except OSError as error:
        raise EngineError(f"cannot ask for image {reference}: {error}") from None
    try:
        writer.write(json.dumps(reference).encode() + b"\n")
        line = await reader.readline()
    finally:
        writer.close()
    if not line:
        raise EngineError(f"the builder of images ended while it built {reference}")
    answer = json.loads(line)
    if "error" in answer:
        raise EngineError(answer["error"])
    return Image.from_json(answer["image"])
