"""A Unix socket that only its owner may connect to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class PrivateSocket:
    """Serves connections between `start` and `stop`."""

    def __init__(self, path: Path, serve: Serve):
        self._path = path
        self._serve = serve
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listens; a socket that was left behind is replaced."""
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, str(self._path))
        self._path.chmod(0o600)

    async def stop(self) -> None:
        """Stops listening and removes the socket; open connections end with the process."""
        if self._server is not None:
            self._server.close()
        self._path.unlink(missing_ok=True)
