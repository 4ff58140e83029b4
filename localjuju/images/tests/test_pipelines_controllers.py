"""Stand-ins of the pipelines' scheduler, viewer controller and web server."""

from __future__ import annotations

import datetime
import sys
import zoneinfo
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"
UTC = datetime.timezone.utc
ZONE = zoneinfo.ZoneInfo("UTC")


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Imports a script by its name; what it shares with others is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.setitem(sys.modules, "croniter", ModuleType("croniter"))
    vars(sys.modules["croniter"])["croniter"] = None  # its image has it; no test here needs it
    before = set(sys.modules)

    def found(name: str) -> ModuleType:
        return __import__(name)

    yield found
    for name in set(sys.modules) - before:
        del sys.modules[name]


def schedule(trigger: dict[str, Any], last: str = "", **spec: Any) -> dict[str, Any]:
    status = {"trigger": {"lastTriggeredTime": last}} if last else {}
    return {
        "metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"enabled": True, "trigger": trigger, **spec},
        "status": status,
    }


def at(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(f"2026-01-01T{text}+00:00")


EACH_MINUTE = {"periodicSchedule": {"intervalSecond": "60"}}


def test_a_schedule_is_due_when_its_interval_has_passed_since_the_last_run(load):
    module = load("kfp_schedwf")
    assert module.due(schedule(EACH_MINUTE), at("00:00:59"), ZONE)[0] is None
    assert module.due(schedule(EACH_MINUTE), at("00:01:00"), ZONE) == (
        at("00:01:00"),
        at("00:02:00"),
    )
    last = schedule(EACH_MINUTE, last="2026-01-01T00:05:00Z")
    assert module.due(last, at("00:05:30"), ZONE) == (None, at("00:06:00"))


def test_missed_runs_are_caught_up_one_by_one_unless_the_schedule_says_not(load):
    module = load("kfp_schedwf")
    assert module.due(schedule(EACH_MINUTE), at("00:10:30"), ZONE)[0] == at("00:01:00")
    skipped = schedule(EACH_MINUTE, noCatchup=True)
    assert module.due(skipped, at("00:10:30"), ZONE) == (at("00:10:00"), at("00:11:00"))


def test_a_schedule_that_is_off_or_over_starts_nothing(load):
    module = load("kfp_schedwf")
    assert module.due(schedule(EACH_MINUTE, enabled=False), at("01:00:00"), ZONE)[0] is None
    period = {"intervalSecond": "60", "endTime": "2026-01-01T00:00:30Z"}
    ended = schedule({"periodicSchedule": period})
    assert module.due(ended, at("01:00:00"), ZONE) == (None, None)


def test_a_viewer_becomes_a_tensorboard_that_goes_with_it(load):
    viewer = {
        "metadata": {"name": "v", "namespace": "team", "uid": "1"},
        "spec": {
            "type": "tensorboard",
            "tensorboardSpec": {"logDir": "minio://b/x", "tensorflowImage": "tf:2"},
            "podTemplateSpec": {"spec": {"serviceAccountName": "default-editor"}},
        },
    }
    deployment, service = load("kfp_viewer").parts(viewer)
    pod = deployment["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == "default-editor"
    (container,) = pod["containers"]
    assert "--logdir=minio://b/x" in container["args"]
    assert service["spec"]["ports"][0]["targetPort"] == 6006
    assert {each["metadata"]["ownerReferences"][0]["uid"] for each in (deployment, service)} == {
        "1"
    }


def test_the_oldest_viewers_of_a_namespace_go_first(load):
    made = [("ann", 3), ("ann", 1), ("bob", 1), ("ann", 2), ("bob", 2)]
    viewers = [
        {"metadata": {"namespace": namespace, "creationTimestamp": f"2026-01-0{day}"}}
        for namespace, day in made
    ]
    assert load("kfp_viewer").surplus(viewers, 2) == [viewers[1]]


@pytest.mark.parametrize(
    ("script", "flag"), [("kfp_schedwf", "--workers=2"), ("kfp_viewer", "-workers=2")]
)
def test_a_flag_that_upstream_does_not_know_is_refused(
    load, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], script, flag
):
    monkeypatch.setattr("sys.argv", [script, flag])
    with pytest.raises(SystemExit, match="2"):
        load(script).main()
    assert f"flag provided but not defined: {flag}" in capsys.readouterr().err


def test_the_web_server_names_the_variable_that_is_missing(load, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.argv", ["node", "dist/server.js", "../client/", "3000"])
    monkeypatch.delenv("ML_PIPELINE_SERVICE_HOST", raising=False)
    with pytest.raises(SystemExit, match="ML_PIPELINE_SERVICE_HOST is not set"):
        load("kfp_frontend").main()


def test_the_web_server_is_no_other_program_of_node(load, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.argv", ["node", "other.js"])
    with pytest.raises(SystemExit, match=r"usage: node dist/server\.js"):
        load("kfp_frontend").main()
