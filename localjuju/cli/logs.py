"""debug-log."""

from __future__ import annotations

import argparse
import collections
import fnmatch
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from localjuju.cli.context import Context
from localjuju.cli.registry import command

_LEVELS = ("TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--replay", action="store_true", help="from the beginning")
    parser.add_argument("--tail", action="store_true", help="go on with new lines")
    parser.add_argument("--no-tail", action="store_true", help="end with the last line")
    parser.add_argument("-n", "--lines", type=int, default=10, help="of the past, to begin with")
    parser.add_argument("--limit", type=int, default=0, help="of the past, and end with them")
    parser.add_argument("-l", "--level", type=str.upper, choices=_LEVELS, default="TRACE")
    for option in ("--include", "--exclude", "--include-module", "--exclude-module"):
        parser.add_argument(option, action="append", default=[])
    parser.add_argument("-i", dest="include", action="append")
    parser.add_argument("-x", dest="exclude", action="append")
    for flag in ("--date", "--utc", "--ms", "--color", "--no-color", "--location"):
        parser.add_argument(flag, action="store_true")


@command("debug-log", "Shows the model's log.", _arguments)
def debug_log(options: argparse.Namespace, context: Context) -> None:
    """Goes on with new lines on a terminal or with --tail."""
    follow = options.tail or (sys.stdout.isatty() and not options.no_tail and not options.limit)
    past = _matching(context.client.log(context.model, replay=True, follow=False), options)
    if not options.replay:
        past = iter(collections.deque(past, options.limit or options.lines))
    shown = 0
    for line in past:
        print(_text(line, options))
        shown += 1
        if options.limit and shown >= options.limit:
            return
    sys.stdout.flush()
    if not follow:
        return
    for line in _matching(context.client.log(context.model, replay=False, follow=True), options):
        print(_text(line, options), flush=True)
        shown += 1
        if options.limit and shown >= options.limit:
            return


def _matching(
    lines: Iterable[dict[str, Any]], options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    lowest = _LEVELS.index(options.level)
    for line in lines:
        entity, module = line["entity"], line["module"]
        if (
            _LEVELS.index(line["level"]) >= lowest
            and (not options.include or _matches(entity, options.include))
            and not _matches(entity, options.exclude)
            and (not options.include_module or _below(module, options.include_module))
            and not _below(module, options.exclude_module)
        ):
            yield line


def _matches(entity: str, patterns: list[str]) -> bool:
    """An entity such as `unit-mlflow-0`, as people also write it: `mlflow/0` or `mlflow`."""
    for pattern in patterns:
        name = pattern.replace("/", "-").removeprefix("unit-")
        bare = entity.removeprefix("unit-")
        if fnmatch.fnmatchcase(bare, name) or bare.rpartition("-")[0] == name:
            return True
    return False


def _below(module: str, names: list[str]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in names)


def _text(line: dict[str, Any], options: argparse.Namespace) -> str:
    time = str(line["timestamp"])
    stamp = time[:19].replace("T", " ") if options.date else time[11:19]
    return f"{line['entity']}: {stamp} {line['level']} {line['module']} {line['message']}"
