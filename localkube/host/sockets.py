"""Unix sockets: who may connect is settled before anybody can."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
_BACKLOG = 128
_LINE_BYTES = 1 << 16


def listen(path: Path, mode: int = 0o600) -> socket.socket:
    """A socket that listens at `path`; one that was left behind there is replaced.

    It is bound under another name and moved, so that who sees `path` can connect. The mode is set
    between bind and listen, when connections are refused still; a umask would be that of every
    other task as well.
    """
    hidden = path.with_name(f".{os.getpid()}")  # short: a Unix socket's path may have 107 bytes
    hidden.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.bind(str(hidden))
        hidden.chmod(mode)
        made.listen(_BACKLOG)
        hidden.rename(path)
    except BaseException:
        made.close()
        hidden.unlink(missing_ok=True)
        raise
    return made


class PrivateSocket:
    """Serves connections between `start` and `stop`; with another `mode`, not only the owner's.

    Args:
        limit: bytes that a line of a request may have.
    """

    def __init__(self, path: Path, serve: Serve, *, mode: int = 0o600, limit: int = _LINE_BYTES):
        self._path = path
        self._serve = serve
        self._mode, self._limit = mode, limit
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listens; a socket that was left behind is replaced."""
        made = listen(self._path, self._mode)
        self._server = await asyncio.start_unix_server(self._serve, sock=made, limit=self._limit)

    async def stop(self) -> None:
        """Stops listening and removes the socket; open connections end with the process."""
        if self._server is not None:
            self._server.close()
        self._path.unlink(missing_ok=True)
