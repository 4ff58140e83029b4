"""The charm containers' agents, by their pods: programs, files and Pebbles in a pod.

An agent dials the engine's socket and keeps that connection, the control connection. For each
stream the engine names a key on it, and the agent dials once more and names the key: nobody else
knows it. What goes over a stream is in `localjuju/inpod/agent`.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import secrets
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from localjuju.model.changes import Changes

_log = logging.getLogger(__name__)
_DIAL_SECONDS = 10.0  # an agent that does not answer for so long is broken
_BLOCK = 1 << 18  # bytes of a tar stream at once
_END = ".complete"  # the last name of a tar stream, by which the agent knows that it has it all

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
_Ends = tuple[Reader, Writer, "asyncio.Future[None]"]


@dataclass(frozen=True)
class Ended:
    """How a program ended: 128 + N where signal N ended it; its and its children's seconds."""

    code: int
    cpu_seconds: float


@dataclass(frozen=True)
class Tree:
    """Files for a pod's folder.

    Attributes:
        files: what goes there, by name: a folder whose content goes there has the name ".".
        folder: where, as the charm container sees it.
        version: what the files are; where the folder holds this, nothing is sent.
    """

    files: Mapping[str, Path | bytes]
    folder: str
    version: str


@dataclass
class _Control:
    writer: Writer
    expected: dict[str, asyncio.Future[_Ends]] = field(default_factory=dict)


class Hub:
    """Knows the agents that have called.

    Args:
        pod_of: the uid of the pod that a ServiceAccount's token is bound to, "" for a token that
            is not valid or not a pod's.
        on_call: called with the pod's uid when its agent is there.
    """

    def __init__(self, pod_of: Callable[[str], Awaitable[str]], on_call: Callable[[str], None]):
        self._pod_of = pod_of
        self._on_call = on_call
        self._controls: dict[str, _Control] = {}
        self._calls = Changes()

    def connected(self, pod: str) -> bool:
        return pod in self._controls

    async def called(self, pod: str) -> None:
        """Returns when the agent of this pod is there."""
        while not self.connected(pod):
            await self._calls.after(self._calls.count)

    async def stop(self) -> None:
        """Ends the connections; the agents call again."""
        for control in self._controls.values():
            control.writer.close()
        while self._controls:
            await self._calls.after(self._calls.count)

    # What the socket hands over --------------------------------------------------------------

    async def serve_agent(self, claim: Mapping[str, Any], reader: Reader, writer: Writer) -> None:
        """Keeps a control connection until it ends."""
        pod, refusal = str(claim["pod"]), ""
        try:
            bound = await self._pod_of(str(claim["token"]).strip())
        except Exception as error:
            _log.info("who calls for pod %s is not known: %s", pod, error)
            bound, refusal = "", "the cluster cannot be asked whose token this is"
        if not pod or bound != pod:
            _send(writer, {"error": refusal or "the token is not this pod's"})
            await writer.drain()
            return
        _send(writer, {"ok": True})
        control = _Control(writer)
        if before := self._controls.get(pod):
            before.writer.close()
        self._controls[pod] = control
        self._calls.tell()
        self._on_call(pod)
        try:
            while await reader.read(_BLOCK):
                pass
        finally:
            if self._controls.get(pod) is control:
                del self._controls[pod]
                self._calls.tell()
            for waiting in control.expected.values():
                _fail(waiting, "its agent went away")

    async def serve_stream(self, key: str, reader: Reader, writer: Writer) -> None:
        """Hands a stream to who waits for it; returns when it is done with."""
        for control in self._controls.values():
            waiting = control.expected.pop(key, None)
            if waiting is not None and not waiting.done():
                done = asyncio.get_running_loop().create_future()
                waiting.set_result((reader, writer, done))
                await done
                return

    # What is asked of agents -----------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def stream(
        self, pod: str, request: Mapping[str, Any]
    ) -> AsyncIterator[tuple[Reader, Writer]]:
        """A new connection with the agent, on which the request was sent.

        Raises:
            OSError: the agent is not there, or does not answer.
        """
        control = self._controls.get(pod)
        if control is None:
            raise ConnectionError("its agent is not connected")
        loop = asyncio.get_running_loop()
        key, waiting = secrets.token_hex(16), loop.create_future()
        control.expected[key] = waiting
        timer = loop.call_later(_DIAL_SECONDS, _fail, waiting, "its agent does not answer")
        try:
            _send(control.writer, {"stream": key})
            reader, writer, done = await waiting
        finally:
            timer.cancel()
            control.expected.pop(key, None)
        try:
            _send(writer, request)
            await writer.drain()
            yield reader, writer
        finally:
            writer.close()
            if not done.done():
                done.set_result(None)

    async def exec(
        self, pod: str, argv: Sequence[str], *, env: Mapping[str, str], cwd: str,
        on_line: Callable[[str, str], None],
    ) -> Ended:  # fmt: skip
        """Runs a program in the charm container to its end, with nothing on standard input.

        It is killed with what it started when this is cancelled.

        Args:
            env: its whole environment.
            on_line: called with `stdout` or `stderr` and each line as it comes.

        Raises:
            OSError: it cannot be started, or the agent went away.
        """
        request = {
            "kind": "exec", "argv": list(argv), "cwd": cwd,
            "env": [f"{name}={value}" for name, value in env.items()],
        }  # fmt: skip
        async with self.stream(pod, request) as (reader, _):
            while True:
                answer = await _answer(reader)
                if "code" in answer:
                    return Ended(answer["code"], answer["cpu_seconds"])
                for stream, line in answer.items():
                    on_line(stream, line)

    async def holds(self, pod: str, folder: str, version: str) -> bool:
        """Whether a folder of the charm container holds what `install` put there.

        Raises:
            OSError: the agent cannot be asked.
        """
        request = {"kind": "holds", "folder": folder, "version": version}
        async with self.stream(pod, request) as (reader, _):
            return (await _answer(reader))["present"]

    async def install(self, pod: str, tree: Tree) -> None:
        """Puts files into a folder of the charm container, all at once.

        They replace what was put there before; what the charm itself put there stays. They are
        copies, as a charm may write to its own folder, and belong to the charm container's user.

        Raises:
            OSError: it cannot be done; the folder is as it was.
        """
        request = {"kind": "unpack", "folder": tree.folder, "version": tree.version}
        async with self.stream(pod, request) as (reader, writer):
            if (await _answer(reader))["present"]:
                return
            loop = asyncio.get_running_loop()
            packing = asyncio.create_task(asyncio.to_thread(_pack, tree, _Sink(loop, writer)))
            # Files that cannot be read end the stream, so that the agent does not wait for more.
            packing.add_done_callback(lambda done: done.exception() and writer.transport.abort())
            try:
                await _answer(reader)
            finally:
                writer.transport.abort()  # ends the packing, where it still goes on
                with contextlib.suppress(ConnectionError):
                    await packing


class _Sink:
    """A file for a thread whose bytes go to a connection of the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, writer: Writer):
        self._loop, self._writer = loop, writer

    def write(self, data: bytes) -> int:
        asyncio.run_coroutine_threadsafe(self._write(bytes(data)), self._loop).result()
        return len(data)

    async def _write(self, data: bytes) -> None:
        if self._writer.is_closing():
            raise ConnectionError("the stream ended")
        self._writer.write(data)
        await self._writer.drain()


def _pack(tree: Tree, sink: _Sink) -> None:
    with tarfile.open(fileobj=sink, mode="w|", bufsize=_BLOCK) as archive:  # type: ignore[arg-type]
        for name, content in tree.files.items():
            if isinstance(content, Path):
                archive.add(content, name)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        archive.addfile(tarfile.TarInfo(_END))


def _send(writer: Writer, message: Mapping[str, Any]) -> None:
    writer.write(json.dumps(message).encode() + b"\n")


async def _answer(reader: Reader) -> dict[str, Any]:
    """Raises OSError: there is none, or it is an error."""
    line = await reader.readline()
    if not line.endswith(b"\n"):
        raise ConnectionError("its agent went away")
    answer = json.loads(line)
    if "error" in answer:
        raise OSError(answer["error"])
    return answer


def _fail(waiting: asyncio.Future[Any], why: str) -> None:
    if not waiting.done():
        waiting.set_exception(ConnectionError(why))
