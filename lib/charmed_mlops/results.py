"""Results of actions: nested keys with a text at each leaf, as Juju has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def listing(key: str, entries: Sequence[Mapping[str, Any] | str]) -> dict[str, Any]:
    """A list as an action's results: `count`, and the entries by number unless there is none.

    The numbers have leading zeros, as Juju sorts keys as texts. Names are no keys: Juju takes
    only lower-case letters, digits and hyphens, and a dot as one level more.

    Args:
        key: what the entries are, such as `runs`.
        entries: each a text, or its fields by name; a field's value that is a list becomes
            `A, B`, a mapping `KEY=VALUE, KEY=VALUE`.
    """
    results: dict[str, Any] = {"count": str(len(entries))}
    if entries:
        width = len(str(len(entries)))
        results[key] = {
            f"{number:0{width}}": each
            if isinstance(each, str)
            else {name: as_text(value) for name, value in each.items()}
            for number, each in enumerate(entries, 1)
        }
    return results


def names(key: str, found: Sequence[str]) -> dict[str, str]:
    """Names that need no fields: `count`, and all in one text unless there is none."""
    return {"count": str(len(found)), **({key: ",".join(found)} if found else {})}


def size(key: str, number: int) -> dict[str, str]:
    """A size for people, and in bytes for programs under `KEY-bytes`."""
    value, unit = float(number), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    text = f"{value:.1f}" if unit else str(number)
    return {key: f"{text} {_UNITS[unit]}", f"{key}-bytes": str(number)}


def as_text(value: Any) -> str:
    """A value as one text: `A, B` for a list, `KEY=VALUE, KEY=VALUE` for a mapping."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={as_text(each)}" for name, each in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(as_text(each) for each in value)
    return "" if value is None else str(value)
