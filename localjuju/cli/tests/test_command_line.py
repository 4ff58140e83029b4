"""The command line itself: what is unknown, what is not supported, what is printed."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from localjuju.cli.__main__ import main
from localjuju.cli.output import table
from localjuju.cli.registry import ALIASES, MODULES, NOT_SUPPORTED, every, find
from localjuju.cli.secrets import _owner
from localjuju.cli.status import _QUERIES, _fields, _tabular, _term


@pytest.fixture(autouse=True)
def no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state folder in which no engine runs."""
    monkeypatch.setenv("CHARMED_MLOPS_STATE", str(tmp_path))


def run(*argv: str) -> int:
    return main(list(argv))


def test_a_typo_is_told_with_what_was_meant(capsys: pytest.CaptureFixture[str]):
    assert run("statsu") == 2
    assert capsys.readouterr().err.startswith('ERROR juju: "statsu" is not a juju command. Did')


@pytest.mark.parametrize("name", ["debug-hooks", "bootstrap", "add-user"])
def test_what_juju_has_and_we_have_not_exits_with_2(name: str, capsys: pytest.CaptureFixture[str]):
    assert run(name, "anything") == 2
    assert capsys.readouterr().err == f'ERROR "juju {name}" is not supported by localjuju\n'


@pytest.mark.parametrize(
    "argv", [["status"], ["models"], ["config", "x"], ["deploy", "./x.charm"]]
)
def test_without_an_engine_one_line_says_so(
    argv: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("x.charm").touch()
    assert run("-h") == 0
    capsys.readouterr()
    assert run(*argv) == 1
    assert capsys.readouterr().err == "ERROR no engine runs here: ./mlops up starts one\n"


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["deploy", "postgresql"], "Charmhub's: not supported by localjuju"),
        (["deploy", "./nothing.charm"], 'no charm or bundle found at "./nothing.charm"'),
        (["run", "action"], "no unit specified"),
        (["run", "a/0"], "no action specified"),
        (["resolved"], "name units, or give --all"),
        (["trust", "a"], "Set the scope to 'cluster'"),
        (["remove-unit", "a/0"], "only support removing a number of units"),
        (["scale-application", "a", "-1"], "expected"),
        (["integrate", "a"], "required"),
    ],
)
def test_a_wrong_command_line_is_one_line(
    argv: list[str], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run(*argv) in (1, 2)
    said = capsys.readouterr().err
    assert said.startswith("ERROR ")
    assert said.count("\n") == 1
    assert text in said or text == "expected"


def test_every_command_has_help_and_no_name_is_both(capsys: pytest.CaptureFixture[str]):
    names = {name for names in MODULES.values() for name in names}
    assert {command.name for command in every()} == names
    assert not names & NOT_SUPPORTED
    assert set(ALIASES.values()) <= names
    for name in names:
        with pytest.raises(SystemExit) as left:
            run(name, "--help")
        assert left.value.code == 0
    capsys.readouterr()


def test_columns_are_two_spaces_apart_and_lines_end_without_spaces():
    assert table([("A", "Bb"), ("ccc", "")]) == "A    Bb\nccc"
    assert table([("N", "X"), ("10", "y")], right=(0,)) == " N  X\n10  y"


STATUS = {
    "model": {
        "name": "m", "type": "caas", "controller": "localjuju", "cloud": "local",
        "region": "localhost", "version": "3.6.27", "model-status": {"current": "available"},
    },
    "controller": {"timestamp": "01:02:03Z"},
    "applications": {
        "web": {
            "charm-name": "web", "charm-rev": 0, "address": "10.152.183.7", "scale": 2,
            "application-status": {"current": "waiting", "message": "waiting for a database"},
            "units": {
                "web/10": {
                    "workload-status": {"current": "active"},
                    "juju-status": {"current": "idle"}, "leader": True, "address": "10.1.0.2",
                    "open-ports": ["80/tcp"],
                },
                "web/9": {
                    "workload-status": {"current": "waiting", "message": "waiting for a database"},
                    "juju-status": {"current": "allocating"},
                },
            },
        }
    },
}  # fmt: skip


def test_the_status_table_is_juju_s():
    assert _tabular(STATUS, relations=False, storage=False).splitlines() == [
        "Model  Controller  Cloud/Region     Version  SLA          Timestamp",
        "m      localjuju   local/localhost  3.6.27   unsupported  01:02:03Z",
        "",
        "App  Version  Status   Scale  Charm  Channel  Rev  Address       Exposed  Message",
        "web           waiting    1/2  web               0  10.152.183.7  no       "
        "waiting for a database",
        "",
        "Unit     Workload  Agent       Address   Ports   Message",
        "web/9    waiting   allocating                    waiting for a database",
        "web/10*  active    idle        10.1.0.2  80/tcp",
    ]


@pytest.mark.parametrize("name", ["run", "config", "status"])
def test_help_says_what_each_option_does(name: str):
    parser = argparse.ArgumentParser()
    found = find(name)
    assert found
    found.arguments(parser)
    bare = [
        action.option_strings[0]
        for action in parser._actions
        if action.option_strings and not action.help
    ]
    assert set(bare) <= {"--relations", "--storage", "--watch"}  # Juju's own words say enough


def test_debug_log_with_a_limit_shows_the_newest_lines(capsys: pytest.CaptureFixture[str]):
    lines = [
        {"entity": "unit-a-0", "timestamp": "2026-01-02T03:04:05Z", "level": "INFO",
         "module": "m", "message": str(number)}
        for number in range(30)
    ]  # fmt: skip
    client = SimpleNamespace(log=lambda *_, **__: iter(lines))
    context: Any = SimpleNamespace(client=client, model="m")
    command = find("debug-log")
    assert command is not None

    def shown(*argv: str) -> list[str]:
        parser = argparse.ArgumentParser()
        command.arguments(parser)
        command.run(parser.parse_args(argv), context)
        return [line.rpartition(" ")[2] for line in capsys.readouterr().out.splitlines()]

    assert shown("--limit", "2") == ["28", "29"]
    assert shown("--limit", "12") == [str(number) for number in range(18, 30)]
    assert shown("--replay", "--limit", "2") == ["0", "1"]
    assert len(shown()) == 10


def test_what_can_be_waited_for_is_named_as_on_juju():
    unit = {
        "workload-status": {"current": "active", "message": "up"},
        "juju-status": {"current": "idle"},
    }
    application = {"application-status": {"current": "blocked"}, "units": {"a/0": unit}}
    model = {"model-status": {"current": "available"}}
    found = {"model": model, "applications": {"a": application}}
    fields = _fields(found, "unit", "a/0")
    assert (fields["workload-status"], fields["agent-status"]) == ("active", "idle")
    assert (fields["workload-message"], fields["application"]) == ("up", "a")
    assert _fields(found, "application", "a")["status"] == "blocked"
    for kind, name, done in (("unit", "a/0", True), ("application", "a", False),
                             ("model", "m", True)):  # fmt: skip
        values = _fields(found, kind, name)
        terms = [_term(text.strip()) for text in _QUERIES[kind].split("&&")]
        assert done == all((values.get(key) == value) == equal for key, equal, value in terms)


def test_show_unit_shows_what_its_options_ask_for(capsys: pytest.CaptureFixture[str]):
    other = {"b/0": {"data": {"x": "1"}}, "b/1": {"data": {"x": "2"}}}
    relations = [
        {
            "endpoint": "db",
            "application-data": {"k": "v"},
            "local-unit": {},
            "related-units": other,
        },
        {"endpoint": "web", "application-data": {}},
    ]  # fmt: skip
    context: Any = SimpleNamespace(call=lambda *_, **__: {"a/0": {"relation-info": relations}})
    command = find("show-unit")
    assert command is not None

    def shown(*argv: str) -> list[dict[str, Any]]:
        parser = argparse.ArgumentParser()
        command.arguments(parser)
        command.run(parser.parse_args(["a/0", "--format=json", *argv]), context)
        return json.loads(capsys.readouterr().out)["a/0"]["relation-info"]

    assert shown() == relations
    assert shown("--endpoint", "web") == relations[1:]
    assert shown("--app", "--endpoint", "db") == [
        {"endpoint": "db", "application-data": {"k": "v"}}
    ]
    one = shown("--related-unit", "b/1", "--endpoint", "db")[0]
    assert (one["related-units"], "local-unit" in one) == ({"b/1": other["b/1"]}, False)


def test_the_owner_of_secrets_may_be_a_tag():
    for text in ("a-b", "application-a-b"):
        assert _owner(text) == "a-b"
    for text in ("a-b/3", "unit-a-b-3"):
        assert _owner(text) == "a-b/3"
