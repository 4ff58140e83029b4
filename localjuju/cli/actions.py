"""Actions, commands on units, and what came of them."""

from __future__ import annotations

import argparse
import shlex
from typing import Any

from localjuju.cli.context import Context, UsageError, say, seconds
from localjuju.cli.output import format_option, show, table
from localjuju.cli.registry import command
from localjuju.cli.settings import pairs, read_mapping
from localjuju.client import ApiError
from localkube.host.errors import EngineError

_EXEC = "juju-exec"  # what a command that `exec` ran is called
_TASKS_SHOWN = 5  # the list of operations names no more of each
_OVER = ("completed", "failed", "cancelled", "aborted", "error")


def _waiting(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--wait", type=seconds, default=None, metavar="DURATION",
        help="at most so long, e.g. 10m; without it as long as it takes",
    )  # fmt: skip
    parser.add_argument(
        "--background", action="store_true",
        help="return at once; juju show-task ID tells what came of it",
    )  # fmt: skip


def _run_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs="+", metavar="UNIT… ACTION [KEY=VALUE …]")
    parser.add_argument("--params", metavar="FILE", help="YAML with parameters")
    _waiting(parser)
    parser.add_argument("--string-args", action="store_true",
                        help="values are texts, not YAML")  # fmt: skip
    parser.epilog = "example: juju run mariadb/leader create-backup"
    parser.add_argument("--no-color", action="store_true", help="ignored: there is none")
    parser.add_argument("--utc", action="store_true", help="ignored: times are")
    format_option(parser, "plain", "json", "yaml")


@command("run", "Runs an action on units.", _run_arguments)
def run(options: argparse.Namespace, context: Context) -> int:
    """Units are APP/N or APP/leader; parameters are KEY=VALUE or a file."""
    units = [word for word in options.words if "/" in word and "=" not in word]
    rest = options.words[len(units) :]
    if not units or options.words[: len(units)] != units:
        raise UsageError("no unit specified: name units as APP/N or APP/leader, then the action")
    if not rest:
        raise UsageError("no action specified")
    action, *given = rest
    params = read_mapping(options.params) if options.params else {}
    for key, value in pairs(given, "parameter").items():
        _put(params, key, value if options.string_args else _typed(value))
    operation = context.call("new_operation")
    queued = {unit: _queue(context, operation, unit, action, params) for unit in units}
    return _follow(options, context, queued)


def _queue(
    context: Context, operation: int, unit: str, action: str, params: dict[str, Any]
) -> dict[str, str]:
    try:
        return context.call("run", unit=unit, action=action, params=params, operation=operation)
    except ApiError as error:
        # The words by which Juju's clients tell a missing action or unit from a failed one.
        missing = error.code == "not-found" or "not defined on unit" in str(error)
        raise EngineError(f"{error} (not found)" if missing else str(error)) from None


def _typed(text: str) -> Any:
    """A parameter's value as YAML reads it."""
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _put(params: dict[str, Any], key: str, value: Any) -> None:
    """`a.b=c` sets b in the map a."""
    *path, last = key.split(".")
    for part in path:
        params = params.setdefault(part, {})
    params[last] = value


def _follow(
    options: argparse.Namespace, context: Context, queued: dict[str, dict[str, str]]
) -> int:
    """Waits for the tasks and shows them; 1 where one failed."""
    first = next(iter(queued.values()))
    many = f"{len(queued)} tasks" if len(queued) > 1 else "1 task"
    say(f"Running operation {first['operation']} with {many}")
    for unit, ids in queued.items():
        say(f"  - task {ids['task']} on unit-{unit.replace('/', '-')}")
    if options.background:
        return 0
    results: dict[str, Any] = {}

    def done() -> bool:
        for unit, ids in queued.items():
            if unit not in results:
                task = context.call("task", id=ids["task"])
                if task["status"] in _OVER:
                    results[task.get("unit", unit)] = results[unit] = task
        return all(unit in results for unit in queued)

    context.wait(done, options.wait, "the action to end")
    shown = {task.get("unit", unit): _shown(task) for unit, task in results.items()}
    show(options, shown, lambda: _plain(list(shown.values())))
    failed = [name for name, task in shown.items() if _has_failed(task)]
    if failed:
        say("ERROR the following task failed:\n" + "\n".join(
            f' - id "{shown[name]["id"]}" with return code {_code(shown[name])}'
            for name in failed
        ) + "\n\nUse 'juju show-task' to inspect the failure\n")  # fmt: skip
        return 1
    return 0


def _has_failed(task: dict[str, Any]) -> bool:
    """A command that `exec` ran is completed even so; an action's own code is its affair."""
    return task["status"] != "completed" or (task.get("action") == _EXEC and _code(task) != 0)


def _code(task: dict[str, Any]) -> Any:
    return (task.get("results") or {}).get("return-code", 1)


def _shown(task: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in task.items() if value not in (None, "", [], {})}


def _plain(tasks: list[dict[str, Any]]) -> str:
    """As Juju prints: the results as YAML, output bare."""
    import yaml

    lines = []
    for task in tasks:
        results = dict(task.get("results") or {})
        stdout, stderr = results.pop("stdout", ""), results.pop("stderr", "")
        results.pop("return-code", None)
        if results:
            lines.append(yaml.safe_dump(results, sort_keys=True).rstrip())
        lines += [text.rstrip("\n") for text in (stdout, stderr) if text]
        if task["status"] != "completed" and task.get("message"):
            lines.append(f"Action id {task['id']} failed: {task['message']}")
    return "\n".join(lines)


def _exec_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs="*", metavar="COMMAND")
    parser.add_argument("-u", "--unit", action="append", default=[])
    parser.add_argument("-a", "--application", "--app", action="append", default=[])
    parser.add_argument("--machine", help="none: units are pods")
    _waiting(parser)
    parser.add_argument("--operator", action="store_true", help="ignored: always so")
    format_option(parser, "plain", "json", "yaml")


@command("exec", "Runs a command in units' charm containers.", _exec_arguments)
def execute(options: argparse.Namespace, context: Context) -> int:
    """The hook commands are at hand."""
    words = options.words + options.after
    if not words:
        raise UsageError("no commands specified")
    if options.machine:
        raise EngineError("unable to target machines with a k8s controller")
    text = words[0] if len(words) == 1 else shlex.join(words)
    units = [name for given in options.unit for name in given.split(",")]
    status = context.call("status")["applications"]
    for name in (name for given in options.application for name in given.split(",")):
        if name not in status:
            raise EngineError(f'application "{name}" not found')
        units += sorted(status[name].get("units") or {})
    if not units:
        raise UsageError("you must specify a target, either through --unit or --application")
    operation = context.call("new_operation")
    queued, refused = {}, []
    for unit in units:
        try:
            queued[unit] = context.call("exec", unit=unit, command=text, operation=operation)
        except ApiError as error:
            refused.append(str(error))
    # As Juju has it, that is no failure: its clients see that nothing was printed.
    if not queued:
        say("\n".join([f"Operation {operation} failed to schedule any tasks:", *refused]))
        return 0
    if refused:
        say("\n".join(["Some actions could not be scheduled:", *refused]))
    return _follow(options, context, queued)


def _actions_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("application")
    parser.add_argument("--schema", action="store_true")
    format_option(parser, "default", "tabular", "json", "yaml")


@command("actions", "Lists an application's actions.", _actions_arguments)
def actions(options: argparse.Namespace, context: Context) -> None:
    """With --schema their parameters."""
    found = context.call("actions", application=options.application)
    short = {name: spec["description"] for name, spec in found.items()}
    if options.schema and options.format in ("default", "tabular"):
        options.format = "yaml"

    def text() -> str:
        rows = [("Action", "Description"), *((n, d.splitlines()[0]) for n, d in short.items())]
        return table(rows)

    show(options, found if options.schema else short, text)


def _task_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id")
    parser.add_argument("--wait", type=seconds, default=0.0)
    parser.add_argument("--watch", action="store_true", help="wait for its end")
    format_option(parser, "plain", "json", "yaml")


@command("show-task", "Shows a task.", _task_arguments)
def show_task(options: argparse.Namespace, context: Context) -> None:
    """Waits for its end where asked to."""
    if options.wait or options.watch:
        context.wait(
            lambda: context.call("task", id=options.id)["status"] in _OVER,
            options.wait or None,
            f"task {options.id}",
        )
    task = _shown(context.call("task", id=options.id))
    show(options, task, lambda: _plain([task]) or f"{task['status']}")


@command(
    "cancel-task", "Cancels a task that has not begun.",
    lambda parser: parser.add_argument("ids", nargs="+"),
)  # fmt: skip
def cancel_task(options: argparse.Namespace, context: Context) -> None:
    """One or several."""
    for id in options.ids:
        context.call("cancel_task", id=id)


@command(
    "operations", "Lists what was run.",
    lambda parser: format_option(parser, "plain", "json", "yaml"),
)  # fmt: skip
def operations(options: argparse.Namespace, context: Context) -> None:
    """Oldest first, with the numbers of their tasks."""
    found = context.call("operations")
    if not found:
        say("no matching operations")
        return
    rows = [("Id", "Status", "Started", "Finished", "Task IDs", "Summary")]
    for number, one in found.items():
        timing, ids = one["timing"], list(one["tasks"])
        tasks = ",".join(ids[:_TASKS_SHOWN]) + ("..." if len(ids) > _TASKS_SHOWN else "")
        times = (timing.get("started", ""), timing.get("completed", ""))
        rows.append((number, one["status"], *times, tasks, one["summary"]))
    show(options, found, lambda: table(rows, right=(0,)))


def _operation_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id")
    parser.add_argument("--wait", type=seconds, help="for its end, at most so long")
    parser.add_argument("--watch", action="store_true", help="wait for its end")
    parser.add_argument("--utc", action="store_true", help="ignored: times are")
    format_option(parser, "yaml", "json")


@command("show-operation", "Shows an operation with its tasks.", _operation_arguments)
def show_operation(options: argparse.Namespace, context: Context) -> None:
    """Waits for its end where asked to."""
    if options.wait and options.watch:
        raise UsageError("specify either --watch or --wait but not both")

    def status() -> str:
        return context.call("operation", id=options.id)[options.id]["status"]

    if options.wait or options.watch:
        context.wait(lambda: status() in _OVER, options.wait, f"operation {options.id}")
    show(options, context.call("operation", id=options.id)[options.id])
