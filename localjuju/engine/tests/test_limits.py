"""The engine's control group: where it is made, with which bounds, and that it goes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from localjuju.engine import limits
from localkube.host import machine, ownership


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of ours, on a machine with 10 GB."""
    monkeypatch.setenv("CHARMED_MLOPS_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(machine, "memory", lambda: 10_000_000_000)
    ownership.claim_state()
    return tmp_path / "state"


def group(folder: Path, controllers: str = "") -> Path:
    """The folder of a control group, as the kernel shows it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cgroup.procs").touch()
    (folder / "cgroup.subtree_control").write_text(controllers)
    return folder


def process(folder: Path, cgroup: str, mounts: str) -> Path:
    """A process's folder in /proc, with its groups and mounts."""
    folder.mkdir()
    (folder / "cgroup").write_text(cgroup)
    (folder / "mountinfo").write_text(mounts)
    return folder


def version_2(tmp_path: Path, controllers: str) -> Path:
    top = group(tmp_path / "fs", "cpu memory pids")
    group(top / "user", controllers)
    group(top / "user/session")
    mounts = f"30 1 0:26 / {top} rw - cgroup2 cgroup rw\n"
    return process(tmp_path / "proc", "0::/user/session\n", mounts)


def test_version_2_the_nearest_group_that_gives_both_controllers(state: Path, tmp_path: Path):
    proc = version_2(tmp_path, "memory pids")
    assert limits.enter(state, proc)
    made = tmp_path / f"fs/user/charmed-mlops-{ownership.identity(state)}"
    assert (made / "memory.max").read_text() == "8000000000"
    assert (made / "pids.max").read_text() == "16384"
    assert (made / "cgroup.procs").read_text() == str(os.getpid())


def test_version_2_a_group_that_gives_no_controllers_is_passed(state: Path, tmp_path: Path):
    assert list(limits.places(version_2(tmp_path, ""))) == [tmp_path / "fs"]


def test_version_1_below_the_own_group_of_each_hierarchy(state: Path, tmp_path: Path):
    for name in ("memory/outer/own", "pids"):
        group(tmp_path / name)
    proc = process(
        tmp_path / "proc",
        "4:memory:/outer/own\n8:pids:/\n0::/\n",
        f"31 1 0:27 / {tmp_path}/memory rw - cgroup cgroup rw,memory\n"
        f"32 1 0:28 / {tmp_path}/pids rw - cgroup cgroup rw,pids\n",
    )
    assert limits.enter(state, proc)
    name = f"charmed-mlops-{ownership.identity(state)}"
    made = tmp_path / "memory/outer/own" / name
    assert (made / "memory.limit_in_bytes").read_text() == "8000000000"
    assert (tmp_path / "pids" / name / "pids.max").read_text() == "16384"


def test_where_no_group_can_be_made_the_engine_runs_without(state: Path, tmp_path: Path):
    proc = process(tmp_path / "proc", "0::/\n", "")
    assert limits.places(proc) == {}
    assert not limits.enter(state, proc)
    limits.remove(state)


def test_only_groups_that_bear_the_engine_s_identity_are_removed(state: Path, tmp_path: Path):
    own = tmp_path / f"charmed-mlops-{ownership.identity(state)}"
    other = tmp_path / "charmed-mlops-other"
    for folder in (own, other):
        folder.mkdir()
    (state / "control-groups").write_text(f"{own}\n{other}\n{tmp_path}\n")
    limits.remove(state)
    assert not own.exists()
    assert other.exists()


@pytest.mark.skipif(not limits.places(), reason="no control group can be made here")
def test_the_kernel_takes_the_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CHARMED_MLOPS_STATE", str(tmp_path / "state"))
    ownership.claim_state()
    state = tmp_path / "state"
    child = os.fork()
    if child == 0:
        os._exit(0 if limits.enter(state) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    made = [Path(line) for line in (state / "control-groups").read_text().splitlines()]
    assert made
    assert all(folder.is_dir() for folder in made)
    limits.remove(state)
    assert not any(folder.exists() for folder in made)


def test_groups_of_engines_that_were_killed_go_and_others_stay(state: Path, tmp_path: Path):
    proc = version_2(tmp_path, "memory pids")
    parent = tmp_path / "fs/user"
    (parent / "charmed-mlops-killed").mkdir()  # as the kernel has it: its files do not count
    running = group(parent / "charmed-mlops-running")  # here they do, as a process does there
    (parent / "another").mkdir()
    limits.sweep(proc)
    assert not (parent / "charmed-mlops-killed").exists()
    assert running.exists()
    assert (parent / "another").exists()
