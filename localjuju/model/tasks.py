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


def run(
    db: Database, model: str, unit: str, action: str, parameters: Mapping[str, Any]
) -> dict[str, str]:
    """Queues an action; the unit's agent runs it between hooks.

    Raises:
        ModelError: the charm has no such action, or the parameters do not fit its schema.
    """
    name = unit_of(db, model, unit)
    application = name.rpartition("/")[0]
    charm = applications.charm_of(db, applications.get(db, model, application))
    if action not in charm.actions:
        raise ModelError(f'action "{action}" not defined on unit "{name}"')
    return _queue(db, model, name, action, checked(charm.actions[action] or {}, parameters))


def execute(db: Database, model: str, unit: str, command: str) -> dict[str, str]:
    """Queues a shell command in the unit's charm container, with the hook commands at hand."""
    return _queue(db, model, unit_of(db, model, unit), EXEC, {"command": command})


def _queue(
    db: Database, model: str, unit: str, name: str, parameters: dict[str, Any]
) -> dict[str, str]:
    with db.transaction(model):
        row = db.one("SELECT next_task AS next FROM models WHERE name = ?", model)
        assert row is not None
        operation, task = row["next"], row["next"] + 1
        db.run("UPDATE models SET next_task = next_task + 2 WHERE name = ?", model)
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
    timing = {
        name: row[name] for name in ("enqueued", "started", "completed") if row[name] is not None
    }
    shown: dict[str, Any] = {
        "id": str(row["id"]), "unit": row["unit"], "status": row["status"],
        "action": row["name"], "parameters": row["parameters"], "results": row["results"],
        "timing": timing, "log": row["log"],
    }  # fmt: skip
    if row["message"]:
        shown["message"] = row["message"]
    return shown


def cancel(db: Database, model: str, task: str) -> None:
    """Raises ModelError: it has begun; a running charm is not interrupted."""
    row = get(db, model, task)
    if row["status"] != "pending":
        raise ModelError(f'task "{task}" is {row["status"]}: only a pending one can be cancelled')
    with db.transaction(model):
        db.run("UPDATE tasks SET status = 'cancelled', completed = ? WHERE model = ? AND id = ?",
               clock.text(), model, row["id"])  # fmt: skip


def end_interrupted(db: Database, model: str, unit: str) -> None:
    """Tasks that were running when the engine ended: an action is not run twice."""
    sql = "SELECT id FROM tasks WHERE model = ? AND unit = ? AND status = 'running'"
    for row in db.all(sql, model, unit):
        with db.transaction(model):
            db.run(
                "UPDATE tasks SET status = 'failed', message = 'action terminated', "
                "completed = ? WHERE model = ? AND id = ?",
                clock.text(), model, row["id"],
            )  # fmt: skip


def listing(db: Database, model: str) -> list[dict[str, Any]]:
    """Every task, newest last, as `show` has them."""
    return [
        show(db, model, str(row["id"]))
        for row in db.all("SELECT id FROM tasks WHERE model = ? ORDER BY id", model)
    ]
