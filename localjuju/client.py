"""Calls the model's API over its Unix socket; standard library only, so that starting is quick."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

from localjuju.streams import HEADER, REQUEST, Message, packed, packed_json
from localkube.host import paths
from localkube.host.errors import EngineError


class ApiError(EngineError):
    """The model refused a request.

    Attributes:
        code: not-found, invalid, not-supported.
    """

    def __init__(self, message: str, code: str):
        super().__init__(message)
        self.code = code


class Client:
    """One connection for each call."""

    def call(self, method: str, **params: Any) -> Any:
        """Calls a method of `localjuju.model.api.Api` and returns its result.

        Raises:
            ApiError: the model refused; EngineError: no engine runs.
        """
        connection = _connect()
        try:
            body = json.dumps({"method": method, "params": params})
            connection.request("POST", "/v1/call", body, {"Content-Type": "application/json"})
            answer = json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise EngineError(f"the engine went away: {error or 'no answer'}") from None
        finally:
            connection.close()
        if "error" in answer:
            raise ApiError(answer["error"], answer.get("code", "invalid"))
        return answer.get("result")

    def log(self, model: str, *, replay: bool, follow: bool) -> Iterator[dict[str, Any]]:
        """The lines of a model's log.

        Raises:
            ApiError: no such model; EngineError: no engine runs.
        """
        connection = _connect()
        try:
            query = f"model={model}&replay={int(replay)}&follow={int(follow)}"
            connection.request("GET", f"/v1/log?{query}")
            response = connection.getresponse()
            if response.status != 200:
                answer = json.loads(response.read())
                raise ApiError(answer["error"], answer.get("code", "invalid"))
            while line := response.readline():
                yield json.loads(line)
        finally:
            connection.close()

    def execute(self, **request: Any) -> Execution:
        """Starts a program in a container: the parameters are those of `Api.exec_container`.

        Raises:
            EngineError: no engine runs.
        """
        return Execution(_connect(), request)


class Execution:
    """A program in a container: some threads may send while one reads."""

    def __init__(self, connection: http.client.HTTPConnection, request: dict[str, Any]):
        self._connection, self._socket = connection, connection.sock
        self._lock = threading.Lock()
        connection.putrequest("POST", "/v1/exec")
        connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders()
        self._write(packed_json(REQUEST, request))

    def send(self, channel: int, data: bytes) -> None:
        """Raises OSError: the program has ended, or the engine."""
        self._write(packed(channel, data))

    def _write(self, data: bytes) -> None:
        with self._lock:
            self._socket.sendall(b"%x\r\n%b\r\n" % (len(data), data))

    def messages(self) -> Iterator[Message]:
        """What the program prints, and at last how it ended.

        Raises:
            ApiError: the program cannot run; EngineError: the engine went away.
        """
        try:
            response = self._connection.getresponse()
            if response.status != 200:
                answer = json.loads(response.read())
                raise ApiError(answer["error"], answer.get("code", "invalid"))
            while header := response.read(HEADER.size):
                channel, length = HEADER.unpack(header)
                yield channel, response.read(length) if length else b""
        except (OSError, http.client.HTTPException, ValueError, struct.error) as error:
            raise EngineError(f"the engine went away: {error or 'no answer'}") from None
        finally:
            self._connection.close()


def _connect() -> http.client.HTTPConnection:
    path = paths.state() / "engine.sock"
    connection = http.client.HTTPConnection("engine")
    connection.sock = socket.socket(socket.AF_UNIX)
    try:
        connection.sock.connect(str(path))
    except OSError:
        connection.close()
        raise EngineError("no engine runs here: ./mlops up starts one") from None
    return connection
