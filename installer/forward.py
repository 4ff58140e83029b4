"""From this host's loopback into the engine's network, through the engine's door."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from types import TracebackType

from localjuju.engine.names import DOOR
from localkube.host import paths
from localkube.host.errors import EngineError

_CHUNK = 1 << 16
_ANSWER_LIMIT = 4096


def connect(address: str) -> socket.socket:
    """A connection to `host:port` inside the engine; names are resolved by the cluster's DNS.

    Raises:
        EngineError: no engine runs, or nothing answers at the address.
    """
    door = socket.socket(socket.AF_UNIX)
    try:
        door.connect(str(paths.state() / DOOR))
        door.sendall(f"CONNECT {address}\n".encode())
        answer = b""
        while not answer.endswith(b"\n") and len(answer) < _ANSWER_LIMIT:
            byte = door.recv(1)  # what follows the line belongs to the connection
            if not byte:
                break
            answer += byte
    except OSError:
        door.close()
        raise EngineError("no engine runs here: ./mlops up starts one") from None
    if answer != b"OK\n":
        door.close()
        said = answer.decode(errors="replace").strip().removeprefix("ERROR ")
        raise EngineError(said or f"the engine ended while it connected to {address}")
    return door


class Forwarder:
    """Listens on this host's loopback and carries every connection to one address inside.

    Attributes:
        port: the port it listens on.
    """

    def __init__(self, address: str, port: int = 0):
        """Listens at once.

        Args:
            address: `host:port` inside the engine.
            port: the host's port; 0 means any free one.

        Raises:
            EngineError: the port is in use or not allowed.
        """
        self._address = address
        try:
            self._listener = socket.create_server(("127.0.0.1", port), reuse_port=False)
        except OSError as error:
            raise EngineError(
                f"cannot listen on 127.0.0.1:{port} ({os.strerror(error.errno or 0)}): "
                "name another with --port"
            ) from None
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Forwarder:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            try:
                door = connect(self._address)
            except EngineError:
                return  # the client sees the connection end, as with a service that is down
            with door:
                back = threading.Thread(target=_copy, args=(door, client), daemon=True)
                back.start()
                _copy(client, door)
                back.join()


def _copy(source: socket.socket, destination: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(_CHUNK):
            destination.sendall(data)
    with contextlib.suppress(OSError):
        destination.shutdown(socket.SHUT_WR)
