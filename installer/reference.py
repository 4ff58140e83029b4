"""Writes docs/reference/charms.md from the charms' own charmcraft.yaml files.

`python -m installer.reference` after a change of one; a test compares.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from installer.pack import ROOT, merge

PAGE = Path("docs/reference/charms.md")
_HEAD = """\
# Charms

Made from each `charms/NAME/charmcraft.yaml` by `python -m installer.reference`. All charms share
what [charmcraft.yaml](../../charmcraft.yaml) says: base, platforms, Juju version, user.
"""


def page(root: Path = ROOT) -> str:
    """The text of the page."""
    names = sorted(file.parent.name for file in root.glob("charms/*/charmcraft.yaml"))
    return "\n".join([_HEAD, *(_charm(merge(root, name)) for name in names)])


def _charm(project: Mapping[str, Any]) -> str:
    lines = [f"## {project['name']}", "", f"{_line(project['summary'])}", ""]
    images = [
        (f"`{name}`", f"`{spec.get('upstream-source', '')}`")
        for name, spec in (project.get("resources") or {}).items()
    ]
    lines += _table(("resource", "image"), images)
    relations = [
        (f"`{endpoint}`", role, f"`{spec['interface']}`", "no" if spec.get("optional") else "yes")
        for role in ("provides", "requires", "peers")
        for endpoint, spec in (project.get(role) or {}).items()
    ]
    lines += _table(("endpoint", "role", "interface", "needed"), relations)
    storage = [
        (f"`{name}`", spec.get("type", ""), spec.get("minimum-size", ""))
        for name, spec in (project.get("storage") or {}).items()
    ]
    lines += _table(("storage", "type", "at least"), storage)
    options = [
        (f"`{name}`", spec["type"], _default(spec), _line(spec.get("description", "")))
        for name, spec in ((project.get("config") or {}).get("options") or {}).items()
    ]
    lines += _table(("option", "type", "default", "meaning"), options)
    actions = [
        (f"`{name}`", _parameters(spec), _line(spec.get("description", "")))
        for name, spec in (project.get("actions") or {}).items()
    ]
    lines += _table(("action", "parameters", "what it does"), actions)
    return "\n".join(lines)


def _default(spec: Mapping[str, Any]) -> str:
    value = spec.get("default")
    if value in (None, ""):
        return ""
    text = str(value).lower() if isinstance(value, bool) else _line(str(value))
    return f"`{text}`"


def _parameters(spec: Mapping[str, Any]) -> str:
    required = spec.get("required") or []
    return ", ".join(
        f"`{name}`{' (needed)' if name in required else ''}" for name in spec.get("params") or {}
    )


def _line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    body = [f"| {' | '.join(row)} |" for row in rows]
    return [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *body, ""] if body else []


if __name__ == "__main__":
    (ROOT / PAGE).write_text(page())
