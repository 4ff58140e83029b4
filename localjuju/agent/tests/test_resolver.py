"""What a unit does next, chosen from what it sees: no pod, no model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from localjuju.agent.hooks import Hook
from localjuju.agent.resolver import Step, choose
from localjuju.agent.state import AgentState, RelationState
from localjuju.agent.view import RelationView, View
from localjuju.model.substrate import Pod


def _next(state: AgentState, *, life: str = "alive", **seen: Any) -> Step:
    """The step of a unit `plain/0` whose pod runs."""
    view: dict[str, Any] = {
        "unit": {"name": "plain/0", "life": life}, "application": {"modified": 0},
        "charm": SimpleNamespace(containers={"web": {}}), "state": state,
        "pod": Pod("uid", "10.1.0.9", 0, True), "leader": True, "config_hash": "a",
        "relations": [], "storage": [], "tasks": [], "secret_hooks": [], "next_secret": None,
        "retry": True, "update_at": None,
    }  # fmt: skip
    return choose(View(**view | seen))


def _state(**values: Any) -> AgentState:
    return AgentState(**{"installed": True, "pod": "uid", "leader": True, "config_hash": "a"}
                      | values)  # fmt: skip


def _relation(dying: bool = False, **members: int) -> RelationView:
    names = {name.replace("_", "/"): version for name, version in members.items()}
    return RelationView(3, "db", "other", False, dying, names, 0)


def _kind(step: Step) -> str:
    assert isinstance(step, Hook)
    return step.kind


def test_what_a_hook_queued_comes_next_whatever_else_is_due():
    due: dict[str, Any] = {
        "relations": [_relation()],
        "boots": {"web": "1"},
        "secret_hooks": [Hook("secret-changed")],
        "tasks": [{"id": 1, "name": "act"}],
    }
    queued = _state(queued=["start"], leader=None)
    assert _kind(_next(queued, **due)) == "start"
    assert _kind(_next(queued, life="dying", **due)) == "start"
    assert _kind(_next(_state(), **due)) == "relation-created"


def test_a_unit_that_goes_is_told_nothing_of_secrets():
    due: dict[str, Any] = {"secret_hooks": [Hook("secret-remove", secret="s", revision=1)]}
    assert _kind(_next(_state(started=True), **due)) == "secret-remove"
    assert _kind(_next(_state(started=True), life="dying", **due)) == "stop"


def test_changed_follows_joined_though_that_unit_has_gone_since():
    progress = RelationState(created=True, joined={"other/0": 0, "other/1": 4}, changed="other/0")
    state = _state(started=True, relations={"3": progress})
    for relation in (_relation(other_1=4), _relation(dying=True, other_1=4)):
        step = _next(state, relations=[relation])
        assert isinstance(step, Hook)
        assert (step.kind, step.remote_unit, step.version) == ("relation-changed", "other/0", 0)
    progress.changed = ""
    step = _next(state, relations=[_relation(other_1=4)])
    assert isinstance(step, Hook)
    assert (step.kind, step.remote_unit) == ("relation-departed", "other/0")
