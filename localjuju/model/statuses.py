"""What units and applications say of themselves, now and before."""

from __future__ import annotations

from typing import Any

from localjuju.model import clock
from localjuju.model.db import Database, Row
from localjuju.model.errors import NotFound

_KEPT = 100
# What an application shows that set no status itself: its units' most severe one.
SEVERITY = (
    "error", "blocked", "maintenance", "waiting", "active", "terminated", "unknown", "unset",
)  # fmt: skip


def set_unit(
    db: Database, model: str, unit: str, status: str, message: str,
    data: dict[str, Any] | None = None,
) -> None:  # fmt: skip
    row = db.one("SELECT status, message FROM units WHERE model = ? AND name = ?", model, unit)
    if row is None or (row["status"], row["message"]) == (status, message):
        return
    with db.transaction():
        db.run("UPDATE units SET status = ?, message = ?, status_data = ?, since = ? "
               "WHERE model = ? AND name = ?", status, message, data or {}, clock.text(), model,
               unit)  # fmt: skip
        _remember(db, model, unit, "workload", status, message)


def set_agent(
    db: Database, model: str, unit: str, status: str, message: str = "",
    data: dict[str, Any] | None = None,
) -> None:  # fmt: skip
    row = db.one("SELECT agent_status, agent_message FROM units WHERE model = ? AND name = ?",
                 model, unit)  # fmt: skip
    if row is None or (row["agent_status"], row["agent_message"]) == (status, message):
        return
    with db.transaction():
        db.run("UPDATE units SET agent_status = ?, agent_message = ?, agent_data = ?, "
               "agent_since = ? WHERE model = ? AND name = ?", status, message, data or {},
               clock.text(), model, unit)  # fmt: skip
        _remember(db, model, unit, "juju-unit", status, message)


def set_application(db: Database, model: str, name: str, status: str, message: str) -> None:
    row = db.one("SELECT status, message FROM applications WHERE model = ? AND name = ?", model,
                 name)  # fmt: skip
    if row is None or (row["status"], row["message"]) == (status, message):
        return
    with db.transaction():
        db.run("UPDATE applications SET status = ?, message = ?, since = ? "
               "WHERE model = ? AND name = ?", status, message, clock.text(), model,
               name)  # fmt: skip
        _remember(db, model, name, "application", status, message)


def _remember(db: Database, model: str, entity: str, kind: str, status: str, message: str) -> None:
    db.insert("status_history", model=model, entity=entity, kind=kind, status=status,
              message=message, since=clock.text())  # fmt: skip
    db.run(
        "DELETE FROM status_history WHERE model = ? AND entity = ? AND id <= (SELECT max(id) FROM "
        "status_history WHERE model = ? AND entity = ?) AND id NOT IN (SELECT id FROM "
        "status_history WHERE model = ? AND entity = ? ORDER BY id DESC LIMIT ?)",
        model, entity, model, entity, model, entity, _KEPT,
    )  # fmt: skip


def history(db: Database, model: str, entity: str) -> list[dict[str, str]]:
    """Oldest first, as `juju show-status-log --format json`.

    Raises:
        NotFound: neither a unit nor an application.
    """
    table = "units" if "/" in entity else "applications"
    if db.one(f"SELECT 1 FROM {table} WHERE model = ? AND name = ?", model, entity) is None:
        raise NotFound(f'{table[:-1]} "{entity}" not found')
    rows = db.all("SELECT * FROM status_history WHERE model = ? AND entity = ? ORDER BY id", model,
                  entity)  # fmt: skip
    return [
        {
            "status": row["status"],
            "message": row["message"],
            "since": row["since"],
            "type": row["kind"],
        }
        for row in rows
    ]


def shown(unit: Row) -> tuple[str, str, str]:
    """Status, message and time as users see a unit: a failed hook hides what it said itself."""
    if unit["agent_status"] == "error":
        return "error", unit["agent_message"], unit["agent_since"]
    return unit["status"], unit["message"], unit["since"]


def of_application(application: Row, units: list[Row]) -> tuple[str, str, str]:
    """Status, message and time: its own, or its units' most severe."""
    if application["status"] != "unset":
        return application["status"], application["message"], application["since"]
    if not units:
        return "unknown", "", application["since"]
    return min((shown(unit) for unit in units), key=lambda status: SEVERITY.index(status[0]))
