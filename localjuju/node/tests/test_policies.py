"""NetworkPolicies, by kube-router in a cluster of its own: who is let in, and how soon."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

_SECONDS = 10.0
_REFUSED = ("ConnectionRefusedError", "TimeoutError")


@pytest.fixture(scope="module")
def found(in_a_cluster: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """What each asker was answered, the last ones with the seconds until it was so."""
    seen = in_a_cluster("policies_inside")["policies"]
    assert isinstance(seen, dict), seen
    return seen


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("open", "web"),
        ("stranger", _REFUSED),
        ("team", "web"),
        ("closed", _REFUSED),
        ("out, not allowed", _REFUSED),
        ("open again", "web"),
    ],
)
def test_a_policy_holds_within_seconds(found: dict[str, Any], asked: str, answer: str):
    said, seconds = found[asked]
    assert said in (answer if isinstance(answer, tuple) else (answer,))
    assert seconds < _SECONDS


@pytest.mark.parametrize(
    "asked", ["stranger to the pod", "other namespace", "stranger beside the team"]
)
def test_a_policy_refuses(found: dict[str, Any], asked: str):
    assert found[asked] in _REFUSED


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("friend", "web"),
        ("friend to the pod", "web"),
        ("beside the closed", "friend"),
        ("out, allowed, by name", "web"),
    ],
)
def test_a_policy_allows(found: dict[str, Any], asked: str, answer: str):
    assert found[asked] == answer


def test_the_node_reaches_its_pods_whatever_a_policy_says(found: dict[str, Any]):
    assert found["node"] == "web"
    assert found["is ready"] is True
