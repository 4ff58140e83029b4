"""status-set, status-get, application-version-set, is-leader, goal-state, juju-log."""

from __future__ import annotations

from typing import Any

from localjuju.agent.commands.arguments import Arguments, output
from localjuju.agent.commands.registry import command
from localjuju.agent.context import CommandError, Context
from localjuju.model import applications, clock, relations, statuses
from localjuju.model.db import Row
from localjuju.model.logs import LEVELS

_SETTABLE = ("maintenance", "blocked", "waiting", "active")
_NOT_LEADER = "finding application status: this unit is not the leader"


@command("status-set", "STATUS [MESSAGE]", application=bool)
def status_set(context: Context, arguments: Arguments) -> None:
    """Sets the unit's or the application's status, at once."""
    if not arguments.words:
        raise CommandError("invalid args, require <status> [message]", 2)
    status, message = arguments.words[0], " ".join(arguments.words[1:])
    if status not in _SETTABLE:
        raise CommandError(
            f'invalid status "{status}", expected one of [{" ".join(_SETTABLE)}]', 2
        )
    if arguments.on("application"):
        context.need_leader()
        statuses.set_application(context.db, context.model, context.application, status, message)
    else:
        context.state.status_set = True
        statuses.set_unit(context.db, context.model, context.unit, status, message)


@command("status-get", format=str, application=bool, include_data=bool)
def status_get(context: Context, arguments: Arguments) -> str:
    """Prints the unit's or the application's status."""
    style, data = arguments.text("format"), arguments.on("include-data")
    bare = not data and style in (None, "smart")
    if not arguments.on("application"):
        own = _status(context.row, data)
        return output(own["status"] if bare else own, style)
    context.need_leader(_NOT_LEADER)
    units = applications.units(context.db, context.model, context.application)
    row = context.application_row
    status, message, _ = statuses.of_application(row, units)
    shown = _status(row | {"status": status, "message": message}, data)
    if bare:
        return output(status, style)
    shown["units"] = {unit["name"]: _status(unit, data) for unit in units}
    return output({"application-status": shown}, style)


def _status(row: Row, data: bool) -> dict[str, Any]:
    if not data:
        return {"status": row["status"]}
    return {
        "status": row["status"], "message": row["message"], "status-data": row["status_data"],
    }  # fmt: skip


@command("application-version-set", "VERSION")
def application_version_set(context: Context, arguments: Arguments) -> None:
    """Sets the workload's version that `juju status` shows, at once."""
    if len(arguments.words) != 1:
        raise CommandError("no version specified", 2)
    with context.db.transaction():
        context.db.run("UPDATE applications SET version = ? WHERE model = ? AND name = ?",
                       arguments.words[0], context.model, context.application)  # fmt: skip


@command("is-leader", format=str)
def is_leader(context: Context, arguments: Arguments) -> str:
    """Prints whether the unit leads its application."""
    return output(context.leader, arguments.text("format"))


@command("goal-state", format=str)
def goal_state(context: Context, arguments: Arguments) -> str:
    """Prints the units and relations that are there or will be."""
    found: dict[str, dict[str, Any]] = {}
    for row in relations.of(context.db, context.model, context.application):
        remote = relations.other(row, context.application)
        if row["peer"] or row["life"] != "alive":
            continue
        units = _units(context, row, remote)
        goals: dict[str, Any] = {remote: {"status": "joined", "since": _since(clock.text())}}
        goals |= {name: _goal(unit) for name, unit in units.items()}
        for endpoint in relations.endpoints_of(row, context.application):
            found.setdefault(endpoint, {}).update(goals)
    mine = applications.units(context.db, context.model, context.application)
    goals = {"units": {unit["name"]: _goal(unit) for unit in mine}, "relations": found}
    return output(goals, arguments.text("format"))


def _units(context: Context, relation: Row, remote: str) -> dict[str, Row]:
    """The units at the other side, by the name they have here."""
    model, application = context.model, remote
    if link := relations.link(context.db, context.model, relation["id"]):
        model, application = link["other_model"], link["other_application"]
    found = applications.units(context.db, model, application)
    return {f"{remote}/{unit['number']}": unit for unit in found}


def _goal(unit: Row) -> dict[str, str]:
    status = unit["status"] if unit["life"] == "alive" else "dying"
    return {"status": status, "since": _since(unit["since"])}


def _since(time: str) -> str:
    return clock.parse(time).strftime("%Y-%m-%d %H:%M:%SZ")


@command("juju-log", "MESSAGE", log_level=str, l=str, debug=bool, format=str)
def juju_log(context: Context, arguments: Arguments) -> None:
    """Writes to the model's log, at once."""
    level = (arguments.text("log-level") or arguments.text("l") or "INFO").upper()
    if arguments.on("debug"):
        level = "DEBUG"
    message = " ".join(arguments.words)
    hook = context.hook
    if hook and hook.relation is not None:
        message = f"{hook.endpoint}:{hook.relation}: {message}"
    module = f"unit.{context.unit}.juju-log"
    context.write_log(level if level in LEVELS else "INFO", module, message)
