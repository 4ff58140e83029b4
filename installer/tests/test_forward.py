"""The way into the engine, through the engine's own door."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from installer.forward import Forwarder, connect
from localjuju.engine.door import Door
from localkube.host.errors import EngineError
from localkube.tests.ports import ports


@pytest.fixture
def door(state: Path) -> Iterator[None]:
    """The engine's door, served on a thread of its own."""
    loop = asyncio.new_event_loop()
    served = Door(state / "door.sock")
    loop.run_until_complete(served.start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield
    asyncio.run_coroutine_threadsafe(served.stop(), loop).result(5)
    asyncio.run_coroutine_threadsafe(_end(), loop).result(5)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


async def _end() -> None:
    """Ends connections that are still open."""
    own = asyncio.current_task()
    tasks = [task for task in asyncio.all_tasks() if task is not own]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def upper() -> Iterator[int]:
    """A server that answers all it was sent, in capitals, once the sender has ended."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                data = b""
                while part := client.recv(1 << 16):
                    data += part
                client.sendall(data.upper())

    thread = threading.Thread(target=serve)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def test_bytes_go_both_ways_and_an_end_is_passed_on(door: None, upper: int):
    sent = b"hello " * 100_000
    with (
        Forwarder(f"127.0.0.1:{upper}") as forwarder,
        socket.create_connection(("127.0.0.1", forwarder.port), timeout=10) as client,
    ):
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while part := client.recv(1 << 16):
            answer += part
    assert answer == sent.upper()


def test_a_service_that_is_down_ends_the_connection(door: None):
    (port,) = ports(1)
    with pytest.raises(EngineError, match=f"cannot reach CONNECT 127.0.0.1:{port}"):
        connect(f"127.0.0.1:{port}")
    with (
        Forwarder(f"127.0.0.1:{port}") as forwarder,
        socket.create_connection(("127.0.0.1", forwarder.port), timeout=10) as client,
    ):
        assert client.recv(1) == b""


def test_without_an_engine(state: Path):
    with pytest.raises(EngineError, match=r"no engine runs here: \./mlops up starts one"):
        connect("mlflow:5000")


def test_port_in_use_is_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EngineError, match=rf"127\.0\.0\.1:{port} .*in use.*--port"):
            Forwarder("x:1", port)
