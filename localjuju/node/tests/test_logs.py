"""Which logs of containers stay, and for how long."""

from __future__ import annotations

import os
from pathlib import Path

from localjuju.node import logs


def test_a_container_s_last_two_starts_are_kept(tmp_path: Path):
    for name in (
        *(f"web-{number}.log" for number in range(6)), "web-3.log.1", "web-4.log.1",
        "web-2-0.log", "db-0.log",
    ):  # fmt: skip
        (tmp_path / name).touch()
    logs.remove_old(tmp_path, "web", 5)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "db-0.log", "web-2-0.log", "web-4.log", "web-4.log.1", "web-5.log",
    ]  # fmt: skip


def test_logs_of_a_pod_that_has_gone_are_kept_for_a_day(tmp_path: Path):
    day = 24 * 3600
    for name in ("m_gone", "m_silent", "m_just-gone"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "c-0.log").touch()
        written = 1000 if name != "m_just-gone" else day
        for path in (tmp_path / name / "c-0.log", tmp_path / name):
            os.utime(path, (written, written))
    logs.remove_old_pods(tmp_path, {"m_silent"}, now=1001.0 + day)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["m_just-gone", "m_silent"]


def test_a_node_without_pods_has_no_logs_to_remove(tmp_path: Path):
    logs.remove_old_pods(tmp_path / "none", set(), now=0.0)
