"""Memory and processor time of the engine's processes, by what they belong to."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from installer.status import memory
from localkube.host.processes import descendants

ENGINE, HOOKS, PEBBLE, AGENTS = "engine", "hooks", "Pebble (all)", "agents in pods (all)"
OTHER_PODS = "other pods"  # notebooks, predictors: what the applications start
SHIMS = "containerd-shim-runc-v2 (all)"
ENDED = "ended: hooks, probes, runc"  # what engine, agents and shims started and waited for
# Programs of the control plane and the node, whose names no image's program has.
_PARTS = {
    name: name
    for name in (
        "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet",
        "containerd", "runc", "coredns", "kube-proxy", "kube-router", "slirp4netns",
    )
} | {"containerd-shim-runc-v2": SHIMS, "pause": "pause (all)"}  # fmt: skip
_TICKS = os.sysconf("SC_CLK_TCK")
_SECONDS = 1.0


@dataclass
class Group:
    """Processes that belong together.

    Attributes:
        memory: bytes at the last look, shared pages counted in part (Pss).
        peak: the most of it seen at once.
        largest: the largest resident size that one of the processes ever had (VmHWM).
        cpu_seconds: processor time of those that were there at the last look.
    """

    memory: int = 0
    peak: int = 0
    largest: int = 0
    cpu_seconds: float = 0.0


@dataclass
class Sampler:
    """Looks at the engine's processes each second while its context lasts.

    Attributes:
        root: the engine's outer process.
        applications: names of those whose pods are told apart.
        groups: what was seen.
        peak: bytes, the most that the applications' programs had together at one time.
    """

    root: int
    applications: Collection[str]
    groups: dict[str, Group] = field(default_factory=dict)
    peak: int = 0

    def __post_init__(self) -> None:
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._lock = threading.Lock()

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ending.wait(_SECONDS):
            self.look()

    def look(self) -> dict[str, float]:
        """Looks once; returns the processor seconds so far of each group."""
        with self._lock:
            for group in self.groups.values():
                group.memory, group.cpu_seconds = 0, 0.0
            for process in descendants(self.root):
                try:
                    self._add(process)
                except OSError:  # ended meanwhile
                    continue
            for group in self.groups.values():
                group.peak = max(group.peak, group.memory)
            self.peak = max(self.peak, sum(self.groups[each].memory for each in self.programs()))
            return {name: group.cpu_seconds for name, group in self.groups.items()}

    def programs(self) -> list[str]:
        """Groups that pods' containers run: no charm, no Pebble, nothing of the engine."""
        return [name for name in self.groups if name in (*self.applications, OTHER_PODS)]

    def _add(self, process: int) -> None:
        folder = Path(f"/proc/{process}")
        name = self._name(folder)
        group = self.groups.setdefault(name, Group())
        group.memory += memory(process)
        group.largest = max(group.largest, _high_water(folder))
        own, ended = _cpu_seconds(folder)
        group.cpu_seconds += own
        others = name in (ENGINE, AGENTS, SHIMS)
        waiting = self.groups.setdefault(ENDED, Group()) if others else group
        waiting.cpu_seconds += ended

    def _name(self, folder: Path) -> str:
        arguments = (folder / "cmdline").read_bytes().split(b"\0")
        program = Path(os.fsdecode(arguments[0])).name
        if program in _PARTS:
            return _PARTS[program]
        try:
            host = (folder / "root/etc/hostname").read_text().strip()
        except OSError:
            return ENGINE
        application = host.rpartition("-")[0]
        if application not in self.applications:
            return ENGINE if host == socket.gethostname() else OTHER_PODS
        if b"\0JUJU_UNIT_NAME=" in b"\0" + (folder / "environ").read_bytes():
            return HOOKS
        return {"pebble": PEBBLE, "containeragent": AGENTS}.get(program, application)


def _high_water(folder: Path) -> int:
    for line in (folder / "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _cpu_seconds(folder: Path) -> tuple[float, float]:
    """Of a process, and of those of its children that were waited for; proc_pid_stat(5)."""
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    user, system, children_user, children_system = (int(text) for text in fields[11:15])
    return (user + system) / _TICKS, (children_user + children_system) / _TICKS
