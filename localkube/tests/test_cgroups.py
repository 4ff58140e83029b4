"""Which hierarchies of control groups a host has, by proc(5)'s mountinfo."""

from __future__ import annotations

from pathlib import Path

from localkube.cgroups import Hierarchy, parse

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
