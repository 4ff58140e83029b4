"""What containers print, one file for each start, with times as the kubelet keeps them."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
from collections.abc import AsyncIterator, Callable, Container
from pathlib import Path

from localkube.host.errors import EngineError
from localkube.host.trees import remove_tree

_LARGEST = 10 << 20
_POLL_SECONDS = 0.2
_KEPT_SECONDS = 24 * 3600.0


class ContainerLog:
    """Takes a container's output from a pipe and writes it with times to `file`.

    Lines are `TIME TEXT`; a file that has grown to 10 MiB is kept once as FILE.1.
    """

    def __init__(self, file: Path):
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file = file
        self._output = file.open("ab", buffering=0)
        self._rest = b""
        self._reading, self.writing = os.pipe()
        self._done = asyncio.get_running_loop().create_future()
        os.set_blocking(self._reading, False)
        asyncio.get_running_loop().add_reader(self._reading, self._read)

    def close_writing(self) -> None:
        """Closes our copy of the pipe's writing end, once the container has its own."""
        os.close(self.writing)

    async def finish(self) -> None:
        """Returns when everything printed is in the file, at the latest in a second."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._done), 1)
        if not self._done.done():
            self._end()

    def _read(self) -> None:
        try:
            data = os.read(self._reading, 1 << 16)
        except BlockingIOError:
            return
        if not data:
            self._end()
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > 1 << 16:
            lines, self._rest = [*lines, self._rest], b""
        self._write(lines)

    def _write(self, lines: list[bytes]) -> None:
        if not lines:
            return
        now = datetime.datetime.now(datetime.timezone.utc).isoformat().replace("+00:00", "Z")
        stamp = now.encode() + b" "
        self._output.write(b"".join(stamp + line + b"\n" for line in lines))
        if self._output.tell() > _LARGEST:
            self._output.close()
            self._file.replace(self._file.with_name(f"{self._file.name}.1"))
            self._output = self._file.open("ab", buffering=0)

    def _end(self) -> None:
        if self._done.done():
            return
        asyncio.get_running_loop().remove_reader(self._reading)
        os.close(self._reading)
        self._write([self._rest] if self._rest else [])
        self._output.close()
        self._done.set_result(None)


def remove_old(folder: Path, container: str, current: int) -> None:
    """Removes what a container printed before its last start but one, as the kubelet does.

    Args:
        folder: the pod's logs, `CONTAINER-START.log` each.
        container: its name.
        current: the number of the start now.
    """
    for file in folder.glob("*.log*"):
        name, _, number = file.name.partition(".log")[0].rpartition("-")
        if name == container and number.isdigit() and int(number) < current - 1:
            file.unlink(missing_ok=True)


def remove_old_pods(folder: Path, known: Container[str], now: float) -> None:
    """Removes the logs of pods that have gone for a day: who looks for them, looks before.

    Args:
        folder: a folder for each pod.
        known: names of those that pods still write to.
        now: the time, as in `time.time()`.
    """
    for pod in folder.iterdir() if folder.is_dir() else ():
        if pod.name in known:
            continue
        written = max((file.stat().st_mtime for file in (pod, *pod.iterdir())), default=0.0)
        if now - written > _KEPT_SECONDS:
            with contextlib.suppress(EngineError, OSError):
                remove_tree(pod)


async def read(
    file: Path,
    *,
    tail: int | None = None,
    timestamps: bool = False,
    since: datetime.datetime | None = None,
    follow: Callable[[], bool] | None = None,
) -> AsyncIterator[bytes]:
    """The lines of a log, each with its newline.

    Args:
        tail: only the last so many.
        timestamps: with the time in front.
        since: only later ones.
        follow: goes on with new lines for as long as it returns True.
    """
    position = 0
    lines: list[bytes] = []
    if file.exists():
        content = file.read_bytes()
        position = content.rfind(b"\n") + 1
        lines = content[:position].splitlines(keepends=True)
    for line in lines[-tail:] if tail else ([] if tail == 0 else lines):
        if (text := _format(line, timestamps, since)) is not None:
            yield text
    while follow is not None:
        going = follow()
        size = file.stat().st_size if file.exists() else 0
        if size < position:
            position = 0
        if size > position:
            with file.open("rb") as opened:
                opened.seek(position)
                new = opened.read()
            end = new.rfind(b"\n") + 1
            position += end
            for line in new[:end].splitlines(keepends=True):
                if (text := _format(line, timestamps, since)) is not None:
                    yield text
        elif not going:
            return
        else:
            await asyncio.sleep(_POLL_SECONDS)


def _format(line: bytes, timestamps: bool, since: datetime.datetime | None) -> bytes | None:
    stamp, _, text = line.partition(b" ")
    if since is not None:
        written = datetime.datetime.fromisoformat(stamp.decode().replace("Z", "+00:00"))
        if written < since:
            return None
    return line if timestamps else text
