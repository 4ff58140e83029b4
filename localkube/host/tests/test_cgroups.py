"""Which hierarchies of control groups a host has, by proc(5)'s mountinfo."""

from __future__ import annotations

from pathlib import Path

import pytest

from localkube.host.cgroups import Groups, Hierarchy, parse
from localkube.host.errors import EngineError

HYBRID = """\
22 1 0:21 / /sys rw,relatime - sysfs sysfs rw
30 22 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw,nsdelegate
32 30 0:28 / /sys/fs/cgroup/systemd rw,nosuid shared:11 - cgroup cgroup rw,xattr,name=systemd
33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct
34 30 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset,clone_children
"""


def test_each_hierarchy_is_told_with_what_mounts_it_again():
    root = Path("/sys/fs/cgroup")
    assert parse(HYBRID) == [
        Hierarchy(root / "unified", "cgroup2", ""),
        Hierarchy(root / "systemd", "cgroup", "none,name=systemd"),
        Hierarchy(root / "cpu,cpuacct", "cgroup", "cpu,cpuacct"),
        Hierarchy(root / "cpuset", "cgroup", "cpuset"),
    ]


def test_a_host_without_control_groups_has_none():
    assert parse("22 1 0:21 / /sys rw,relatime - sysfs sysfs rw\n") == []


def unified(folder: Path, controllers: str) -> str:
    """A host with version 2 alone, mounted at a folder that stands in for the kernel's."""
    (folder / "cgroup.controllers").write_text(f"{controllers}\n")
    (folder / "cgroup.subtree_control").write_text("memory pids\n")
    return f"30 22 0:26 / {folder} rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"


def test_version_2_is_taken_where_version_1_has_no_controllers(tmp_path: Path):
    said = unified(tmp_path, "cpuset cpu io memory hugetlb pids rdma")
    groups = Groups("ours", mountinfo=said)
    assert (groups.version, groups.folders()) == (2, [tmp_path / "ours"])


def test_the_host_hands_on_what_the_node_needs_and_no_more(tmp_path: Path):
    Groups("ours", mountinfo=unified(tmp_path, "cpuset cpu io memory hugetlb pids rdma")).make()
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+cpu +cpuset"
    assert (tmp_path / "ours").is_dir()


def test_a_controller_that_is_off_is_named(tmp_path: Path):
    with pytest.raises(EngineError, match="no control groups for memory: the kernel has them off"):
        Groups("ours", mountinfo=unified(tmp_path, "cpuset cpu io pids"))


def test_with_both_versions_the_one_with_the_controllers_is_taken():
    with pytest.raises(EngineError, match="no control groups for memory"):
        Groups("ours", mountinfo=HYBRID)


def test_a_mix_of_versions_that_has_not_all_names_the_cure():
    with pytest.raises(EngineError, match=r"boot with systemd\.unified_cgroup_hierarchy=1"):
        Groups("ours", mountinfo=HYBRID)


def test_of_groups_that_cannot_all_be_made_none_stays(tmp_path: Path):
    mounted = ""
    for name in ("cpu", "cpuacct", "cpuset", "memory"):
        (tmp_path / name).mkdir()
        mounted += f"30 22 0:26 / {tmp_path / name} rw - cgroup cgroup rw,{name}\n"
    (tmp_path / "memory").rmdir()
    groups = Groups("ours", mountinfo=mounted)
    with pytest.raises(EngineError, match="no control group can be made"):
        groups.make()
    assert not any(folder.exists() for folder in groups.folders())
    with pytest.raises(EngineError, match="memory is not writable"):
        groups.check()
