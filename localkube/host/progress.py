"""Says what a long step does: which, how far, and how long it took last time."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from localkube.host import paths

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status


class Step:
    """One step under way."""

    def __init__(self, progress: Progress, name: str):
        self._progress = progress
        self._name = name
        self._shown = ""
        self._next = 0.0

    def update(self, text: str) -> None:
        """Says how far the step is, such as `3 of 7`; the same text twice is shown once."""
        if text != self._shown:
            self._shown = text
            self._progress.show(f"{self._name}: {text}")

    def count(self, what: str, number: int, total: int) -> None:
        """Says how many of a quick row are done, such as `unpacking, 3 of 50`.

        Where lines stay, what comes too soon after the count before is left out.
        """
        now = time.monotonic()
        if now >= self._next:
            self._next = now + self._progress.pace
            self.update(f"{what}, {number} of {total}")


class Progress:
    """Shows steps on a stream: a line that changes on a terminal, plain lines elsewhere."""

    def __init__(self, stream: TextIO | None = None, pace: float = 5.0):
        """Shows on a stream.

        Args:
            stream: standard error where it is None.
            pace: seconds between two counts of a step, where lines stay.
        """
        self._stream = stream
        self._pace = pace

    @functools.cached_property
    def _console(self) -> Console:
        # here: it is slow to load, and mostly there is nothing to show
        from rich.console import Console

        return Console(file=self._stream or sys.stderr, highlight=False, soft_wrap=True)

    @functools.cached_property
    def _status(self) -> Status | None:
        return self._console.status("") if self._console.is_terminal else None

    @property
    def pace(self) -> float:
        """Seconds between two counts of a step."""
        return self._pace if self._status is None else 0.0

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Shows a step while the context lasts; remembers how long it took if it succeeds."""
        times = _Times(paths.cache() / "timings.json")
        last = times.get(name)
        begin = time.monotonic()
        self.show(name if last is None else f"{name} (last time {last:.0f} s)")
        if self._status is not None:
            self._status.start()
        try:
            yield Step(self, name)
        except BaseException:
            self._stop()
            self._console.print(f"{name}: not finished", markup=False)
            raise
        self._stop()
        seconds = time.monotonic() - begin
        times.put(name, seconds)
        self._console.print(f"{name}: done in {seconds:.1f} s", markup=False)

    def show(self, text: str) -> None:
        """Shows a line now."""
        if self._status is not None:
            self._status.update(text)
        else:
            self._console.print(text, markup=False)

    def _stop(self) -> None:
        if self._status is not None:
            self._status.stop()


class _Times:
    """How many seconds each step took last time, in a JSON file; a damaged one counts as empty."""

    def __init__(self, file: Path):
        self._file = file

    def _read(self) -> dict[str, float]:
        try:
            times = json.loads(self._file.read_text())
        except (OSError, ValueError):
            return {}
        return times if isinstance(times, dict) else {}

    def get(self, name: str) -> float | None:
        return self._read().get(name)

    def put(self, name: str, seconds: float) -> None:
        """Keeps a time. Threads and processes write at once: the last one wins, whole.

        It is a figure for next time: whatever goes wrong here, the step itself is done.
        """
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            descriptor, new = tempfile.mkstemp(prefix=".timings.", dir=self._file.parent)
            with os.fdopen(descriptor, "w") as text:
                text.write(json.dumps({**self._read(), name: round(seconds, 1)}, indent=1))
            Path(new).replace(self._file)
