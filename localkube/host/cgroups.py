"""The node's control groups: all below one group of ours in each hierarchy of the host.

A control group namespace makes that group the root of what the node sees (cgroup_namespaces(7)).
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from localkube.host import mapped, system
from localkube.host.errors import EngineError

_ROOT = Path("/sys/fs/cgroup")
_CPUSET = ("cpuset.cpus", "cpuset.mems")
_NEEDED = frozenset({"cpu", "cpuacct", "cpuset", "memory"})
_NEEDED_2 = frozenset({"cpu", "cpuset", "memory", "pids"})
MEMORY_FILES = {1: "memory.limit_in_bytes", 2: "memory.max"}
"""What bounds a group's memory, by the version."""

_LEAF = "node"  # the group of the node's own programs (version 2)
_OF_THE_MOUNT = ("rw", "ro", "xattr", "seclabel", "clone_children", "noprefix")
_EMPTY_SECONDS = 10.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Hierarchy:
    """One mounted hierarchy."""

    folder: Path
    kind: str
    """`cgroup`, which is version 1, or `cgroup2`."""

    options: str
    """What mounts the same one again, such as `cpu,cpuacct` or `none,name=systemd`."""


def parse(mountinfo: str) -> list[Hierarchy]:
    """The hierarchies among the mounts that proc(5) describes as `mountinfo`.

    One that is mounted in several places, as into a chroot, is given once, in the host's own place
    where it is there.
    """
    found: dict[str, Hierarchy] = {}
    for line in mountinfo.splitlines():
        mounted, _, described = line.partition(" - ")
        kind, _, options = described.split()[:3]
        if kind not in ("cgroup", "cgroup2"):
            continue
        parts = [
            part
            for part in options.split(",")
            if part not in _OF_THE_MOUNT and not part.startswith("release_agent=")
        ]
        if kind == "cgroup2":
            parts = []
        elif parts and parts[0].startswith("name="):
            parts = ["none", *parts]
        device, _, place = mounted.split()[2:5]
        one = Hierarchy(Path(place), kind, ",".join(parts))
        if device not in found or (
            one.folder.is_relative_to(_ROOT) and not found[device].folder.is_relative_to(_ROOT)
        ):
            found[device] = one
    return list(found.values())


@dataclass(frozen=True)
class Bounds:
    """What the groups may use together; None is no bound."""

    memory: int | None = None
    """Bytes."""

    processes: int | None = None


class Groups:
    """One group of the same name in each hierarchy; made and removed by the outer process.

    Version 2 has one hierarchy. There a group that hands controllers on has no processes of its
    own (cgroups(7), "no internal processes"): ours are in a leaf, beside kubelet's.
    """

    def __init__(self, name: str, bounds: Bounds | None = None, mountinfo: str | None = None):
        """Reads which hierarchies there are.

        Args:
            name: of the groups.
            bounds: what they may use.
            mountinfo: this process's, as proc(5) describes it; read where it is None.

        Raises:
            EngineError: those that the node needs are not there.
        """
        self._name = name
        self._bounds = bounds or Bounds()
        if mountinfo is None:
            mountinfo = Path("/proc/self/mountinfo").read_text()
        self._hierarchies = parse(mountinfo)
        have = {part for one in self._hierarchies for part in one.options.split(",")}
        unified = [one for one in self._hierarchies if one.kind == "cgroup2"]
        self.version = 1
        if not have & _NEEDED and unified:
            self.version = 2
            self._hierarchies = unified[:1]
            have = _controllers(unified[0].folder / "cgroup.controllers")
        needed = _NEEDED if self.version == 1 else _NEEDED_2
        if not have >= needed:
            raise EngineError(
                f"no control groups for {', '.join(sorted(needed - have))}: {self._cure(unified)}"
            )

    def _cure(self, unified: Sequence[Hierarchy]) -> str:
        if self.version == 2:
            return (
                "the kernel has them off: boot with cgroup_enable=memory, or the like; or, in a "
                "container, the groups around it do not hand them on"
            )
        if unified:
            return (
                "both versions are mounted and share the controllers: boot with "
                "systemd.unified_cgroup_hierarchy=1, which gives all to version 2"
            )
        return f"none are mounted: mount -t cgroup2 cgroup2 {_ROOT}"

    def check(self) -> None:
        """Whether the groups could be made; makes nothing.

        Raises:
            EngineError: this process may not write there.
        """
        for folder in self.folders():
            if not os.access(folder.parent, os.W_OK):
                raise _refused(f"{folder.parent} is not writable")

    def folders(self) -> list[Path]:
        """The groups, whether they are there or not."""
        return [hierarchy.folder / self._name for hierarchy in self._hierarchies]

    def make(self) -> None:
        """Makes the groups; what a killed node left of them is removed first.

        Raises:
            EngineError: a node of this name runs, or the host refuses.
        """
        self.remove()
        for folder in self.folders():
            try:
                if self.version == 2:
                    _hand_on(folder.parent, _NEEDED_2)
                folder.mkdir()
                for name in _CPUSET if self.version == 1 else ():
                    # A new group has none, and no process may enter it.
                    if (folder / name).exists():
                        (folder / name).write_text((folder.parent / name).read_text())
                self._bound(folder)
            except OSError as error:
                self.remove()  # of those that were made
                if self.version == 2 and error.errno == errno.EBUSY:
                    raise _occupied(folder.parent) from None
                raise _refused(str(error)) from None

    def _bound(self, folder: Path) -> None:
        for name, value in (
            (MEMORY_FILES[self.version], self._bounds.memory),
            ("pids.max", self._bounds.processes),
        ):
            if value is not None and (folder / name).exists():
                (folder / name).write_text(str(value))

    def remove(self) -> None:
        """Removes the groups and all below them.

        Raises:
            EngineError: processes are in them.
        """
        deadline = time.monotonic() + _EMPTY_SECONDS
        for folder in self.folders():
            while not _removed(folder):
                if time.monotonic() > deadline:
                    raise EngineError(f"processes are in {folder}: another node runs in it")
                time.sleep(_POLL_SECONDS)  # the kernel takes a moment to empty a group

    def enter(self) -> None:
        """Moves this process in, and makes the groups all that it and its children see.

        Called in a mount namespace of our own.

        Raises:
            OSError: the kernel refuses.
        """
        for folder in self.folders():
            (folder / "cgroup.procs").write_text(str(os.getpid()))
        system.unshare(system.CLONE_NEWCGROUP)
        flags = system.MS_NOSUID | system.MS_NODEV | system.MS_NOEXEC
        # Below version 2 too: mount(2) refuses a file system directly on top of itself.
        system.mount("tmpfs", str(_ROOT), "tmpfs", 0, "mode=755")
        if self.version == 2:
            system.mount("cgroup2", str(_ROOT), "cgroup2", flags)
            leaf = _ROOT / _LEAF
            leaf.mkdir()
            (leaf / "cgroup.procs").write_text(str(os.getpid()))
            _hand_on(_ROOT, _controllers(_ROOT / "cgroup.controllers"))
            return
        for one in self._hierarchies:
            place = _ROOT / one.folder.name
            place.mkdir()
            system.mount(one.kind, str(place), one.kind, flags, one.options)


class NoGroups(Groups):
    """Where none can be made, as for most plain users: pods then have no limits."""

    def __init__(self) -> None:
        """Reads nothing."""
        self._name = ""
        self._hierarchies = []
        self.version = 0

    def enter(self) -> None:
        """Stays where this process is."""


def groups_or_none(name: str, bounds: Bounds | None = None) -> Groups:
    """Groups of that name; for who is not the host's root, NoGroups where none can be made.

    Raises:
        EngineError: this host has not the hierarchies that are needed.
    """
    if os.geteuid() == 0 and not mapped.is_inside():
        return Groups(name, bounds)
    try:
        found = Groups(name, bounds)
        found.check()
    except EngineError:
        return NoGroups()
    return found


def _refused(why: str) -> EngineError:
    return EngineError(
        f"no control group can be made ({why}): run as root, with {_ROOT} mounted writable"
    )


def _occupied(folder: Path) -> EngineError:
    """The host's own root may have processes, that of a container may not."""
    return EngineError(
        f"no control group can be made: processes are in {folder} itself, so that it hands no "
        f"controllers on; move them below it: mkdir -p {folder}/init && "
        f"xargs -rn1 <{folder}/cgroup.procs >{folder}/init/cgroup.procs"
    )


def sweep(prefix: str) -> None:
    """Removes groups whose names begin so, with all below them, if no process is in them."""
    for one in parse(Path("/proc/self/mountinfo").read_text()):
        for folder in one.folder.glob(f"{prefix}*"):
            if not _has_processes(folder):
                _removed(folder)


def _has_processes(folder: Path) -> bool:
    for place, _, _ in os.walk(folder):
        with contextlib.suppress(OSError):  # it has just gone
            if Path(place, "cgroup.procs").read_text():
                return True
    return False


def _controllers(file: Path) -> set[str]:
    return set(file.read_text().split())


def _hand_on(folder: Path, controllers: Set[str]) -> None:
    """Lets the groups below a group have these of its controllers (version 2)."""
    missing = controllers - _controllers(folder / "cgroup.subtree_control")
    if missing:
        text = " ".join(f"+{name}" for name in sorted(missing))
        (folder / "cgroup.subtree_control").write_text(text)


def _removed(folder: Path) -> bool:
    """Removes a group from its leaves up; whether it is gone."""
    for place, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):
            Path(place).rmdir()
    return not folder.exists()
