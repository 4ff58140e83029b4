"""The way from the host into the engine's network: one Unix socket, one line, then bytes.

A client connects to `state()/door.sock` (Unix sockets cross network namespaces), sends
`CONNECT host:port\\n`, reads `OK\\n` or `ERROR one line\\n`, and from then on has the connection.
Names are resolved by the cluster's DNS: `mlflow.mlops.svc.cluster.local:5000`.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from localkube.host.sockets import PrivateSocket

_CHUNK = 1 << 16


class Door(PrivateSocket):
    """Serves the socket inside the engine's namespaces."""

    def __init__(self, socket: Path):
        super().__init__(socket, self._serve_one)

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = (await reader.readline()).decode(errors="replace").strip()
            try:
                verb, _, address = line.partition(" ")
                host, _, port = address.rpartition(":")
                if verb != "CONNECT" or not host or not port.isdigit():
                    raise ValueError("expected: CONNECT host:port")
                peer_reader, peer_writer = await asyncio.open_connection(host, int(port))
            except (OSError, ValueError) as error:
                writer.write(f"ERROR cannot reach {line}: {error}\n".encode())
                await writer.drain()
                return
            writer.write(b"OK\n")
            await join(reader, writer, peer_reader, peer_writer)
        except ConnectionError:
            pass
        finally:
            writer.close()


async def join(
    left_reader: asyncio.StreamReader,
    left_writer: asyncio.StreamWriter,
    right_reader: asyncio.StreamReader,
    right_writer: asyncio.StreamWriter,
) -> None:
    """Copies both ways until both sides have ended; an end of input is passed on as one."""
    try:
        await asyncio.gather(_copy(left_reader, right_writer), _copy(right_reader, left_writer))
    finally:
        right_writer.close()
        left_writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:  # the other side is gone, or was before its end could be told
        writer.close()
