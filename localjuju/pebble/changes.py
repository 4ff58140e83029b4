"""Changes and their tasks: what was asked for, how far it is, how it ended."""

from __future__ import annotations

import asyncio
import datetime
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from localjuju.pebble import units

_LOG_LINES = 10
_KEPT = 500


@dataclass
class Task:
    """A step of a change."""

    id: str
    kind: str
    summary: str
    status: str = "Do"
    log: list[str] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    spawned: datetime.datetime = field(default_factory=units.now)
    ready: datetime.datetime | None = None

    def add_log(self, level: str, text: str) -> None:
        """Adds a line; the oldest go."""
        self.log = [*self.log, f"{units.text(units.now())} {level} {text}"][-_LOG_LINES:]

    def to_json(self) -> dict[str, Any]:
        """As the API answers."""
        done = int(self.status in ("Done", "Error", "Hold"))
        found = {
            "id": self.id, "kind": self.kind, "summary": self.summary, "status": self.status,
            "progress": {"label": "", "done": done, "total": 1},
            "spawn-time": units.text(self.spawned),
        }  # fmt: skip
        if self.log:
            found["log"] = self.log
        if self.ready:
            found["ready-time"] = units.text(self.ready)
        if self.data:
            found["data"] = self.data
        return found


class Change:
    """What a request asked for."""

    def __init__(self, id: str, kind: str, summary: str, tasks: list[Task]):
        self.id = id
        self.kind = kind
        self.summary = summary
        self.tasks = tasks
        self.spawned = units.now()
        self.ready: datetime.datetime | None = None
        self.done = asyncio.Event()
        self.on_update: Callable[[Change], None] = lambda change: None

    @property
    def status(self) -> str:
        """The worst of the tasks'."""
        found = {task.status for task in self.tasks}
        for status in ("Error", "Doing", "Do", "Hold"):
            if status in found:
                if status == "Error" and not self.done.is_set():
                    return "Doing"
                return status
        return "Done"

    def error(self) -> str | None:
        """Why it failed, in Pebble's words; None where it did not."""
        failed = [task for task in self.tasks if task.status == "Error"]
        if not failed:
            return None
        lines = []
        for task in failed:
            said = task.log[-1].split(" ", 2)[2] if task.log else ""
            lines.append(f"- {task.summary} ({said})")
        return "cannot perform the following tasks:\n" + "\n".join(lines)

    def finish(self) -> None:
        """Marks it ready: all that wait for it go on."""
        self.ready = units.now()
        self.done.set()
        self.on_update(self)

    def to_json(self) -> dict[str, Any]:
        """As the API answers."""
        found: dict[str, Any] = {
            "id": self.id, "kind": self.kind, "summary": self.summary, "status": self.status,
            "tasks": [task.to_json() for task in self.tasks],
            "ready": self.ready is not None, "spawn-time": units.text(self.spawned),
        }  # fmt: skip
        if self.ready:
            found["ready-time"] = units.text(self.ready)
            if error := self.error():
                found["err"] = error
        return found


class Changes:
    """All changes of this daemon; of those that are ready the last five hundred are kept."""

    def __init__(self, on_update: Callable[[Change], None]):
        """Args: on_update: told of each change of status."""
        self._on_update = on_update
        self._change_ids = itertools.count(1)
        self._task_ids = itertools.count(1)
        self._all: dict[str, Change] = {}

    def add(self, kind: str, summary: str, tasks: list[tuple[str, str]]) -> Change:
        """A new change with tasks of (kind, summary)."""
        made = [Task(str(next(self._task_ids)), *task) for task in tasks]
        change = Change(str(next(self._change_ids)), kind, summary, made)
        change.on_update = self._on_update
        self._all[change.id] = change
        old = [id for id, known in self._all.items() if known.ready]
        for id in old[: max(0, len(old) - _KEPT)]:
            del self._all[id]
        return change

    def get(self, id: str) -> Change | None:
        """A change by its id."""
        return self._all.get(id)

    def all(self) -> list[Change]:
        """Every change, oldest first."""
        return list(self._all.values())

    def task(self, id: str) -> tuple[Change, Task] | None:
        """A task by its id, with its change."""
        for change in self._all.values():
            for task in change.tasks:
                if task.id == id:
                    return change, task
        return None
