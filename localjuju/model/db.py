"""The model's database: one SQLite file, one writer, one transaction per hook or request."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from localjuju.model.concerns import Concern, watch
from localjuju.model.schema import ADDED, SCHEMA, VERSION
from localkube.host.errors import EngineError

Row = dict[str, Any]
_JSON = {
    "attributes",
    "config", "resources", "storage", "status_data", "agent_data", "ports", "state", "agent",
    "data", "parameters", "results", "log", "metadata", "actions", "manifest", "content",
    "next_storage", "charm_revisions", "endpoints",
}  # fmt: skip


class Database:
    """Used from one thread only: the engine's event loop.

    WAL with `synchronous=FULL`: a commit survives a power cut, and one fsync per hook costs far
    less than the hook's Python process.
    """

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.chmod(0o600)  # it holds the content of secrets
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.row_factory = _row
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute("PRAGMA foreign_keys=ON")
        version = self._connection.execute("PRAGMA user_version").fetchone()["user_version"]
        if version not in (0, VERSION):
            self._connection.close()
            raise EngineError(
                f"{path} is of another version of the engine ({version}, this one reads "
                f"{VERSION}): use that one, or remove its models with ./mlops down"
            )
        if version == 0:
            self._connection.executescript(
                f"BEGIN; {SCHEMA} PRAGMA user_version={VERSION}; COMMIT;"
            )
        self._connection.executescript(ADDED)
        self._depth = 0
        self._touched: set[Concern] = set()
        self._listeners: list[Callable[[set[Concern]], None]] = []
        watch(self._connection, self._touched.add)

    def close(self) -> None:
        self._connection.close()

    def on_commit(self, listener: Callable[[set[Concern]], None]) -> None:
        """Calls `listener(whom the changed rows concern)` after each commit."""
        self._listeners.append(listener)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, each by itself; what an inner one did counts when the outermost commits.

        Listeners are told afterwards whom it concerns.
        """
        outermost = self._depth == 0
        point = f"inner{self._depth}"
        self._connection.execute("BEGIN IMMEDIATE" if outermost else f"SAVEPOINT {point}")
        self._depth += 1
        try:
            yield
            # A COMMIT that fails, e.g. for want of room, may leave the transaction open.
            self._connection.execute("COMMIT" if outermost else f"RELEASE {point}")
        except BaseException:
            self._undo("" if outermost else point)
            raise
        finally:
            self._depth -= 1
        if outermost:
            touched = set(self._touched)
            self._touched.clear()
            for listener in self._listeners if touched else ():
                listener(touched)

    def _undo(self, point: str) -> None:
        if not self._connection.in_transaction:
            return  # SQLite has rolled it back by itself
        if point:
            self._connection.execute(f"ROLLBACK TO {point}")
            self._connection.execute(f"RELEASE {point}")
        else:
            self._connection.execute("ROLLBACK")
            self._touched.clear()

    def run(self, sql: str, *values: Any) -> int:
        """Runs a writing statement; returns the number of rows it changed."""
        if self._depth == 0:
            raise RuntimeError("write outside a transaction")
        return self._connection.execute(sql, [_plain(value) for value in values]).rowcount

    def all(self, sql: str, *values: Any) -> list[Row]:
        return self._connection.execute(sql, values).fetchall()

    def one(self, sql: str, *values: Any) -> Row | None:
        return self._connection.execute(sql, values).fetchone()

    def insert(self, table: str, **columns: Any) -> None:
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        self.run(f"INSERT INTO {table} ({names}) VALUES ({marks})", *columns.values())


def _plain(value: Any) -> Any:
    if isinstance(value, (dict, list)):
        return json.dumps(value, separators=(",", ":"))
    return value


def _row(cursor: sqlite3.Cursor, values: tuple[Any, ...]) -> Row:
    row = {}
    for (name, *_), value in zip(cursor.description, values, strict=True):
        row[name] = json.loads(value) if name in _JSON and isinstance(value, str) else value
    return row
