"""A machine that is not as the node needs it: one line names the cure, and nothing is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from localkube import outer
from localkube.building import debian, netfilter
from localkube.host.errors import EngineError
from localkube.host.progress import Progress, Step
from localkube.images import snapshots
from localkube.images.image import Image
from localkube.images.layers import Layer
from localkube.node.programs import NodePrograms
from localkube.tests import plain
from localkube.tests.clusters import IMAGE, Cluster, find, host, pod, wait_until

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="mounts")
LARGE = "example.org/large:1"


def refused(state: Path, *within: str) -> str:
    """What `python -m localkube` says in surroundings where it cannot work."""
    before = host()
    done = subprocess.run(
        [*within, sys.executable, "-m", "localkube", str(state)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert not state.exists()
    assert not any(folder.exists() for folder in outer.groups(state).folders())
    assert host() == before
    (line,) = done.stderr.splitlines()
    return line


def in_mounts(script: str) -> list[str]:
    """What runs a command in mounts of its own, after a script."""
    return ["unshare", "--mount", "sh", "-ec", f'{script}\nexec "$@"', "sh"]


@ROOT
@pytest.mark.usefixtures("programs")
def test_a_state_folder_whose_path_leaves_sockets_no_room(state: Path):
    long = state.parent / ("a" * 60)
    line = refused(long)
    assert line == (
        f"ERROR {long}: this path has {len(str(long))} bytes, and kubelet's sockets below it "
        "leave 74: name a folder whose path is shorter with STATE"
    )


@ROOT
@pytest.mark.usefixtures("programs")
def test_control_groups_that_are_read_only(state: Path):
    script = """
        grep -o ' /sys/fs/cgroup[^ ]*' /proc/self/mountinfo | sort -r | while read -r place; do
            mount -o remount,bind,ro "$place"
        done
    """
    line = refused(state, *in_mounts(script))
    assert line.startswith("ERROR no control group can be made (")
    assert line.endswith("is not writable): run as root, with /sys/fs/cgroup mounted writable")


@ROOT
@pytest.mark.usefixtures("programs")
def test_no_control_groups(state: Path):
    line = refused(state, *in_mounts("umount -l /sys/fs/cgroup"))
    assert line.startswith("ERROR no control groups for cpu, cpuacct, cpuset, memory: none are")
    assert "mount -t cgroup2" in line


@ROOT
@pytest.mark.parametrize(
    ("told", "line"),
    [
        (
            "--no-ids",
            "no 65536 subordinate ids for plain in /etc/subuid: run as root, or once as root: "
            "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 plain",
        ),
        (
            "--no-uidmap",
            "newuidmap and newgidmap missing: run as root, or once as root: apt-get install "
            "uidmap",
        ),
    ],
)
@pytest.mark.usefixtures("programs")
def test_a_user_who_is_not_root_and_lacks_what_the_system_has_to_give(
    state: Path, told: str, line: str
):
    assert refused(state, *plain.command(told)) == f"ERROR {line}"


@ROOT
@pytest.mark.usefixtures("programs")
def test_a_tap_device_that_is_root_s_alone():
    lines = "from localkube.host.progress import Progress\nfrom localkube.node import egress\n"
    done = subprocess.run(
        [*plain.command("--no-tun"), sys.executable, "-c", f"{lines}egress.ensure(Progress())"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "this user may not open /dev/net/tun: chmod 666 /dev/net/tun as root" in done.stderr


@ROOT
@pytest.mark.usefixtures("programs")
def test_a_user_namespace_that_has_one_id(state: Path):
    line = refused(state, "unshare", "--user", "--map-root-user")
    assert line == (
        "ERROR this user namespace has 1 of the 65536 ids that pods need: run outside of it"
    )


def test_no_debian(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    step = Step(Progress(), "containerd")
    with pytest.raises(EngineError, match="apt-get and dpkg missing: containerd comes from"):
        debian.unpack(("containerd",), tmp_path / "root", step)
    assert not any(tmp_path.iterdir())


@ROOT
def test_a_packet_filter_that_may_not_be_set():
    asked = "from localkube.building import netfilter; netfilter.require()"
    netfilter.require()
    done = subprocess.run(
        ["setpriv", "--bounding-set=-net_admin", sys.executable, "-c", asked],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "EngineError: this kernel's packet filter does not answer" in done.stderr
    assert "modprobe nf_tables" in done.stderr


@ROOT
def test_trees_of_images_are_overlays_where_the_kernel_mounts_them(tmp_path: Path):
    assert snapshots.choose(tmp_path) == "overlayfs"
    assert not any(tmp_path.iterdir())


OVERLAY = """
    mount -t tmpfs tmpfs {0}
    mkdir {0}/l {0}/u {0}/w {0}/m
    mount -t overlay -o lowerdir={0}/l,upperdir={0}/u,workdir={0}/w overlay {0}/m
"""


@ROOT
def test_trees_of_images_are_copies_on_an_overlay(tmp_path: Path):
    asked = f"""if True:
        from pathlib import Path
        from localkube.images import snapshots
        print(snapshots.choose(Path("{tmp_path}/m")))
    """
    done = subprocess.run(
        [*in_mounts(OVERLAY.format(tmp_path)), sys.executable, "-c", asked],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "native\n"
    assert "a state folder on another file system" in done.stderr


@pytest.mark.localkube
@ROOT
def test_a_cluster_runs_with_its_state_on_an_overlay(programs: NodePrograms, state: Path):
    (state.parent / "mounts").mkdir()
    within = in_mounts(OVERLAY.format(state.parent / "mounts"))
    # What a test reads of it is beside the mounts that only the cluster sees.
    bound = f'mkdir -p {state.parent}/m/containerd "{state}/containerd"\n'
    bound += f'mkdir "{state.parent}/mounts/m/containerd"\n'
    bound += f'mount --bind "{state.parent}/mounts/m/containerd" "{state}/containerd"\n'
    within[4] = within[4].replace('exec "$@"', f'{bound}exec "$@"')
    state.mkdir()
    outer.ownership.claim(state, "STATE")
    cluster = Cluster(programs, state, within=within)
    try:
        wait_until(lambda: "default" in cluster.kubectl("get", "serviceaccounts", "-oname"), 30)
        cluster.run(pod("copied"))
        assert cluster.shell("copied", "echo hello").strip() == "hello"
        assert 'snapshotter = "native"' in (cluster.state / "containerd.toml").read_text()
    finally:
        assert cluster.end(signal.SIGTERM) == 0


def find_large(reference: str) -> Image | None:
    """The images of the tests, and a large one."""
    if reference != LARGE:
        return find(reference)
    folder = Path(os.environ["LARGE_FOLDER"])
    return Image([Layer(f"large-{folder.parent.name}", folder)])


@pytest.mark.localkube
@ROOT
def test_a_disk_that_gets_full_while_an_image_is_pulled(
    programs: NodePrograms, state: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = state.parent / "large"
    folder.mkdir()
    (folder / "file").write_bytes(os.urandom(48 << 20))
    outer.ownership.claim(state, "STATE")
    (state / "containerd").mkdir()
    monkeypatch.setenv("LARGE_FOLDER", str(folder))
    small = f"mount -t tmpfs -o size=32m tmpfs {state / 'containerd'}"
    cluster = Cluster(programs, state, f"--images={__name__}:find_large", within=in_mounts(small))
    try:
        wait_until(lambda: "default" in cluster.kubectl("get", "serviceaccounts", "-oname"), 30)
        cluster.create(pod("large", container={"image": LARGE}))
        events = ("get", "events", "--field-selector=reason=Failed")
        wait_until(lambda: "no space left on device" in cluster.kubectl(*events), 90)
        said = json.loads(cluster.kubectl("get", "pod", "large", "-ojson"))["status"]
        assert "waiting" in said["containerStatuses"][0]["state"]
        cluster.run(pod("small", container={"image": IMAGE}))  # what it took was given back
    finally:
        assert cluster.end(signal.SIGTERM) == 0
