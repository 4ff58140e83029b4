"""action-get, action-set, action-fail, action-log."""

from __future__ import annotations

import re
from typing import Any

from localjuju.agent.commands.arguments import Arguments, output
from localjuju.agent.commands.registry import command
from localjuju.agent.context import ActionResult, CommandError, Context
from localjuju.model import clock

_SEGMENT = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_RESERVED = {"stdout", "stdout-encoding", "stderr", "stderr-encoding"}
_NO_REASON = "action failed without reason given, check action for errors"


def _action(context: Context) -> ActionResult:
    if context.action is None:
        raise CommandError("not running an action")
    return context.action


@command("action-get", "[KEY[.KEY…]]", format=str)
def action_get(context: Context, arguments: Arguments) -> str:
    """Prints the action's parameters."""
    value: Any = _action(context).parameters
    for segment in arguments.words[0].split(".") if arguments.words else ():
        value = value.get(segment) if isinstance(value, dict) else None
    return output(value, arguments.text("format"))


@command("action-set", "KEY=VALUE…")
def action_set(context: Context, arguments: Arguments) -> None:
    """Sets results of the action; dots in a key nest."""
    action = _action(context)
    for word in arguments.words:
        key, equals, value = word.partition("=")
        if not equals:
            raise CommandError(f'argument "{word}" must be of the form key...=value', 2)
        segments = key.split(".")
        if key in _RESERVED:
            raise CommandError(f'cannot set reserved action key "{key}"', 2)
        for segment in segments:
            if not _SEGMENT.fullmatch(segment):
                raise CommandError(
                    f'key "{segment}" must start and end with lowercase alphanumeric, and contain '
                    "only lowercase alphanumeric, hyphens and periods", 2,
                )  # fmt: skip
        place = action.results
        for segment in segments[:-1]:
            inner = place.get(segment)
            inner = inner if isinstance(inner, dict) else {}
            place[segment] = inner
            place = inner
        place[segments[-1]] = value


@command("action-fail", "[MESSAGE]")
def action_fail(context: Context, arguments: Arguments) -> None:
    """Marks the action as failed."""
    action = _action(context)
    action.failed, action.message = True, " ".join(arguments.words) or _NO_REASON


@command("action-log", "MESSAGE")
def action_log(context: Context, arguments: Arguments) -> None:
    """Writes to the action's log, at once."""
    _action(context)
    assert context.hook is not None
    with context.db.transaction():
        row = context.db.one("SELECT log FROM tasks WHERE model = ? AND id = ?", context.model,
                             context.hook.task)  # fmt: skip
        line = f"{clock.now():%Y-%m-%d %H:%M:%S} +0000 UTC {' '.join(arguments.words)}"
        if row is not None:
            context.db.run("UPDATE tasks SET log = ? WHERE model = ? AND id = ?",
                           [*row["log"], line], context.model, context.hook.task)  # fmt: skip
