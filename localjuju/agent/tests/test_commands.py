"""Hook commands by themselves: what they read and print."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from localjuju.agent.commands import execute
from localjuju.agent.commands.arguments import pairs
from localjuju.agent.hooks import Hook


def _printed(context: Any, *argv: str) -> str:
    answer = execute(context, argv, None)
    assert (answer.stderr, answer.code) == ("", 0)
    return answer.stdout


def test_values_of_a_file_are_the_texts_that_are_written_there():
    yaml = "a: 010\nb: yes\nc: 1e3\nd: 1.50\ne: ~\nf:\ng: null\nh: 'null'\ni: 2026-01-02\n"
    assert pairs(yaml) == {
        "a": "010", "b": "yes", "c": "1e3", "d": "1.50", "e": "", "f": "", "g": "", "h": "null",
        "i": "2026-01-02",
    }  # fmt: skip
    assert pairs('{"a": "true", "b": null, "c": "", "d": "th\\u00e9", "e": 5, "f": true}') == {
        "a": "true", "b": "", "c": "", "d": "th\u00e9", "e": "5", "f": "true",
    }  # fmt: skip
    assert pairs("") == {}


@pytest.mark.parametrize("kind", ["relation-created", "relation-broken", "relation-changed"])
def test_relation_get_means_the_other_application_where_no_unit_caused_the_hook(kind: str):
    relation = {"id": 3, "provider": "other", "requirer": "plain", "peer": 0}
    context = SimpleNamespace(
        hook=Hook(kind, relation=3, endpoint="db", remote_app="other"), application="plain",
        relation=lambda _: relation, application_data=lambda _, name: {"from": name},
    )  # fmt: skip
    assert _printed(context, "relation-get", "--format=json") == '{"from":"other"}\n'
    assert _printed(context, "relation-get", "from") == "other\n"


def test_status_get_is_a_map_where_it_is_not_for_reading():
    row = {"status": "active", "message": "here", "status_data": {}}
    context = SimpleNamespace(row=row)
    assert _printed(context, "status-get") == "active\n"
    assert _printed(context, "status-get", "--format=json") == '{"status":"active"}\n'
    full = '{"status":"active","message":"here","status-data":{}}\n'
    assert _printed(context, "status-get", "--format=json", "--include-data") == full


def test_config_get_shows_options_without_a_value_where_all_are_asked_for():
    options = {"port": {"type": "int", "default": 1}, "name": {"type": "string"}}
    context = SimpleNamespace(charm=SimpleNamespace(options=options),
                              application_row={"config": {}})  # fmt: skip
    assert _printed(context, "config-get", "--format=json") == '{"port":1}\n'
    for flag in ("--all", "-a"):
        both = _printed(context, "config-get", "--format=json", flag)
        assert both == '{"name":null,"port":1}\n'
    refused = execute(context, ["config-get", "--all", "port"], None)  # type: ignore[arg-type]
    assert refused.code == 2
    assert refused.stderr == 'ERROR cannot use argument --all together with key "port"\n'
