"""The model's API over a unix socket: `POST /v1/call`, `GET /v1/log` and `POST /v1/exec`."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import logging
from pathlib import Path
from typing import Any

from aiohttp import web

from localjuju.model import models
from localjuju.model.api import Api
from localjuju.model.db import Database
from localjuju.model.errors import ModelError, NotSupported
from localjuju.model.logs import ModelLog
from localjuju.model.substrate import Incoming
from localjuju.streams import END, HEADER, REQUEST, packed, packed_json
from localkube.host import sockets
from localkube.host.errors import EngineError

_log = logging.getLogger(__name__)


class Server:
    """Serves while between `start` and `stop`; only the owner of the socket may call."""

    def __init__(self, path: Path, api: Api, db: Database, log: ModelLog):
        self._path, self._api, self._db, self._lines = path, api, db, log
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        application = web.Application(client_max_size=128 << 20)
        application.router.add_post("/v1/call", self._call)
        application.router.add_get("/v1/log", self._follow)
        application.router.add_post("/v1/exec", self._exec)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
        await runner.setup()
        await web.SockSite(runner, sockets.listen(self._path)).start()
        self._runner = runner

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()
            self._path.unlink(missing_ok=True)

    async def _call(self, request: web.Request) -> web.Response:
        try:
            body = await request.json()
            result = await self._run(str(body["method"]), body.get("params") or {})
            return web.json_response({"result": result})
        except ModelError as error:
            return _failure(str(error), error.code)
        except EngineError as error:
            return _failure(str(error), "invalid")
        except (ValueError, KeyError, AttributeError):
            return _failure('expected {"method": …, "params": {…}}', "invalid")

    async def _exec(self, request: web.Request) -> web.StreamResponse:
        """A program in a container: both bodies are messages of `localjuju.streams`.

        What is refused before the program printed anything is an answer with status 400.
        """
        response = web.StreamResponse()

        async def tell(channel: int, data: bytes) -> None:
            if not response.prepared:
                await response.prepare(request)
            await response.write(packed(channel, data))

        try:
            incoming = _messages(request)
            channel, data = await anext(incoming)
            if channel != REQUEST:
                raise ModelError("expected what is to be run")
            code = await self._run(
                "exec_container", json.loads(data) | {"incoming": incoming, "tell": tell}
            )
            ended = {"code": code}
        except (EngineError, ConnectionError, TypeError, ValueError) as error:
            if not response.prepared:
                return _failure(str(error), getattr(error, "code", "invalid"))
            ended = {"error": str(error)}
        with contextlib.suppress(ConnectionError):  # the client may have gone
            if not response.prepared:
                await response.prepare(request)
            await response.write(packed_json(END, ended))
            # The rest of its body may come as long as its input does: nobody reads it.
            response.force_close()
        return response

    async def _run(self, name: str, params: dict[str, Any]) -> Any:
        method = None if name.startswith("_") else getattr(self._api, name, None)
        if method is None:
            raise NotSupported(name)
        try:
            inspect.signature(method).bind(**params)
        except TypeError as error:
            raise ModelError(f"{name}: {error}") from None
        try:
            result = method(**params)
            return await result if inspect.isawaitable(result) else result
        except EngineError:
            raise
        except Exception as error:
            _log.exception("%s failed", name)
            raise ModelError(f"{name}: {error or type(error).__name__}; see engine.log") from None

    async def _follow(self, request: web.Request) -> web.StreamResponse:
        """JSON lines. `replay=1`: from the beginning; `follow=1`: without end."""
        model = request.query.get("model", "")
        try:
            models.get(self._db, model)
        except ModelError as error:
            return _failure(str(error), error.code)
        on = ("1", "true", "True", "yes")
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        follow = request.query.get("follow") in on
        lines = self._lines.follow(model) if follow else None
        if request.query.get("replay") in on or not follow:
            for line in self._lines.past(model):
                await response.write(json.dumps(line).encode() + b"\n")
        if lines is not None:
            async for line in lines:
                await response.write(json.dumps(line).encode() + b"\n")
        return response


async def _messages(request: web.Request) -> Incoming:
    """Raises ConnectionError: the client has gone without ending its body."""
    try:
        while True:
            channel, length = HEADER.unpack(await request.content.readexactly(HEADER.size))
            yield channel, await request.content.readexactly(length)
    except asyncio.IncompleteReadError:
        raise ConnectionError("the client has gone") from None


def _failure(message: str, code: str) -> web.Response:
    return web.json_response({"error": " ".join(message.split()), "code": code}, status=400)
