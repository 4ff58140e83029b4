"""What is open on this host is told by its process, and only that process is ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from installer import open_application, opened
from installer.pack import ROOT
from localjuju.engine import running

# records itself as `./mlops open` does, says so, and stays
_OPENS = """
import sys, time
from installer import opened
detached = sys.argv[2] == "1"
opened.record(sys.argv[1], "mlops", 5000, 5001, "http://127.0.0.1:5001", detached=detached)
print("open", flush=True)
time.sleep(600)
"""
Opens = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def opens(state: Path) -> Iterator[Opens]:
    """Starts a process that has an application open."""
    started: list[subprocess.Popen[str]] = []

    def start(name: str = "mlflow", *, detached: bool = True) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", _OPENS, name, str(int(detached))],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout
        assert process.stdout.readline() == "open\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_what_is_open_is_listed_by_name(opens: Opens):
    opens("object-store")
    opens("mlflow", detached=False)
    assert [(each.name, each.detached) for each in opened.listed()] == [
        ("mlflow", False),
        ("object-store", True),
    ]


def test_stop_ends_what_runs_in_the_background_and_nothing_else(opens: Opens):
    background, foreground = opens("mlflow"), opens("mlflow", detached=False)
    assert [each.pid for each in opened.stop()] == [background.pid]
    assert background.wait(5) == -15
    assert foreground.poll() is None
    assert [each.pid for each in opened.listed()] == [foreground.pid]


def test_stop_of_a_name_leaves_the_others(opens: Opens):
    opens("mlflow")
    other = opens("object-store")
    assert [each.name for each in opened.stop("mlflow")] == ["mlflow"]
    assert [each.pid for each in opened.listed()] == [other.pid]


def test_the_record_of_a_process_that_has_ended_is_removed(opens: Opens, state: Path):
    process = opens()
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # nobody has collected it yet
    assert opened.listed() == []
    assert not list((state / "open").iterdir())


def test_a_process_that_has_the_number_of_one_that_ended_is_left_alone(state: Path, opens: Opens):
    process = opens()
    file = state / "open" / f"{process.pid}.json"
    start = running.start_time(process.pid)
    assert start is not None
    file.write_text(json.dumps(json.loads(file.read_text()) | {"start": start - 1}))
    assert opened.stop() == []
    assert process.poll() is None


def test_a_record_that_cannot_be_read_counts_as_none(state: Path):
    (state / "open").mkdir()
    (state / "open/1.json").write_text("{")
    assert opened.listed() == []


def test_stop_says_what_it_stopped_or_that_there_is_nothing(
    opens: Opens, capsys: pytest.CaptureFixture[str]
):
    opens("mlflow")
    assert open_application.main(["--stop"]) == 0
    assert capsys.readouterr().out == "stopped: mlflow at http://127.0.0.1:5001\n"
    assert open_application.main(["--stop"]) == 0
    assert open_application.main(["mlflow", "--stop"]) == 0
    assert capsys.readouterr().out == (
        "nothing is open in the background\nmlflow is not open in the background\n"
    )
