"""What the API server asks of a node: logs of containers, and programs in them.

Exec comes as a WebSocket (protocols v4 and v5 of channel.k8s.io): the API server is told to pass
it on as it is, so that no SPDY is needed. Only the API server's client certificate is let in.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import os
import ssl
from collections.abc import Callable
from pathlib import Path

from aiohttp import WSMsgType, web

from localjuju.node import logs
from localjuju.node.container import Container
from localjuju.node.pod import PodWorker
from localjuju.node.runtime import Runtime
from localkube.controlplane.pki import Authority
from localkube.host import system

PORT = 10250
_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_STDIN, _STDOUT, _STDERR, _ERROR, _CLOSE = 0, 1, 2, 3, 255
_NOT_SUPPORTED = "not supported by localjuju"

Find = Callable[[str, str], PodWorker]
"""`find(namespace, pod)`; raises OSError where there is none."""


class Kubelet:
    """The HTTPS server of the node."""

    def __init__(self, find: Find, runtime: Runtime, state: Path, address: str):
        self._find = find
        self._runtime = runtime
        self._state = state
        self._address = address
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listens on the node's address."""
        authority = Authority(self._state / "pki")
        pair = authority.issue("kubelet", "localhost", hosts=(self._address, "localhost"))
        context = ssl.create_default_context(
            ssl.Purpose.CLIENT_AUTH, cafile=str(authority.pair.certificate)
        )
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(pair.certificate, pair.key)
        application = web.Application()
        application.add_routes(
            [
                web.get("/healthz", lambda _: _text("ok")),
                web.get("/containerLogs/{namespace}/{pod}/{container}", self._logs),
                web.route("*", "/exec/{namespace}/{pod}/{container}", self._exec),
                web.route(
                    "*", "/{kind:attach|portForward}/{rest:.*}",
                    lambda _: _text(_NOT_SUPPORTED, 501),
                ),
            ]
        )  # fmt: skip
        self._runner = web.AppRunner(application, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._address, PORT, ssl_context=context).start()

    async def stop(self) -> None:
        """Stops listening and ends what is open."""
        if self._runner is not None:
            await self._runner.cleanup()

    def _container(self, request: web.Request) -> Container:
        match = request.match_info
        try:
            return self._find(match["namespace"], match["pod"]).container(match["container"])
        except OSError as error:
            raise web.HTTPNotFound(text=str(error)) from None

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        container = self._container(request)
        query = request.query
        file = container.log_file
        if query.get("previous") == "true":
            number = container.restarts - 1
            file = file.with_name(f"{container.name}-{number}.log")
            if not file.exists():
                raise web.HTTPBadRequest(
                    text=f"previous terminated container {container.name} not found"
                )
        since = None
        if "sinceSeconds" in query:
            age = datetime.timedelta(seconds=int(query["sinceSeconds"]))
            since = datetime.datetime.now(datetime.timezone.utc) - age
        elif "sinceTime" in query:
            since = datetime.datetime.fromisoformat(query["sinceTime"].replace("Z", "+00:00"))
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            async for line in logs.read(
                file,
                tail=int(query["tailLines"]) if "tailLines" in query else None,
                timestamps=query.get("timestamps") == "true",
                since=since,
                follow=(
                    (lambda: container.finished is None) if query.get("follow") == "true" else None
                ),
            ):
                await response.write(line)
        return response

    async def _exec(self, request: web.Request) -> web.StreamResponse:
        container = self._container(request)
        query = request.query
        if query.get("tty") in ("1", "true"):
            raise web.HTTPNotImplemented(text=f"a terminal (-t) is {_NOT_SUPPORTED}")
        socket = web.WebSocketResponse(protocols=_PROTOCOLS)
        if not socket.can_prepare(request).ok:
            raise web.HTTPNotImplemented(text=f"exec without WebSocket is {_NOT_SUPPORTED}")
        await socket.prepare(request)
        with_stdin = query.get("stdin", query.get("input")) in ("1", "true")
        try:
            await self._run(container, query.getall("command", []), socket, with_stdin)
        except OSError as error:
            await _say(socket, _failure(str(error)))
        await socket.close()
        return socket

    async def _run(
        self, container: Container, argv: list[str], socket: web.WebSocketResponse, stdin: bool
    ) -> None:
        settings = container.exec_settings()
        pipes = [os.pipe() for _ in range(3)]
        theirs = (pipes[0][0], pipes[1][1], pipes[2][1])
        try:
            pid = await self._runtime.start_exec(settings[0], argv, *settings[1:], files=theirs)
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        copying = [
            asyncio.create_task(_send(pipes[number][0], number, socket))
            for number in (_STDOUT, _STDERR)
        ]
        receiving = asyncio.create_task(_receive(socket, pipes[0][1], stdin))
        ending = asyncio.create_task(self._runtime.wait(pid))
        try:
            await asyncio.wait({receiving, ending}, return_when=asyncio.FIRST_COMPLETED)
            if not ending.done():  # the client went away
                system.kill_group(pid)
            end = await ending
            await asyncio.gather(*copying)
            await _say(socket, _success() if end.code == 0 else _exit_status(end.code))
        finally:
            for task in (*copying, receiving):
                task.cancel()
            await asyncio.gather(*copying, receiving, return_exceptions=True)


async def _text(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status)


async def _send(descriptor: int, channel: int, socket: web.WebSocketResponse) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    file = os.fdopen(descriptor, "rb", buffering=0)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
    try:
        while data := await reader.read(1 << 15):
            with contextlib.suppress(ConnectionError):
                await socket.send_bytes(bytes([channel]) + data)
    finally:
        transport.close()


async def _receive(socket: web.WebSocketResponse, descriptor: int, stdin: bool) -> None:
    """Passes what the client types on; returns when the client has gone."""
    open_ = True
    if not stdin:
        os.close(descriptor)
        open_ = False
    try:
        async for message in socket:
            if message.type != WSMsgType.BINARY or not message.data:
                continue
            channel, data = message.data[0], message.data[1:]
            if channel == _STDIN and data and open_:
                try:
                    await asyncio.to_thread(os.write, descriptor, data)
                except OSError:
                    os.close(descriptor)
                    open_ = False
            elif channel == _CLOSE and data == bytes([_STDIN]) and open_:
                os.close(descriptor)
                open_ = False
    finally:
        if open_:
            os.close(descriptor)


async def _say(socket: web.WebSocketResponse, status: dict[str, object]) -> None:
    with contextlib.suppress(ConnectionError):
        await socket.send_bytes(bytes([_ERROR]) + json.dumps(status).encode())


def _success() -> dict[str, object]:
    return {"metadata": {}, "status": "Success"}


def _exit_status(code: int) -> dict[str, object]:
    return {
        "metadata": {},
        "status": "Failure",
        "reason": "NonZeroExitCode",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def _failure(message: str) -> dict[str, object]:
    return {"metadata": {}, "status": "Failure", "reason": "InternalError", "message": message}
