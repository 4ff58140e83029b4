"""Lays an overlay over a bundle, as Juju's deploy does.

Source: applyOverlay and mergeStructs of internal/charm/overlay.go in juju/juju, at commit
337f0e1e95f05204384aac0a7bb7bf9640a63a4f.
"""

from __future__ import annotations

from typing import Any


def lay_over(below: dict[str, Any], above: dict[str, Any]) -> None:
    """Changes `below` to what the two say together.

    An application or saas without a value is taken away with its relations, if it was there. What
    has a value is added, or changed field by field. Relations are added.
    """
    for section in ("applications", "saas"):
        for name, entry in mapping(above.get(section)).items():
            entries = below.setdefault(section, {})
            if entry is None:
                entries.pop(name, None)
                below["relations"] = [
                    relation
                    for relation in below.get("relations") or []
                    if not _of(relation, name)
                ]
            elif isinstance(entry, dict) and isinstance(entries.get(name), dict):
                for key, value in entry.items():
                    entries[name][key] = _field(entries[name].get(key), value)
            else:
                entries[name] = entry
    below["relations"] = [*(below.get("relations") or []), *(above.get("relations") or [])]
    for key, value in above.items():
        if key not in ("applications", "saas", "relations"):
            below[key] = value


def mapping(value: Any) -> dict[str, Any]:
    """The value if it is a map; what else it is, verification tells."""
    return value if isinstance(value, dict) else {}


def _field(below: Any, above: Any) -> Any:
    """A map's keys are added, replaced, or taken away by null; an empty map clears."""
    if not isinstance(below, dict) or not isinstance(above, dict) or not above:
        return above
    return {key: value for key, value in {**below, **above}.items() if value is not None}


def _of(relation: Any, name: str) -> bool:
    """Whether one of a relation's ends is this application's; a malformed one is nobody's."""
    if not isinstance(relation, list) or len(relation) != 2:
        return False
    return name in [str(end).partition(":")[0] for end in relation]
