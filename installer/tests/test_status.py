"""What `./mlops status` shows."""

from __future__ import annotations

import os

import pytest

from installer import opened, overview, status


def application(current: str, message: str = "", **more: str) -> dict:
    return {"application-status": {"current": current, "message": message}, **more}


def test_the_engine_is_told_by_how_long_it_runs_and_its_memory():
    engine = {"kind": "local", "running-seconds": 16 * 60 + 5, "memory-bytes": 3 << 29}
    assert status.engine_line(engine) == "engine: running for 16 min, 1.5 GiB of memory"


@pytest.mark.parametrize(
    ("seconds", "memory", "text"),
    [
        (59, 100 << 20, "59 s, 100 MiB"),
        (3 * 3600, 1 << 30, "3 h, 1.0 GiB"),
        (72 * 3600, 1 << 30, "3 days, 1.0 GiB"),
    ],
)
def test_times_and_sizes_have_the_unit_that_suits_them(seconds, memory, text):
    engine = {"kind": "local", "running-seconds": seconds, "memory-bytes": memory}
    assert status.engine_line(engine) == f"engine: running for {text} of memory"


def test_an_application_has_its_state_and_where_it_is_open_or_what_it_waits_for():
    found = {
        "mlflow": application("active"),
        "db": application("waiting", "waiting for storage"),
        "store": application("active", "ready"),
    }
    assert overview.table(found, {"mlflow": "http://127.0.0.1:5000"}) == [
        "db      waiting  waiting for storage",
        "mlflow  active   http://127.0.0.1:5000",
        "store   active",
    ]


def test_what_is_open_goes_with_its_application_and_the_rest_follows():
    def entry(name: str, namespace: str, port: int) -> opened.Opened:
        return opened.Opened(1, 1, name, namespace, 80, port, f"127.0.0.1:{port}", True)

    found = [entry("mlflow", "mlops", 1), entry("mlflow", "mlops", 2), entry("wine", "team", 3)]
    assert status.open_lines(found, "mlops", ["mlflow", "db"]) == (
        {"mlflow": "127.0.0.1:1, 127.0.0.1:2"},
        ["open: wine in team at 127.0.0.1:3"],
    )


def test_the_commands_that_a_person_needs_are_lines_of_their_own():
    lines = overview.table(
        {"db": application("active", **{"charm-name": "mariadb"})}, commands=True
    )
    assert lines == ["db  active", "  ./mlops juju run db/leader get-credentials"]


def test_pods_are_a_table_with_a_head():
    pod = {"namespace": "mlops", "name": "mlflow-0", "phase": "Running", "restarts": 1}
    assert status.pod_lines([pod]) == [
        "POD             PHASE    RESTARTS",
        "mlops/mlflow-0  Running  1",
    ]


def test_a_process_has_run_since_it_began():
    assert 0 < status.process_age(1) < 10 * 365 * 86400
    assert status.process_age(os.getpid()) <= status.process_age(1)
