"""Arguments and output of hook commands, as Juju's own tools read and print them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from localjuju.agent.context import CommandError

_TRUE = {"1", "t", "T", "true", "TRUE", "True"}
_FALSE = {"0", "f", "F", "false", "FALSE", "False"}


@dataclass(frozen=True)
class Arguments:
    """Positional words and the flags that were given. `flags` maps to text or bool."""

    words: list[str]
    flags: dict[str, Any]
    stdin: str

    def text(self, name: str) -> str | None:
        return self.flags.get(name)

    def on(self, name: str) -> bool:
        return bool(self.flags.get(name))


def parse(argv: Sequence[str], spec: Mapping[str, type], stdin: str | None = None) -> Arguments:
    """Flags may follow words; `--` ends flags; a bool takes its value only after `=`.

    `--help` or `-h` is every command's, as flag `help`; what follows it does not matter.

    Raises:
        CommandError: an unknown flag or one without its value; exit code 2.
    """
    words: list[str] = []
    flags: dict[str, Any] = {}
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word == "--":
            words += rest
            break
        if not word.startswith("-") or word == "-":
            words.append(word)
            continue
        name, equals, value = word.lstrip("-").partition("=")
        if name in ("help", "h") and name not in spec:
            return Arguments(words, {"help": True}, "")
        if name not in spec:
            raise CommandError(f"option provided but not defined: {word.partition('=')[0]}", 2)
        if spec[name] is bool:
            if equals and value not in _TRUE | _FALSE:
                raise CommandError(f'invalid value "{value}" for option --{name}', 2)
            flags[name] = value in _TRUE if equals else True
            continue
        if not equals:
            if not rest:
                raise CommandError(f"option needs an argument: {word}", 2)
            value = rest.pop(0)
        flags[name] = value
    return Arguments(words, flags, stdin or "")


def pairs(text: str) -> dict[str, str]:
    """A map of texts, from JSON or YAML.

    Raises:
        CommandError: it is something else.
    """
    try:
        values = yaml.load(text, Loader=_Texts) or {}
    except yaml.YAMLError as error:
        raise CommandError(" ".join(str(error).split())) from None
    if not isinstance(values, dict):
        raise CommandError("expected a map of keys to values")
    return {str(key): "" if value is None else str(value) for key, value in values.items()}


class _Texts(yaml.BaseLoader):
    """Leaves scalars as they are written, as Juju reads them into texts: `010`, `yes`, `1e3`."""


_Texts.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"(?:~|null|Null|NULL)?$"), None)
_Texts.add_constructor("tag:yaml.org,2002:null", lambda *_: None)


def output(value: Any, style: str | None) -> str:
    """`value` as `--format` asks; `smart` is the default.

    Raises:
        CommandError: an unknown format.
    """
    if style == "json":
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False) + "\n"
    if style == "yaml":
        return yaml.safe_dump(value, default_flow_style=False)
    if style not in (None, "smart"):
        raise CommandError(f'invalid value "{style}" for option --format: unknown format', 2)
    if value is None or value == [] or value == {} or value == "":
        return ""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "".join(f"{item}\n" for item in value)
    if isinstance(value, (dict, list)):
        return yaml.safe_dump(value, default_flow_style=False)
    return f"{value}\n"
