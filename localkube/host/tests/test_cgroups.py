"""Which hierarchies of control groups a host has, by proc(5)'s mountinfo."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
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


def test_a_hierarchy_that_is_mounted_in_a_chroot_too_is_one():
    within = HYBRID.replace("/sys/fs/cgroup", "/srv/other/sys/fs/cgroup")
    assert parse(HYBRID + within) == parse(HYBRID)
    assert set(parse(within + HYBRID)) == set(parse(HYBRID))


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
    for minor, name in enumerate(("cpu", "cpuacct", "cpuset", "memory")):
        (tmp_path / name).mkdir()
        mounted += f"30 22 0:{minor} / {tmp_path / name} rw - cgroup cgroup rw,{name}\n"
    (tmp_path / "memory").rmdir()
    groups = Groups("ours", mountinfo=mounted)
    with pytest.raises(EngineError, match="no control group can be made"):
        groups.make()
    assert not any(folder.exists() for folder in groups.folders())
    with pytest.raises(EngineError, match="memory is not writable"):
        groups.check()


ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
_ENTERS = textwrap.dedent("""
    import os, sys
    from pathlib import Path
    from localkube.host import namespaces
    from localkube.host.cgroups import Groups

    def main() -> int:
        Groups(sys.argv[1]).enter()
        print(Path("/proc/self/cgroup").read_text())
        for file in Path("/sys/fs/cgroup").rglob("cgroup.procs"):
            print("members", *file.read_text().split())
        for file in Path("/sys/fs/cgroup").glob("cgroup.subtree_control"):
            print("handed on", file.read_text())
        return 0

    namespaces.enter(main, hostname="inside", parent=os.getppid())
""")


@pytest.fixture
def of_this_host(tmp_path: Path) -> Iterator[Groups]:
    """Groups of this host, of whichever version it has."""
    groups = Groups(f"localkube-test-{os.getpid()}-{tmp_path.name}")
    groups.make()
    yield groups
    groups.remove()
    assert not any(folder.exists() for folder in groups.folders())


@ROOT
def test_who_enters_sees_the_groups_as_the_root_and_hands_on_what_a_pod_is_bounded_by(
    of_this_host: Groups,
):
    done = subprocess.run(
        [sys.executable, "-c", _ENTERS, of_this_host.folders()[0].name],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    members = {word for line in lines if line.startswith("members") for word in line.split()[1:]}
    assert members == {"2"}  # of the process namespace: nobody but who entered
    own = {line.split(":")[2] for line in lines if ":" in line}
    if of_this_host.version == 1:
        assert "/" in own
        return
    assert own == {"/node"}
    (handed_on,) = [line.split()[2:] for line in lines if line.startswith("handed on")]
    assert {"cpu", "cpuset", "memory", "pids"} <= set(handed_on)


_AS_IN_A_CONTAINER = """
echo $$ >"$1/cgroup.procs"
shift
exec unshare --cgroup --mount sh -ec '
    mount -t tmpfs tmpfs /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    exec "$@"
' sh "$@"
"""


@ROOT
def test_a_container_whose_own_group_has_processes_is_told_the_cure(of_this_host: Groups):
    if of_this_host.version == 1:
        pytest.skip("no control group can be made that has the rule: it is of version 2")
    (group,) = of_this_host.folders()
    asked = "from localkube.host.cgroups import Groups; Groups('ours').make()"
    done = subprocess.run(
        ["sh", "-ec", _AS_IN_A_CONTAINER, "sh", group, sys.executable, "-c", asked],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "EngineError: no control group can be made: processes are in /sys" in done.stderr
    assert "mkdir -p /sys/fs/cgroup/init && xargs" in done.stderr
    assert not (group / "ours").exists()
