"""The model's applications as lines for a person: name, state, where it is open, or why not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from installer import target
from installer.pack import ROOT, merge

_OPENED = ("gateway", "object-store")  # besides the web apps, which ask for a gateway


def applications(chosen: target.Target) -> dict[str, Any]:
    """That part of the model's status."""
    return (chosen.json("status") or {}).get("applications") or {}


def table(
    found: Mapping[str, Any], opened: Mapping[str, str] | None = None, *, commands: bool = False
) -> list[str]:
    """A line for each application.

    Args:
        found: what `applications` returns.
        opened: addresses on this host, by application.
        commands: below each line the commands that a person needs; each is a line of its own, so
            that it can be copied from a narrow terminal too.
    """
    rows = []
    for name, application in sorted(found.items()):
        status = application.get("application-status") or {}
        state = status.get("current", "unknown")
        reason = "" if state == "active" else status.get("message", "")
        rows.append((name, state, (opened or {}).get(name, reason), application))
    names = max((len(name) for name, *_ in rows), default=0)
    states = max((len(state) for _, state, *_ in rows), default=0)
    lines = []
    for name, state, more, application in rows:
        lines.append(f"{name:<{names}}  {state:<{states}}  {more}".rstrip())
        if commands:
            lines += [f"  {each}" for each in _commands(name, application)]
    return lines


def _commands(name: str, application: Mapping[str, Any]) -> list[str]:
    charm = application.get("charm-name") or name
    if not (ROOT / "charms" / charm / "charmcraft.yaml").exists():
        return []
    meta = merge(ROOT, charm)
    is_opened = charm in _OPENED or "gateway" in (meta.get("requires") or {})
    actions = [
        action
        for action in ("get-credentials", "get-admin-password")
        if action in (meta.get("actions") or {})
    ]
    return [
        *([f"./mlops open {name}"] if is_opened else []),
        *(f"./mlops juju run {name}/leader {action}" for action in actions),
    ]
