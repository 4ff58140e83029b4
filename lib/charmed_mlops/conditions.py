"""Conditions in the status of a Kubernetes object.

A kind's schema may say little of its status and controllers write it bit by bit, so whatever is
no condition counts as none.

Source: https://github.com/kubernetes/community, contributors/devel/sig-architecture,
api-conventions.md, Typical status properties
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Condition(NamedTuple):
    """One condition; a field that is missing or no text is empty, `status` then Unknown."""

    type: str = ""
    status: str = "Unknown"
    reason: str = ""
    message: str = ""


def conditions(item: dict[str, Any]) -> list[Condition]:
    """All conditions of an object, in its order."""
    status = item.get("status")
    found = status.get("conditions") if isinstance(status, dict) else None
    return [
        Condition(**{key: each[key] for key in Condition._fields if _is_text(each.get(key))})
        for each in (found if isinstance(found, list) else ())
        if isinstance(each, dict)
    ]


def condition(item: dict[str, Any], kind: str) -> Condition:
    """The condition of this type, such as `Ready`; Unknown where the object has none."""
    return next((each for each in conditions(item) if each.type == kind), Condition(kind))


def last_true(item: dict[str, Any]) -> str:
    """The type of the last condition that is True; empty where none is.

    Controllers of jobs append a condition for each state that a job comes to.
    """
    true = [each.type for each in conditions(item) if each.status == "True" and each.type]
    return true[-1] if true else ""


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)
