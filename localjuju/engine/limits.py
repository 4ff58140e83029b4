"""One control group for the engine and all that it starts, where the kernel lets us make one.

A stack that outgrows its share is then ended inside the group, and not the user's editor. Where no
group can be made, the scores of proc(5) alone say who is ended first.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from localkube.host import machine, ownership

_PREFIX = "charmed-mlops-"
_SECONDS_TO_EMPTY = 3.0
_SHARE = 0.8  # of the memory
_PIDS = 16384
_FILE = "control-groups"  # in the state folder: the groups that were made for it
_MEMORY = {"cgroup2": "memory.max", "cgroup": "memory.limit_in_bytes"}
_CONTROLLERS = ("memory", "pids")


def places(proc: Path = Path("/proc/self")) -> dict[Path, dict[str, str]]:
    """The groups that a new one may be made below: what is to be written into it.

    Empty where memory cannot be bounded.
    """
    found: dict[Path, dict[str, str]] = {}
    bounds = {"memory": str(int(machine.memory() * _SHARE)), "pids": str(_PIDS)}
    for controller in _CONTROLLERS:
        for group in machine.groups(controller, proc):
            parent = _parent(group, controller)
            if parent is not None:
                file = _MEMORY[group.kind] if controller == "memory" else "pids.max"
                found.setdefault(parent, {})[file] = bounds[controller]
                break
        else:
            if controller == "memory":
                return {}
    return found


def _parent(group: machine.Group, controller: str) -> Path | None:
    """Version 1: this process's own group. Version 2: the nearest that gives the controller on.

    There a group with processes has no groups with controllers below it.
    """
    if group.kind == "cgroup":
        return group.own if _is_writable(group.own) else None
    for folder in group.own.parents if group.own != group.mount else ():
        with contextlib.suppress(OSError):
            given = (folder / "cgroup.subtree_control").read_text().split()
            if controller in given and _is_writable(folder):
                return folder
        if folder == group.mount:
            break
    return None


def _is_writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK) and os.access(folder / "cgroup.procs", os.W_OK)


def enter(state: Path, proc: Path = Path("/proc/self")) -> bool:
    """Moves this process into a group of the engine's own; whether its memory is bounded now."""
    name = _name(state)
    made: list[Path] = []
    try:
        for parent, bounds in places(proc).items():
            folder = parent if parent.name == name else parent / name
            folder.mkdir(exist_ok=True)
            made.append(folder)
            for file, value in bounds.items():
                (folder / file).write_text(value)
            (folder / "cgroup.procs").write_text(str(os.getpid()))
    except OSError:
        return False
    finally:
        if made:
            before = _made(state)
            lines = sorted({str(folder) for folder in (*before, *made)})
            (state / _FILE).write_text("".join(f"{line}\n" for line in lines))
    return bool(made)


def remove(state: Path) -> None:
    """Removes the groups made for this state folder; the kernel keeps one that has a process."""
    for folder in _made(state):
        if folder.name == _name(state):
            ends = time.monotonic() + _SECONDS_TO_EMPTY
            while not _removed(folder) and time.monotonic() < ends:
                time.sleep(0.05)  # its last processes have been killed and are still listed


def sweep(proc: Path = Path("/proc/self")) -> None:
    """Removes groups of engines that were killed and whose folder has gone.

    Their name is ours alone, and the kernel removes none that has a process or a group in it.
    """
    for parent in places(proc):
        for folder in parent.glob(f"{_PREFIX}*"):
            _removed(folder)


def _removed(folder: Path) -> bool:
    """Removes a group that has no process; whether it is gone."""
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _made(state: Path) -> list[Path]:
    try:
        return [Path(line) for line in (state / _FILE).read_text().splitlines() if line]
    except OSError:
        return []


def _name(state: Path) -> str:
    return f"{_PREFIX}{ownership.identity(state)}"
