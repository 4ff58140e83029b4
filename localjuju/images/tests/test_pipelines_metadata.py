"""What the pipelines' stand-ins say to ML Metadata: messages, and calls over HTTP/2."""

from __future__ import annotations

import contextlib
import importlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import h2.config
import h2.connection
import h2.events
import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"
Answer = Callable[[str, bytes], bytes | None]


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("kfp_metadata")


class Peer:
    """A gRPC server by another implementation of HTTP/2, with its small windows.

    Attributes:
        answer: what is said to a method's message; None refuses it.
        asked: the methods that were called.
    """

    def __init__(self) -> None:
        self.answer: Answer = lambda _, message: message
        self.asked: list[str] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            with client:
                self._one(client)

    def _one(self, client: socket.socket) -> None:
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        connection = h2.connection.H2Connection(config)
        connection.initiate_connection()
        connection.ping(b"12345678")
        client.sendall(connection.data_to_send())
        method, got = "", b""
        while content := client.recv(65536):
            for event in connection.receive_data(content):
                if isinstance(event, h2.events.RequestReceived):
                    names = {str(key): str(value) for key, value in event.headers or ()}
                    assert names["content-type"] == "application/grpc"
                    method = names[":path"].removeprefix("/ml_metadata.MetadataStoreService/")
                elif isinstance(event, h2.events.DataReceived):
                    got += event.data or b""
                    connection.acknowledge_received_data(event.flow_controlled_length, 1)
                elif isinstance(event, h2.events.StreamEnded):
                    self._say(connection, method, got)
            client.sendall(connection.data_to_send())

    def _say(self, connection: h2.connection.H2Connection, method: str, got: bytes) -> None:
        self.asked.append(method)
        said = self.answer(method, got[5:])
        if said is None:
            end = [(":status", "200"), ("grpc-status", "6"), ("grpc-message", "there already")]
            connection.send_headers(1, end, end_stream=True)
            return
        connection.send_headers(1, [(":status", "200"), ("content-type", "application/grpc")])
        said = b"\0" + len(said).to_bytes(4, "big") + said
        for start in range(0, len(said), 16384):
            connection.send_data(1, said[start : start + 16384])
        connection.send_headers(1, [("grpc-status", "0")], end_stream=True)


@pytest.fixture
def peer() -> Iterator[Peer]:
    """A server that says what it is told."""
    found = Peer()
    yield found
    found.close()


@pytest.mark.parametrize("size", [1, 60_000, 1_000_000])
def test_a_message_of_any_size_goes_and_comes_back(metadata: ModuleType, peer: Peer, size: int):
    store = metadata.Store(peer.address, 1)
    found = store.call("PutExecution", metadata.field(1, "x" * size), metadata.field(2, 7))
    assert found == {1: [b"x" * size], 2: [7]}


def test_what_is_refused_is_named(metadata: ModuleType, peer: Peer):
    peer.answer = lambda *_: None
    with pytest.raises(metadata.StoreError, match="ML Metadata refuses PutContexts"):
        metadata.Store(peer.address, 1).call("PutContexts")


def test_a_store_that_is_away_is_waited_for(
    metadata: ModuleType, peer: Peer, monkeypatch: pytest.MonkeyPatch
):
    waited: list[int] = []
    monkeypatch.setattr(metadata, "pause", waited.append)
    peer.answer = lambda *_: b"" if waited else None
    assert metadata.Store(peer.address, 3).call("GetArtifactsByID") == {}
    assert waited == [0]
    with pytest.raises(metadata.StoreError, match=r"GetArtifactsByID of 127\.0\.0\.1"):
        metadata.Store("127.0.0.1:1", 2).call("GetArtifactsByID")


def test_a_context_that_another_step_makes_meanwhile_is_taken(metadata: ModuleType, peer: Peer):
    made = metadata.field(1, 5) + metadata.field(3, "run-1")
    answers = iter([b"", metadata.field(1, 2), None, metadata.field(1, made)])
    peer.answer = lambda *_: next(answers)
    assert metadata.Store(peer.address, 1).context("system.PipelineRun", "run-1") == made
    assert peer.asked == [
        "GetContextByTypeAndName", "PutContextType", "PutContexts", "GetContextByTypeAndName",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "value", [0, -1, 2**40, 0.25, True, "", "ä", {"a": [1, None, {"b": "c"}], "d": False}]
)
def test_properties_are_read_as_they_were_written(metadata: ModuleType, value: object):
    found = metadata.read_properties(metadata.fields(metadata.properties({"key": value})))
    assert found == {"key": value}


def test_repeated_numbers_are_read_packed_or_not(metadata: ModuleType):
    packed = metadata.field(1, metadata.varint(3) + metadata.varint(300))
    plain = metadata.field(1, 3) + metadata.field(1, 300)
    for each in (packed, plain):
        assert metadata.whole_numbers(metadata.fields(each), 1) == [3, 300]


def test_what_connects_a_step_and_an_artifact_has_the_name_that_it_has_there(metadata: ModuleType):
    listed = {"data": [{"artifact_id": 4}, {"uri": "minio://b/k"}]}
    (pair,) = metadata.fields(metadata.input_events(listed))[2]
    event = metadata.fields(metadata.fields(pair)[2][0])
    assert (event[1], event[4]) == ([4], [3])
    step = metadata.fields(metadata.fields(event[3][0])[1][0])
    assert step[2] == [b"data"]
