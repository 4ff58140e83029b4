"""Which processes descend from one."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from localkube.host.processes import descendants


def process(proc: Path, number: int, parent: int, name: str = "x") -> None:
    (proc / str(number)).mkdir()
    (proc / str(number) / "stat").write_text(f"{number} ({name}) S {parent} {parent} 0\n")


def test_all_that_descend_count_and_no_others(tmp_path: Path):
    process(tmp_path, 1, 0)
    process(tmp_path, 7, 1)
    process(tmp_path, 5, 7, "a name) with (brackets")
    process(tmp_path, 9, 5)
    process(tmp_path, 8, 1)
    assert sorted(descendants(7, tmp_path)) == [5, 7, 9]


def test_what_has_ended_meanwhile_is_left_out(tmp_path: Path):
    process(tmp_path, 7, 1)
    (tmp_path / "8").mkdir()
    (tmp_path / "meminfo").touch()
    assert descendants(7, tmp_path) == [7]


def test_what_another_thread_started_counts():
    with ThreadPoolExecutor(1) as pool:
        started = pool.submit(
            subprocess.Popen, [sys.executable, "-c", "input()"], stdin=subprocess.PIPE
        ).result()
        assert started.pid in descendants(os.getpid())
        started.communicate(b"\n")
