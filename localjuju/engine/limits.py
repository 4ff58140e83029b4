"""What the engine needs of this machine, and how much of it the engine may use.

A stack that outgrows its share is ended inside control groups, and not the user's editor.
"""

from __future__ import annotations

from pathlib import Path

from localkube.host import cgroups, machine, mapped, ownership, paths
from localkube.host.errors import EngineError

_PREFIX = "charmed-mlops-"
_SHARE = 0.8  # of the memory
_PROCESSES = 16384


def memory() -> int:
    """Bytes that the node and all pods may use together."""
    return int(machine.memory() * _SHARE)


def groups(state: Path) -> cgroups.Groups:
    """The groups of the engine that keeps its things in `state`.

    Raises:
        EngineError: this host has not the hierarchies that are needed.
    """
    name = f"{_PREFIX}{ownership.identity(state)}"
    return cgroups.groups_or_none(name, cgroups.Bounds(memory(), _PROCESSES))


def check(state: Path) -> None:
    """What can be told before anything of an engine is made.

    Raises:
        EngineError: this machine or the state folder is not as the engine needs it.
    """
    paths.refuse_long(state, "CHARMED_MLOPS_STATE")
    mapped.check()
    groups(state).check()
    refuse_earlier(state)


def refuse_earlier(state: Path) -> None:
    """Raises EngineError where the folder is of the node before kubelet and containerd."""
    if (state / "pods").exists() and not (state / "containerd.toml").exists():
        raise EngineError(
            f"{state} was made by an earlier version, whose volumes and pods are not taken over: "
            "save what you need with that version, then ./mlops down, which removes all of it"
        )


def sweep() -> None:
    """Removes groups of engines that were killed: their name is ours alone.

    The kernel removes none that has a process in it.
    """
    cgroups.sweep(_PREFIX)
