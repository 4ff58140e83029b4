"""A program in a unit's container: its streams, as files of this process."""

from __future__ import annotations

import contextlib
import io
import json
import os
import threading
from collections.abc import Iterator
from typing import Any

from localjuju.cli.context import Context
from localjuju.streams import BLOCK, END, STDERR, STDIN, STDOUT
from localkube.host.errors import EngineError


class Remote:
    """It runs from the start."""

    def __init__(
        self, context: Context, unit: str, container: str, script: str,
        terminal: str | None = None,
    ):  # fmt: skip
        self._execution = context.client.execute(
            model=context.model, unit=unit, container=container, script=script, terminal=terminal
        )
        self._messages = self._execution.messages()
        self._code: int | None = None
        self._errors = bytearray()
        self._fed = False

    def send(self, channel: int, data: bytes) -> bool:
        """Returns whether there was somebody to take it."""
        if self._fed and channel == STDIN:
            return False
        self._fed = self._fed or (channel == STDIN and not data)
        try:
            self._execution.send(channel, data)
        except OSError:
            return False
        return True

    @contextlib.contextmanager
    def with_input(self, descriptor: int) -> Iterator[None]:
        """Passes on what can be read there; who waits for the program does not wait for that."""

        def pump() -> None:
            data = b"-"
            while data:
                try:
                    data = os.read(descriptor, BLOCK)
                except OSError:
                    data = b""
                if not self.send(STDIN, data):
                    return

        threading.Thread(target=pump, daemon=True).start()
        yield

    def copy_to(self, out: int, err: int) -> int:
        """Writes what it prints as it comes; returns its exit code.

        Raises:
            EngineError: it cannot run; BrokenPipeError: nobody reads.
        """
        for channel, data in self._parts():
            _write(err if channel == STDERR else out, data)
        return self._ended()

    def wait(self) -> int:
        """Returns its exit code; what it prints is thrown away, but for errors."""
        self.send(STDIN, b"")
        for channel, data in self._parts():
            if channel == STDERR:
                self._errors += data
        return self._ended()

    def check(self) -> None:
        """Raises EngineError: it ends with another code than 0, with its first line of errors."""
        if code := self.wait() if self._code is None else self._code:
            line = self._errors.decode(errors="replace").split("\n")[0]
            raise EngineError(line or f"exit status {code}")

    @contextlib.contextmanager
    def output(self) -> Iterator[io.BufferedReader]:
        """A file with what it prints; at the end the rest is read and thrown away."""
        self.send(STDIN, b"")
        reader = _Output(self)
        yield io.BufferedReader(reader, BLOCK)
        self.wait()

    @contextlib.contextmanager
    def input(self) -> Iterator[io.RawIOBase]:
        """A file that is its input. What it prints is read meanwhile."""
        failed: list[EngineError] = []

        def read() -> None:
            try:
                for channel, data in self._parts():
                    if channel == STDERR:
                        self._errors += data
            except EngineError as error:
                failed.append(error)

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield _Input(self)
        finally:
            self.send(STDIN, b"")
            reader.join()
            if failed:
                raise failed[0]

    def _parts(self) -> Iterator[tuple[int, bytes]]:
        for channel, data in self._messages:
            if channel == END:
                ended: dict[str, Any] = json.loads(data)
                if "error" in ended:
                    raise EngineError(ended["error"])
                self._code = ended["code"]
            else:
                yield channel, data

    def next_output(self) -> bytes:
        """The next part of what it prints; nothing at the end."""
        for channel, data in self._parts():
            if channel == STDOUT and data:
                return data
            self._errors += data
        return b""

    def _ended(self) -> int:
        if self._code is None:
            raise EngineError("the engine went away: no answer")
        return self._code


class _Output(io.RawIOBase):
    def __init__(self, run: Remote):
        self._run, self._left = run, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._left = self._left or self._run.next_output()
        part, self._left = self._left[: len(buffer)], self._left[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)


class _Input(io.RawIOBase):
    def __init__(self, run: Remote):
        self._run = run

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data)
        for start in range(0, len(view), BLOCK):
            if not self._run.send(STDIN, bytes(view[start : start + BLOCK])):
                raise BrokenPipeError
        return len(view)


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
