"""Programs that a client runs, with their input and output over WebSockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pwd
import shutil
import signal
from collections.abc import Mapping
from typing import Any

from aiohttp import WSMsgType, web

from localjuju.pebble import processes, units
from localjuju.pebble.changes import Change, Task
from localjuju.pebble.errors import ApiError

_CONNECT_SECONDS = 5.0
_CHUNK = 1 << 15
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_END = json.dumps({"command": "end"})


def _environment(extra: Mapping[str, Any], uid: int) -> dict[str, str]:
    """The daemon's environment and what the request adds; HOME and USER are the user's own."""
    found = dict(os.environ)
    if uid != os.getuid():
        found.pop("HOME", None)
        found.pop("USER", None)
    found |= {key: str(value) for key, value in extra.items()}
    found.setdefault("PATH", _PATH)
    with contextlib.suppress(KeyError):
        entry = pwd.getpwuid(uid)
        found["HOME"] = found.get("HOME") or entry.pw_dir
        found["USER"] = found.get("USER") or entry.pw_name
    found.setdefault("LANG", "C.UTF-8")
    return found


def _folder(given: str, home: str) -> str:
    """Where a program starts: the folder asked for, else the user's home, else `/`.

    Raises:
        ApiError: it is not there, or is no folder.
    """
    path, name = (given, "working directory") if given else (home, "home directory")
    if not path:
        return "/"
    if not os.path.exists(path):  # noqa: PTH110
        raise ApiError(f'cannot call exec: {name} "{path}" does not exist', 500)
    if not os.path.isdir(path):  # noqa: PTH112
        raise ApiError(f'cannot call exec: {name} "{path}" not a directory', 500)
    return path


class Execution:
    """One program of a client."""

    def __init__(self, request: dict[str, Any], context: dict[str, Any], reaper: processes.Reaper):
        """Checks the request.

        Args:
            request: the body of POST /v1/exec.
            context: the configuration of the service that `service-context` names.

        Raises:
            ApiError: no such program, user or folder.
        """
        self._reaper = reaper
        self._argv = request.get("command") or []
        if not self._argv:
            raise ApiError("must specify command")
        if request.get("terminal"):
            raise ApiError("a terminal is not supported by localjuju")
        program = shutil.which(self._argv[0])
        if program is None:
            raise ApiError(f'cannot find executable "{self._argv[0]}"')

        def chosen(key: str) -> Any:
            value = request.get(key)
            return value if value is not None else context.get(key)

        options = processes.identity(
            chosen("user-id"), chosen("user"), chosen("group-id"), chosen("group")
        )
        options.pop("entry", None)
        self._options = {"executable": program, **options}
        extra = {**(context.get("environment") or {}), **(request.get("environment") or {})}
        self.environment = _environment(extra, options.get("user", os.getuid()))
        self.folder = _folder(
            request.get("working-dir") or context.get("working-dir") or "",
            self.environment.get("HOME", ""),
        )
        self._timeout = units.seconds(request.get("timeout") or "0") or None
        self._split = bool(request.get("split-stderr"))
        names = ["control", "stdio", *(["stderr"] if self._split else [])]
        loop = asyncio.get_running_loop()
        self._sockets: dict[str, asyncio.Future[web.WebSocketResponse]] = {
            name: loop.create_future() for name in names
        }
        self._over = asyncio.Event()

    async def connect(self, name: str, request: web.Request) -> web.WebSocketResponse:
        """Takes a WebSocket over; returns when the program has ended.

        Raises:
            ApiError: no such socket, or it is connected already.
        """
        future = self._sockets.get(name)
        if future is None or future.done():
            raise ApiError(f'websocket "{name}" is not to be connected', 404)
        socket = web.WebSocketResponse(max_msg_size=1 << 26)
        await socket.prepare(request)
        future.set_result(socket)
        await self._over.wait()
        await socket.close()
        return socket

    async def run(self, change: Change, task: Task) -> None:
        """Runs the program to its end and the change with it."""
        task.status = "Doing"
        try:
            sockets = await asyncio.wait_for(
                asyncio.gather(*self._sockets.values()), _CONNECT_SECONDS
            )
            connected = dict(zip(self._sockets, sockets, strict=True))
            code = await self._run(connected)
            task.data = {"exit-code": code}
            task.status = "Done"
        except asyncio.TimeoutError:
            task.add_log("ERROR", "timed out waiting for websocket connections")
            task.status = "Error"
        except (ApiError, OSError) as error:
            task.data = {"exit-code": -1}
            task.add_log("ERROR", str(error))
            task.status = "Error"
        finally:
            task.ready = units.now()
            change.finish()
            self._over.set()

    def _late(self) -> ApiError:
        after = units.duration(self._timeout or 0)
        return ApiError(f"timed out after {after}: context deadline exceeded")

    async def _run(self, sockets: dict[str, web.WebSocketResponse]) -> int:
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._timeout if self._timeout else None
        stdin_read, stdin_write = os.pipe()
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe() if self._split else (-1, out_write)
        try:
            pid, ending = self._reaper.spawn(
                self._argv, stdin=stdin_read, stdout=out_write, stderr=err_write,
                env=self.environment, cwd=self.folder, **self._options,
            )  # fmt: skip
        finally:
            for descriptor in {stdin_read, out_write, err_write}:
                os.close(descriptor)
        sending = [asyncio.create_task(_send(out_read, sockets["stdio"]))]
        if self._split:
            sending.append(asyncio.create_task(_send(err_read, sockets["stderr"])))
        receiving = [
            asyncio.create_task(_receive(sockets["stdio"], stdin_write)),
            asyncio.create_task(_control(sockets["control"], pid)),
        ]
        if self._split:
            receiving.append(asyncio.create_task(_ignore(sockets["stderr"])))
        try:
            try:
                code = await asyncio.wait_for(asyncio.shield(ending), self._timeout)
            except asyncio.TimeoutError:
                processes.kill(pid, signal.SIGKILL)
                code = await ending
            # Late is late, also where both were only seen afterwards.
            late = deadline is not None and clock() >= deadline
            # A child that keeps the output open keeps the client waiting, as upstream.
            await asyncio.wait(sending)
            if late:
                raise self._late()
            return code
        finally:
            for work in (*sending, *receiving):
                work.cancel()
            await asyncio.gather(*sending, *receiving, return_exceptions=True)
            for socket in [s for name, s in sockets.items() if name != "control"]:
                with contextlib.suppress(ConnectionError):
                    await socket.send_str(_END)


async def _send(descriptor: int, socket: web.WebSocketResponse) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    file = os.fdopen(descriptor, "rb", buffering=0)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
    try:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(_CHUNK):
                await socket.send_bytes(data)
    finally:
        transport.close()


async def _receive(socket: web.WebSocketResponse, descriptor: int) -> None:
    """Passes what the client sends on; its end, or the client's, ends the program's input."""
    loop = asyncio.get_running_loop()
    file = os.fdopen(descriptor, "wb", buffering=0)
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.streams.FlowControlMixin(loop=loop), file
    )
    writer = asyncio.StreamWriter(transport, protocol, None, loop)
    try:
        async for message in socket:
            if message.type == WSMsgType.BINARY:
                writer.write(message.data)
                with contextlib.suppress(ConnectionError):
                    await writer.drain()
            elif message.type == WSMsgType.TEXT and _is_end(message.data):
                transport.write_eof()
    finally:
        writer.close()


def _is_end(text: str) -> bool:
    with contextlib.suppress(ValueError):
        return json.loads(text).get("command") == "end"
    return False


async def _control(socket: web.WebSocketResponse, pid: int) -> None:
    async for message in socket:
        if message.type != WSMsgType.TEXT:
            continue
        with contextlib.suppress(ValueError, KeyError, AttributeError):
            command = json.loads(message.data)
            if command.get("command") == "signal":
                processes.kill(pid, getattr(signal, command["signal"]["name"]))


async def _ignore(socket: web.WebSocketResponse) -> None:
    async for _ in socket:
        pass
