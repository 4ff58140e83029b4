"""The model's log: what agents, charms and hooks say; `juju debug-log` reads it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from localjuju.model import clock

_MAX_BYTES = 8 << 20  # two files of this size are kept per model
LEVELS = ("TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def enabled(config: str, module: str, level: str) -> bool:
    """Whether `logging-config` (`<root>=INFO;unit=DEBUG`) lets a line through."""
    chosen, best = "INFO", -1
    for word in config.replace(";", " ").split():
        name, _, wanted = word.partition("=")
        name = "" if name == "<root>" else name
        fits = not name or module == name or module.startswith(f"{name}.")
        if fits and len(name) > best:
            chosen, best = wanted.upper(), len(name)
    return chosen not in LEVELS or LEVELS.index(level) >= LEVELS.index(chosen)


class ModelLog:
    """One file of JSON lines per model, rotated once; readers are woken by each line."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._files: dict[str, Any] = {}
        self._readers: dict[str, set[asyncio.Queue[dict[str, str]]]] = {}

    def write(self, model: str, entity: str, level: str, module: str, message: str) -> None:
        """`entity` is `unit-mysql-0`, as Juju's logs name it."""
        line = {
            "timestamp": clock.text(), "entity": entity, "level": level, "module": module,
            "message": message,
        }  # fmt: skip
        file = self._files.get(model) or self._open(model)
        file.write(json.dumps(line) + "\n")
        file.flush()
        if file.tell() > _MAX_BYTES:
            file.close()
            self._path(model).rename(self._path(model, old=True))
            del self._files[model]
        for queue in self._readers.get(model, ()):
            queue.put_nowait(line)

    def remove(self, model: str) -> None:
        if file := self._files.pop(model, None):
            file.close()
        for old in (False, True):
            self._path(model, old).unlink(missing_ok=True)

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()

    def past(self, model: str) -> Iterator[dict[str, str]]:
        for old in (True, False):
            with contextlib.suppress(FileNotFoundError), self._path(model, old).open() as file:
                for line in file:
                    yield json.loads(line)

    async def follow(self, model: str) -> AsyncIterator[dict[str, str]]:
        """Lines as they come, without end."""
        queue: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        readers = self._readers.setdefault(model, set())
        readers.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            readers.discard(queue)

    def _open(self, model: str) -> Any:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._path(model)
        path.touch(mode=0o600)
        self._files[model] = path.open("a")
        return self._files[model]

    def _path(self, model: str, old: bool = False) -> Path:
        return self._folder / f"{model}.{'old.' if old else ''}log"
