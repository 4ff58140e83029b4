"""The engine's control groups: with which bounds they are made, and that they go."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from localjuju.engine import limits
from localkube.host import machine, ownership
from localkube.host.cgroups import Groups

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Groups]:
    """The groups of a state folder of ours, on a machine with 10 GB."""
    monkeypatch.setenv("CHARMED_MLOPS_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(machine, "memory", lambda: 10_000_000_000)
    ownership.claim_state()
    found = limits.groups(tmp_path / "state")
    found.make()
    yield found
    found.remove()


def bounds(groups: Groups, name: str) -> set[str]:
    """What a file of this name says in those of the groups that have it."""
    files = [folder / name for folder in groups.folders()]
    return {file.read_text().strip() for file in files if file.exists()}


def test_all_together_may_use_four_fifths_of_the_memory(groups: Groups):
    name = "memory.limit_in_bytes" if groups.version == 1 else "memory.max"
    (bound,) = bounds(groups, name)
    # the kernel bounds whole pages
    assert int(bound) == pytest.approx(8_000_000_000, abs=os.sysconf("SC_PAGE_SIZE"))
    assert bounds(groups, "pids.max") == {"16384"}


def test_groups_of_an_engine_that_was_killed_go(groups: Groups):
    for folder in groups.folders():
        (folder / "kubepods").mkdir()
    limits.sweep()
    assert not any(folder.exists() for folder in groups.folders())


def test_groups_of_an_engine_that_runs_stay(groups: Groups):
    process = subprocess.Popen(["sleep", "60"])
    try:
        for folder in groups.folders():
            for name in ("busy", "idle"):
                (folder / name).mkdir()
            for cpuset in ("cpuset.cpus", "cpuset.mems"):  # a new group has none (version 1)
                if groups.version == 1 and (folder / cpuset).exists():
                    (folder / "busy" / cpuset).write_text((folder / cpuset).read_text())
            (folder / "busy" / "cgroup.procs").write_text(str(process.pid))
        limits.sweep()
        assert all((folder / "idle").exists() for folder in groups.folders())
    finally:
        process.kill()
        process.wait()
