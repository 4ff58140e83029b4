"""Actions and commands that the user queues on units: operations and their tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jsonschema import Draft4Validator
from jsonschema.exceptions import SchemaError, UnknownType
from referencing.exceptions import Unresolvable

from localjuju.model import applications, clock
from localjuju.model.db import Database, Row
from localjuju.model.errors import ModelError, NotFound

EXEC = "juju-exec"
# What of an action's declaration belongs to the schema of its parameters.
_SCHEMA_KEYS = ("required", "additionalProperties", "definitions")


def unit_of(db: Database, model: str, text: str) -> str:
    """`app/leader` → the leader's name.

    Raises:
        ModelError: there is no such unit, or no leader now.
    """
    application, slash, which = text.partition("/")
    if slash and which == "leader":
        leader = applications.get(db, model, application)["leader"]
        if leader is None:
            raise ModelError(f'could not determine leader for "{application}"')
        return leader
    return applications.unit(db, model, text)["name"]


def new_operation(db: Database, model: str) -> int:
    """The number of an operation to which tasks are added; tasks are counted with them."""
    return _next_number(db, model)


def _next_number(db: Database, model: str) -> int:
    with db.transaction():
        row = db.one("SELECT next_task AS next FROM models WHERE name = ?", model)
        assert row is not None
        db.run("UPDATE models SET next_task = next_task + 1 WHERE name = ?", model)
    return row["next"]


def run(
    db: Database, model: str, unit: str, action: str, parameters: Mapping[str, Any],
    operation: int | None = None,
) -> dict[str, str]:  # fmt: skip
    """Queues an action; the unit's agent runs it between hooks.

    Args:
        operation: the operation that the task belongs to; None begins one.

    Raises:
        ModelError: the charm has no such action, or the parameters do not fit its schema.
    """
    name = unit_of(db, model, unit)
    application = name.rpartition("/")[0]
    charm = applications.charm_of(db, applications.get(db, model, application))
    if action not in charm.actions:
        raise ModelError(f'action "{action}" not defined on unit "{name}"')
    fitting = checked(charm.actions[action] or {}, parameters)
    return _queue(db, model, name, action, fitting, operation)


def execute(
    db: Database, model: str, unit: str, command: str, operation: int | None = None
) -> dict[str, str]:
    """Queues a shell command in the unit's charm container, with the hook commands at hand."""
    name = unit_of(db, model, unit)
    return _queue(db, model, name, EXEC, {"command": command}, operation)


def _queue(
    db: Database, model: str, unit: str, name: str, parameters: dict[str, Any],
    operation: int | None,
) -> dict[str, str]:  # fmt: skip
    with db.transaction():
        if operation is None:
            operation = new_operation(db, model)
        task = _next_number(db, model)
        db.insert("tasks", model=model, id=task, operation=operation, unit=unit, name=name,
                  parameters=parameters, status="pending", enqueued=clock.text())  # fmt: skip
    return {"operation": str(operation), "task": str(task)}


def checked(action: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters with the schema's defaults.

    Raises:
        ModelError: they do not fit the schema, a JSON schema of draft 4 as Juju reads it.
    """
    schema = {"type": "object", "properties": action.get("params") or {}}
    schema |= {name: action[name] for name in _SCHEMA_KEYS if action.get(name) not in (None, [])}
    try:
        Draft4Validator.check_schema(schema)
        parameters = _with_defaults(schema, given)
        errors = sorted(Draft4Validator(schema).iter_errors(parameters), key=lambda e: str(e.path))
    except (SchemaError, UnknownType, Unresolvable) as error:
        text = " ".join(str(getattr(error, "message", error)).split())
        raise ModelError(f"the charm's schema of the action is not valid: {text}") from None
    if errors:
        raise ModelError("validation failed: " + "; ".join(_told(error) for error in errors))
    return parameters


def _with_defaults(schema: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(given)
    for name, spec in (schema.get("properties") or {}).items():
        if name not in found and "default" in spec:
            found[name] = spec["default"]
        elif spec.get("properties") and isinstance(found.get(name, {}), Mapping):
            inner = _with_defaults(spec, found.get(name, {}))
            if inner or name in found:
                found[name] = inner
    return found


def _told(error: Any) -> str:
    """In Juju's words where they are known."""
    place = "".join(f".{part}" for part in ["(root)", *error.path])[1:]
    text = error.message
    if error.validator == "required":
        missing = next(name for name in error.validator_value if name not in error.instance)
        text = f'"{missing}" property is missing and required'
    elif error.validator == "type":
        text = f"must be of type {error.validator_value}, given {error.instance!r}"
    elif error.validator == "additionalProperties":
        known = error.schema.get("properties") or {}
        more = next(name for name in error.instance if name not in known)
        text = f'additional property "{more}" is not allowed'
    return f"{place} : {' '.join(text.split())}"


def get(db: Database, model: str, task: str) -> Row:
    row = None
    if task.isdigit():
        row = db.one("SELECT * FROM tasks WHERE model = ? AND id = ?", model, int(task))
    if row is None:
        raise NotFound(f'task "{task}" not found')
    return row


def show(db: Database, model: str, task: str) -> dict[str, Any]:
    """As one unit's entry of `juju run --format json`."""
    row = get(db, model, task)
    shown: dict[str, Any] = {
        "id": str(row["id"]), "unit": row["unit"], "status": row["status"],
        "action": row["name"], "parameters": row["parameters"], "results": row["results"],
        "timing": _timing(row), "log": row["log"],
    }  # fmt: skip
    if row["message"]:
        shown["message"] = row["message"]
    return shown


# Which status an operation has: the first of these that one of its tasks has.
_WORST = ("running", "pending", "error", "failed", "aborted", "cancelled", "completed")


def operations(db: Database, model: str) -> dict[str, Any]:
    """Every operation by its number, in the shape of `juju operations --format json`."""
    found: dict[str, list[Row]] = {}
    for row in db.all("SELECT * FROM tasks WHERE model = ? ORDER BY operation, id", model):
        found.setdefault(str(row["operation"]), []).append(row)
    return {number: _operation(rows) for number, rows in found.items()}


def operation(db: Database, model: str, number: str) -> dict[str, Any]:
    """One operation; raises NotFound: there is none of that number."""
    found = operations(db, model)
    if number not in found:
        raise NotFound(f'operation "{number}" not found')
    return {number: found[number]}


def _operation(rows: list[Row]) -> dict[str, Any]:
    statuses = {row["status"] for row in rows}
    first = rows[0]
    same = all((r["name"], r["parameters"]) == (first["name"], first["parameters"]) for r in rows)
    what = f"{first['name']} run on" if first["name"] != EXEC else "exec run on"
    timing = {"enqueued": min(row["enqueued"] for row in rows)}
    if begun := [row["started"] for row in rows if row["started"]]:
        timing["started"] = min(begun)
    if all(row["completed"] for row in rows):
        timing["completed"] = max(row["completed"] for row in rows)
    shown: dict[str, Any] = {
        "summary": f"{what} {','.join('unit-' + r['unit'].replace('/', '-') for r in rows)}",
        "status": next(status for status in _WORST if status in statuses),
        "timing": timing,
        "tasks": {},
    }
    if same:
        shown["action"] = {"name": first["name"], "parameters": first["parameters"]}
    for row in rows:
        task: dict[str, Any] = {} if same else {"name": row["name"]}
        task |= {"host": row["unit"], "status": row["status"], "timing": _timing(row)}
        task |= {key: row[key] for key in ("log", "message", "results") if row[key]}
        shown["tasks"][str(row["id"])] = task
    return shown


def _timing(row: Row) -> dict[str, str]:
    return {key: row[key] for key in ("enqueued", "started", "completed") if row[key] is not None}


def cancel(db: Database, model: str, task: str) -> None:
    """Raises ModelError: it has begun; a running charm is not interrupted."""
    row = get(db, model, task)
    if row["status"] != "pending":
        raise ModelError(f'task "{task}" is {row["status"]}: only a pending one can be cancelled')
    with db.transaction():
        db.run("UPDATE tasks SET status = 'cancelled', completed = ? WHERE model = ? AND id = ?",
               clock.text(), model, row["id"])  # fmt: skip


def end_interrupted(db: Database, model: str, unit: str) -> None:
    """Tasks that were running when the engine ended: an action is not run twice."""
    sql = "SELECT id FROM tasks WHERE model = ? AND unit = ? AND status = 'running'"
    for row in db.all(sql, model, unit):
        with db.transaction():
            db.run(
                "UPDATE tasks SET status = 'failed', message = 'action terminated', "
                "completed = ? WHERE model = ? AND id = ?",
                clock.text(), model, row["id"],
            )  # fmt: skip
