"""Lists and sizes as results of actions."""

from __future__ import annotations

import ops
import pytest
from ops import testing

from charmed_mlops import ServiceCharm
from charmed_mlops.results import listing, names, size


def test_an_empty_list_is_its_count_and_nothing_else():
    assert listing("runs", []) == {"count": "0"}
    assert names("deleted", []) == {"count": "0"}


def test_an_entry_has_its_fields_as_texts():
    entry = {"name": "a.b", "done": True, "nodes": 2, "used-by": ["x", "y"], "quota": {"cpu": 8}}
    assert listing("runs", [entry]) == {
        "count": "1",
        "runs": {
            "1": {
                "name": "a.b", "done": "true", "nodes": "2", "used-by": "x, y", "quota": "cpu=8",
            }
        },
    }  # fmt: skip


def test_numbers_sort_as_texts():
    keys = list(listing("pods", ["p"] * 12)["pods"])
    assert keys == sorted(keys)
    assert keys[0] == "01"


def test_names_are_one_text():
    assert names("deleted", ["a", "b"]) == {"count": "2", "deleted": "a,b"}


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (3 << 30, "3.0 GiB"),
        (1 << 52, "4096.0 TiB"),
    ],
)
def test_a_size_has_a_unit_for_people_and_bytes_for_programs(number, text):
    assert size("used", number) == {"used": text, "used-bytes": str(number)}


def test_juju_takes_what_a_list_has_as_keys():
    class Tea(ServiceCharm):
        def __init__(self, framework: ops.Framework):
            super().__init__(framework, container=None)

        def action_list(self, _: dict):
            return listing("cups", [{"name": "Ann's/cup_1", "size-bytes": 2}] * 10)

    context = testing.Context(Tea, meta={"name": "tea"}, actions={"list": {}})
    context.run(context.on.action("list"), testing.State())  # ops refuses other keys
    assert context.action_results
    assert context.action_results["cups"]["10"] == {"name": "Ann's/cup_1", "size-bytes": "2"}
