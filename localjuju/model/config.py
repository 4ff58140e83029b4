"""Charm options: from the user's text to typed values, with Juju's errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localjuju.model.charm import Charm
from localjuju.model.errors import ModelError

Value = str | int | float | bool
_TRUE = {"true", "True", "TRUE", "t", "T", "1"}
_FALSE = {"false", "False", "FALSE", "f", "F", "0"}


def parse(charm: Charm, values: Mapping[str, Any]) -> dict[str, Value]:
    """Types what the user gave, mostly as text.

    Raises:
        ModelError: `unknown option "x"`, or `option "x" expected int, got "y"`.
    """
    parsed = {}
    for name, value in values.items():
        if name not in charm.options:
            raise ModelError(f'unknown option "{name}"')
        parsed[name] = _typed(name, charm.options[name].get("type", "string"), value)
    return parsed


def trust(value: Any) -> bool:
    """Raises ModelError: it is no boolean."""
    return bool(_typed("trust", "boolean", value))


def effective(charm: Charm, values: Mapping[str, Value]) -> dict[str, Value]:
    """What `config-get` prints: set values over defaults, options with neither left out."""
    result = {}
    for name, option in sorted(charm.options.items()):
        value = values.get(name, option.get("default"))
        if value is not None:
            result[name] = float(value) if option.get("type") == "float" else value
    return result


def _typed(name: str, kind: str, value: Any) -> Value:
    shown = f'"{value}"' if isinstance(value, str) else str(value)
    wrong = ModelError(f'option "{name}" expected {kind}, got {shown}')
    if kind == "secret":
        if str(value) and not str(value).startswith("secret:"):
            raise wrong
        return str(value)
    if kind == "string":
        return value if isinstance(value, str) else str(value)
    if kind == "boolean":
        text = str(value)
        if text in _TRUE or text in _FALSE:
            return text in _TRUE
        raise wrong
    if isinstance(value, bool):
        raise wrong
    try:
        return int(value) if kind == "int" else float(value)
    except (TypeError, ValueError):
        raise wrong from None
