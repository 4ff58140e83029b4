"""The door: one line to ask for an address, then bytes both ways."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from localjuju.engine.door import Door


@pytest.fixture
async def door(tmp_path: Path):
    door = Door(tmp_path / "door.sock")
    await door.start()
    yield tmp_path / "door.sock"
    await door.stop()


async def _ask(socket: Path, line: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_unix_connection(str(socket))
    writer.write(line.encode() + b"\n")
    return reader, writer


async def test_bytes_travel_both_ways_and_the_end_of_input_is_passed_on(door: Path):
    async def upper(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read()).upper())
        writer.close()

    server = await asyncio.start_server(upper, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await _ask(door, f"CONNECT 127.0.0.1:{port}")
    assert await reader.readline() == b"OK\n"
    writer.write(b"x" * 300_000)
    writer.write_eof()
    assert await reader.read() == b"X" * 300_000
    writer.close()
    server.close()


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("CONNECT 127.0.0.1:1", rb"ERROR cannot reach CONNECT 127\.0\.0\.1:1: .*"),
        ("HELLO", rb"ERROR cannot reach HELLO: expected: CONNECT host:port"),
        ("CONNECT nowhere", rb"ERROR .* expected: CONNECT host:port"),
    ],
)
async def test_a_refused_address_is_one_line(door: Path, line: str, answer: bytes):

    reader, writer = await _ask(door, line)
    assert re.fullmatch(answer + b"\n", await reader.read())
    writer.close()


async def test_only_the_owner_may_connect(door: Path):
    assert door.stat().st_mode & 0o777 == 0o600
