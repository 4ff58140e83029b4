"""What this machine, and the control groups around this process, grant: cores and memory."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_LIMITS = {"cgroup2": "memory.max", "cgroup": "memory.limit_in_bytes"}


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0))


def memory() -> int:
    """Bytes of memory that this process and its children may use together."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for group in groups("memory"):
        for folder in (group.own, *group.own.parents):
            with contextlib.suppress(OSError, ValueError):
                total = min(total, int((folder / _LIMITS[group.kind]).read_text()))
            if folder == group.mount:
                break
    return total


class Group:
    """The control group that this process is in, in one hierarchy.

    Attributes:
        kind: `cgroup2`, or `cgroup` for the first version (cgroups(7)).
        mount: where the hierarchy is mounted.
        own: the folder of this process's group.
    """

    def __init__(self, kind: str, mount: Path, own: Path):
        self.kind = kind
        self.mount = mount
        self.own = own


def groups(controller: str, proc: Path = Path("/proc/self")) -> list[Group]:
    """This process's groups in the hierarchies that may have a controller, such as `memory`."""
    paths: dict[str, str] = {}
    for line in (proc / "cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if not names or controller in names.split(","):
            paths["cgroup" if names else "cgroup2"] = path
    found = []
    for line in (proc / "mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        root, mount = before.split()[3:5]
        kind, _, options = after.split()[:3]
        if kind not in paths or (kind == "cgroup" and controller not in options.split(",")):
            continue
        with contextlib.suppress(ValueError):  # mounted from elsewhere: not to be seen here
            below = Path(paths[kind]).relative_to(root)
            found.append(Group(kind, Path(mount), Path(mount) / below))
    return found
