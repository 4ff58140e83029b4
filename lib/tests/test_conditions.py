"""Conditions are read from any status, whatever it is."""

from __future__ import annotations

from typing import Any

import pytest

from charmed_mlops.conditions import Condition, condition, conditions, last_true

UNKNOWN = Condition("Ready", "Unknown", "", "")


def with_conditions(*found: Any) -> dict[str, Any]:
    return {"metadata": {"name": "a"}, "status": {"conditions": list(found)}}


@pytest.mark.parametrize(
    "item",
    [
        {},
        {"status": None},
        {"status": {}},
        {"status": "Ready"},
        {"status": ["Ready"]},
        {"status": {"conditions": None}},
        {"status": {"conditions": []}},
        {"status": {"conditions": "Ready"}},
        {"status": {"conditions": 1}},
        {"status": {"conditions": {"type": "Ready", "status": "True"}}},
        {"status": {"conditions": [None, "Ready", 1, ["type", "Ready"]]}},
    ],
)
def test_what_has_no_condition_is_unknown(item: dict[str, Any]):
    assert conditions(item) == []
    assert condition(item, "Ready") == UNKNOWN
    assert last_true(item) == ""


def test_a_condition_has_its_status_reason_and_message():
    item = with_conditions(
        {"type": "Ready", "status": "False", "reason": "NoPods", "message": "no pod\nis there"}
    )
    assert condition(item, "Ready") == Condition("Ready", "False", "NoPods", "no pod\nis there")


def test_a_condition_is_found_among_others_and_among_what_is_none():
    item = with_conditions(
        {"type": "Routed", "status": "True"},
        None,
        {"status": "True"},
        {"type": "Ready", "status": "False"},
    )
    assert condition(item, "Ready").status == "False"
    assert condition(item, "Routed").status == "True"
    assert condition(item, "Gone") == Condition("Gone", "Unknown")
    assert [each.type for each in conditions(item)] == ["Routed", "", "Ready"]


def test_the_first_of_two_conditions_of_one_type_counts():
    item = with_conditions(
        {"type": "Ready", "status": "True"}, {"type": "Ready", "status": "False"}
    )
    assert condition(item, "Ready").status == "True"


@pytest.mark.parametrize("wrong", [None, True, 1, ["True"], {"True": 1}])
def test_a_field_that_is_no_text_counts_as_missing(wrong: Any):
    fields = dict.fromkeys(("status", "reason", "message"), wrong)
    assert condition(with_conditions({"type": "Ready", **fields}), "Ready") == UNKNOWN
    assert conditions(with_conditions({"type": wrong, "status": "True"})) == [
        Condition("", "True")
    ]


def test_the_last_true_condition_is_the_state_of_a_job():
    created, running = {"type": "Created", "status": "True"}, {"type": "Running"}
    assert last_true(with_conditions(created, {**running, "status": "True"})) == "Running"
    assert last_true(with_conditions(created, {**running, "status": "False"})) == "Created"
    assert last_true(with_conditions(created, running)) == "Created"
    assert last_true(with_conditions(running)) == ""


def test_a_true_condition_without_a_type_is_no_state():
    created = {"type": "Created", "status": "True"}
    assert last_true(with_conditions(created, {"status": "True"})) == "Created"
