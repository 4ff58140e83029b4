"""The engine's side of the spawner: sandboxes, containers and programs in them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from localjuju.node import spawn
from localjuju.node.identity import ROOT, Identity
from localkube.host import system


@dataclass(frozen=True)
class ExecResult:
    """How a program ended.

    Attributes:
        code: its exit code; 128 + N when signal N ended it.
        stdout: what it printed.
        stderr: what it printed on standard error.
        cpu_seconds: processor time of it and its children.
    """

    code: int
    stdout: bytes
    stderr: bytes
    cpu_seconds: float = 0.0


@dataclass(frozen=True)
class Ended:
    """The end of a process: exit code, processor seconds, largest resident size in bytes."""

    code: int
    cpu_seconds: float
    memory: int


class Runtime:
    """Asks the spawner; one for a node."""

    def __init__(self, connection: socket.socket):
        """Takes over the engine's end of the spawner's pair."""
        self._connection = connection
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[int]] = {}
        self._ends: dict[int, asyncio.Future[Ended]] = {}

    def start(self) -> None:
        """Begins to read answers; called with a running event loop."""
        self._connection.setblocking(False)
        asyncio.get_running_loop().add_reader(self._connection, self._read)

    def stop(self) -> None:
        """Closes the connection: the spawner and all its children end."""
        asyncio.get_running_loop().remove_reader(self._connection)
        self._connection.close()

    def _read(self) -> None:
        while True:
            try:
                message = self._connection.recv(spawn.LARGEST_MESSAGE)
            except BlockingIOError:
                return
            if not message:
                asyncio.get_running_loop().remove_reader(self._connection)
                for waiting in self._answers.values():
                    if not waiting.done():
                        waiting.set_exception(OSError("the spawner ended"))
                return
            answer = json.loads(message)
            if "exit" in answer:
                end = Ended(answer["code"], answer["cpu"], answer["memory"])
                future = self._end_of(answer["exit"])
                if not future.done():
                    future.set_result(end)
                continue
            waiting = self._answers.pop(answer["request"])
            if waiting.cancelled():
                continue
            if "error" in answer:
                waiting.set_exception(OSError(answer["error"]))
            else:
                # A process id may come back after the old process was waited for.
                old = self._ends.get(answer["pid"])
                if old is not None and old.done():
                    del self._ends[answer["pid"]]
                waiting.set_result(answer["pid"])

    def _end_of(self, pid: int) -> asyncio.Future[Ended]:
        if pid not in self._ends:
            self._ends[pid] = asyncio.get_running_loop().create_future()
        return self._ends[pid]

    async def _ask(self, kind: str, request: Mapping[str, Any], files: Sequence[int] = ()) -> int:
        number = next(self._numbers)
        message = json.dumps({**request, "kind": kind, "request": number}).encode()
        if len(message) > spawn.LARGEST_MESSAGE:
            raise OSError(f"arguments and environment are too long: {len(message)} bytes")
        waiting: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._answers[number] = waiting
        socket.send_fds(self._connection, [message], list(files))
        return await waiting

    async def wait(self, pid: int) -> Ended:
        """Returns when the process has ended."""
        return await asyncio.shield(self._end_of(pid))

    async def sandbox(self, hostname: str, *, share_pids: bool = False) -> int:
        """Starts the process that keeps a pod's namespaces; returns its id when they exist.

        Args:
            hostname: the pod's.
            share_pids: whether the containers share one process namespace.

        Raises:
            OSError: the kernel refuses.
        """
        request = {"hostname": hostname[:63], "share_pids": share_pids}
        pid, ready = await self._ask_and_wait("sandbox", request, [])
        if not ready:
            raise OSError("a pod's namespaces could not be made")
        return pid

    async def _ask_and_wait(
        self, kind: str, request: Mapping[str, Any], files: Sequence[int]
    ) -> tuple[int, bool]:
        """Asks for a process that tells when it is ready; whether it did before it ended."""
        reading, writing = os.pipe()
        try:
            pid = await self._ask(kind, request, [*files, writing])
        finally:
            os.close(writing)
        loop = asyncio.get_running_loop()
        told: asyncio.Future[bytes] = loop.create_future()
        loop.add_reader(reading, lambda: told.done() or told.set_result(os.read(reading, 1)))
        try:
            return pid, bool(await told)
        finally:
            loop.remove_reader(reading)
            os.close(reading)

    async def configure(self, sandbox: int, address: str, prefix: int, gateway: str) -> None:
        """Gives the pod's interface its address and route.

        Raises:
            OSError: it cannot.
        """
        request = {"sandbox": sandbox, "address": address, "prefix": prefix, "gateway": gateway}
        end = await self.wait(await self._ask("network", request))
        if end.code != 0:
            raise OSError(f"the pod's address {address} could not be set")

    async def container(self, spec: Mapping[str, Any], output: int) -> int:
        """Starts a container whose output goes to the open file `output`; its process id.

        Returns when its file system is in place, or when it has ended before that.
        """
        null = os.open("/dev/null", os.O_RDONLY)
        try:
            pid, _ = await self._ask_and_wait("container", spec, [null, output, output])
            return pid
        finally:
            os.close(null)

    async def start_exec(
        self,
        container: int,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: str,
        identity: Identity,
        files: Sequence[int],
    ) -> int:
        """Starts a program in a container; `files` are its stdin, stdout and stderr."""
        request = {
            "container": container,
            "argv": list(argv),
            "env": dict(env),
            "cwd": cwd,
            "identity": astuple(identity),
        }
        return await self._ask("exec", request, files)

    async def exec(
        self,
        container: int,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: str,
        *,
        identity: Identity = ROOT,
        stdin: bytes | None = None,
        on_line: Callable[[str, str], None] | None = None,
        timeout: float | None = None,
    ) -> ExecResult:
        """Runs a program in a container to its end.

        Args:
            on_line: called with `stdout` or `stderr` and each line as it comes.
            timeout: seconds; then the program and what it started are killed.

        Raises:
            OSError: it cannot be started.
            asyncio.TimeoutError: it was not done in time.
        """
        pipes = [os.pipe() for _ in range(3)]
        theirs = [pipes[0][0], pipes[1][1], pipes[2][1]]
        try:
            pid = await self.start_exec(container, argv, env, cwd, identity, theirs)
        except BaseException:
            for number in (pipes[0][1], pipes[1][0], pipes[2][0]):
                os.close(number)
            raise
        finally:
            for number in theirs:
                os.close(number)
        writing = asyncio.create_task(_write(pipes[0][1], stdin or b""))
        reading = asyncio.gather(
            _read_lines(pipes[1][0], "stdout", on_line),
            _read_lines(pipes[2][0], "stderr", on_line),
        )
        try:
            end = await asyncio.wait_for(self.wait(pid), timeout)
            stdout, stderr = await reading
        except BaseException:
            system.kill_group(pid)  # what it started, too: the spawner gave it a group
            reading.cancel()
            raise
        finally:
            writing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writing
        return ExecResult(end.code, stdout, stderr, end.cpu_seconds)


async def _write(descriptor: int, data: bytes) -> None:
    if not data:
        os.close(descriptor)
        return
    loop = asyncio.get_running_loop()
    file = os.fdopen(descriptor, "wb", buffering=0)
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.streams.FlowControlMixin(loop=loop), file
    )
    writer = asyncio.StreamWriter(transport, protocol, None, loop)
    try:
        writer.write(data)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
    finally:
        writer.close()


async def _read_lines(
    descriptor: int, stream: str, on_line: Callable[[str, str], None] | None
) -> bytes:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 24)
    file = os.fdopen(descriptor, "rb", buffering=0)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
    collected = bytearray()
    try:
        if on_line is None:
            return await reader.read()
        while line := await reader.readline():
            collected += line
            on_line(stream, line.decode(errors="replace"))
        return bytes(collected)
    finally:
        transport.close()
