"""Calls the model's API over its Unix socket; standard library only, so that starting is quick."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any

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
