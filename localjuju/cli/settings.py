"""KEY, KEY=VALUE and --reset, as `config` and `model-config` take them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from localjuju.cli.context import UsageError
from localjuju.cli.output import format_option, show, table
from localkube.host.errors import EngineError


def settings_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of both commands."""
    parser.add_argument("settings", nargs="*", metavar="KEY[=VALUE]")
    parser.add_argument("--reset", action="append", default=[], metavar="KEY,…",
                        help="back to the default")  # fmt: skip
    parser.add_argument("--file", metavar="FILE", help="YAML with keys and values")
    format_option(parser, "tabular", "json", "yaml")


def split_settings(options: argparse.Namespace) -> tuple[list[str], dict[str, str]]:
    """The keys to show and the values to set; --reset becomes a plain list.

    Raises:
        UsageError: both at once.
    """
    options.reset = [key for text in options.reset for key in text.split(",") if key]
    keys = [text for text in options.settings if "=" not in text]
    values = pairs([text for text in options.settings if "=" in text], "")
    if options.file:
        values = {**read_mapping(options.file), **values}
    if keys and (values or options.reset):
        raise UsageError("cannot set and retrieve values simultaneously")
    return keys, values


def pairs(texts: Iterable[str], option: str) -> dict[str, str]:
    """KEY=VALUE texts as a mapping; a value `@FILE` is the file's content.

    Raises:
        UsageError: one is no KEY=VALUE; EngineError: the file cannot be read.
    """
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UsageError(f'{option or "argument"} "{text}": expected KEY=VALUE')
        found[key] = read_text(value[1:]) if value.startswith("@") else value
    return found


def read_text(name: str) -> str:
    """A file's text.

    Raises:
        EngineError: it cannot be read.
    """
    try:
        return Path(name).read_text()
    except OSError as error:
        raise EngineError(f"cannot read {name}: {error.strerror}") from None


def read_mapping(name: str) -> dict[str, Any]:
    """A YAML file that holds a mapping.

    Raises:
        EngineError: it does not.
    """
    import yaml

    try:
        found = yaml.safe_load(read_text(name)) or {}
    except yaml.YAMLError as error:
        raise EngineError(f"cannot read {name}: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict):
        raise EngineError(f"cannot read {name}: it holds no mapping")
    return found


def show_settings(
    options: argparse.Namespace,
    keys: list[str],
    found: Mapping[str, Mapping[str, Any]],
    value: str,
    rows: Callable[[Mapping[str, Mapping[str, Any]]], list[tuple[Any, ...]]],
) -> None:
    """Shows all settings, or the value of one.

    Raises:
        EngineError: there is no such key.
    """
    if not keys:
        show(options, dict(found), lambda: table(rows(found)))
        return
    if len(keys) > 1:
        raise UsageError("can only retrieve a single value, or all values")
    if keys[0] not in found:
        raise EngineError(f'key "{keys[0]}" not found')
    one = found[keys[0]].get(value)
    show(options, one, lambda: "" if one is None else str(one))
