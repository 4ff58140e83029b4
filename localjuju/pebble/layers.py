"""Layers and the plan they combine to.

Rules: docs/reference/layers.md and layer-specification.md of canonical/pebble. An entry with
`override: replace` takes the place of the lower one; with `merge`, scalars replace, lists append,
maps merge by key.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import yaml

from localjuju.pebble import units
from localjuju.pebble.errors import ApiError

_SECTIONS = ("services", "checks", "log-targets")
_SERVICE_KEYS = frozenset(
    (
        "summary", "description", "startup", "override", "command", "after", "before", "requires",
        "environment", "user-id", "user", "group-id", "group", "working-dir", "on-success",
        "on-failure", "on-check-failure", "backoff-delay", "backoff-factor", "backoff-limit",
        "kill-delay",
    )
)  # fmt: skip
_CHECK_KEYS = frozenset(
    ("override", "level", "startup", "period", "timeout", "threshold", "http", "tcp", "exec")
)
_DURATIONS = frozenset(["backoff-delay", "backoff-limit", "kill-delay", "period", "timeout"])
_ACTIONS = frozenset(["restart", "shutdown", "success-shutdown", "failure-shutdown", "ignore"])


@dataclass
class Layer:
    """One layer: `order` decides what is on top."""

    order: int
    label: str
    content: dict[str, Any]


def parse(text: str, label: str) -> dict[str, Any]:
    """A layer's content, checked.

    Raises:
        ApiError: it is no layer; the text names what is wrong.
    """
    try:
        content = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ApiError(f"cannot parse layer YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ApiError(f'cannot parse layer "{label}": not a map')
    for key in content:
        if key not in ("summary", "description", *_SECTIONS):
            raise ApiError(f'cannot parse layer "{label}": unknown section "{key}"')
    for section in _SECTIONS:
        for name, entry in (content.get(section) or {}).items():
            _check_entry(label, section, name, entry)
    return content


def _check_entry(label: str, section: str, name: str, entry: Any) -> None:
    kind = section.removesuffix("s")
    if not isinstance(entry, dict):
        raise ApiError(f'{kind} object cannot be null for {kind} "{name}"')
    if entry.get("override") not in ("merge", "replace"):
        raise ApiError(
            f'layer "{label}" must define "override" for {kind} "{name}"'
            if not entry.get("override")
            else f'layer "{label}" has invalid "override" value for {kind} "{name}"'
        )
    if section == "log-targets":
        _check_target(name, entry)
    known = {"services": _SERVICE_KEYS, "checks": _CHECK_KEYS}.get(section)
    if known is not None:
        for key in entry.keys() - known:
            raise ApiError(f'cannot parse layer "{label}": {kind} "{name}": unknown key "{key}"')
    for key in entry.keys() & _DURATIONS:
        try:
            units.seconds(str(entry[key]))
        except ValueError as error:
            raise ApiError(f'plan {kind} "{name}": {key}: {error}') from None
    for key in ("on-success", "on-failure"):
        if key in entry and entry[key] not in _ACTIONS:
            raise ApiError(f'plan {kind} "{name}" {key} action "{entry[key]}" invalid')


def _check_target(name: str, entry: dict[str, Any]) -> None:
    for label in entry.get("labels") or {}:
        if label.startswith("pebble_"):
            raise ApiError(f'log target "{name}": label "{label}" uses reserved prefix "pebble_"')
    if entry.get("type") not in (None, "", "loki", "opentelemetry"):
        raise ApiError(
            f'log target "{name}" has unsupported type "{entry["type"]}", must be "loki" or '
            '"opentelemetry"'
        )


def combine(layers: list[Layer]) -> dict[str, Any]:
    """The plan: the layers' content, lowest first, laid over each other.

    Raises:
        ApiError: the plan is not complete, such as a service without a command.
    """
    plan: dict[str, Any] = {section: {} for section in _SECTIONS}
    for layer in sorted(layers, key=lambda layer: layer.order):
        _lay_over(plan, layer.content)
    for name, service in plan["services"].items():
        if not service.get("command"):
            raise ApiError(f'plan must define "command" for service "{name}"')
    for name, check in plan["checks"].items():
        if sum(kind in check for kind in ("http", "tcp", "exec")) != 1:
            raise ApiError(f'plan must specify one of "http", "tcp", or "exec" for check "{name}"')
    for name, target in plan["log-targets"].items():
        for key, kinds in (("type", ' ("loki" or "opentelemetry")'), ("location", "")):
            if not target.get(key):
                raise ApiError(f'plan must define "{key}"{kinds} for log target "{name}"')
        for word in target.get("services") or []:
            service = word.removeprefix("-")
            if service != "all" and service not in plan["services"]:
                raise ApiError(f'log target "{name}" specifies unknown service "{service}"')
    return {section: entries for section, entries in plan.items() if entries}


def shown(plan: dict[str, Any]) -> dict[str, Any]:
    """The plan as the API gives it: durations as Go prints them."""
    shown = copy.deepcopy(plan)
    for entries in shown.values():
        for entry in entries.values():
            for key in entry.keys() & _DURATIONS:
                entry[key] = units.duration(units.seconds(str(entry[key])))
    return shown


def _lay_over(below: dict[str, Any], content: dict[str, Any]) -> None:
    for section in _SECTIONS:
        for name, entry in (content.get(section) or {}).items():
            entries = below.setdefault(section, {})
            if entry.get("override") == "merge" and name in entries:
                _merge(entries[name], entry)
            else:
                entries[name] = copy.deepcopy(entry)


def merge_layer(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """One layer made of two, as `combine: true` asks for."""
    result = copy.deepcopy(old)
    _lay_over(result, new)
    for key in ("summary", "description"):
        if new.get(key):
            result[key] = new[key]
    return result


def _merge(below: dict[str, Any], above: dict[str, Any]) -> None:
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            _merge(below[key], value)
        elif isinstance(value, list) and isinstance(below.get(key), list):
            below[key] = [*below[key], *value]
        else:
            below[key] = copy.deepcopy(value)


def start_order(plan: dict[str, Any], names: list[str]) -> list[str]:
    """The services with all that they require, in the order of starting.

    Raises:
        ApiError: a name is unknown, or the order goes round in a circle.
    """
    services = plan.get("services", {})
    wanted: list[str] = []
    pending = list(names)
    while pending:
        name = pending.pop(0)
        if name not in services:
            raise ApiError(f'service "{name}" does not exist')
        if name not in wanted:
            wanted.append(name)
            pending += services[name].get("requires") or []
    before: dict[str, set[str]] = {name: set() for name in wanted}
    for name in wanted:
        service = services[name]
        before[name] |= set(service.get("after") or []) & before.keys()
        for later in set(service.get("before") or []) & before.keys():
            before[later].add(name)
    ordered: list[str] = []
    while before:
        free = sorted(name for name, earlier in before.items() if not earlier - set(ordered))
        if not free:
            raise ApiError(f"services in before/after loop: {', '.join(sorted(before))}")
        for name in free:
            ordered.append(name)
            del before[name]
    return ordered
