"""What one more application costs the engine: the same figures with few and with many of them.

All figures are for one application or one hook, and above what the engine costs with no
application at all. A cost that does not grow with the number of applications has the ratio 1.
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from installer import charm_python
from installer.pack import ARCHITECTURES, ROOT, generated, zipped
from installer.up import unsettled
from localjuju.client import Client
from localkube.host.errors import EngineError
from localkube.host.processes import descendants
from localkube.host.progress import Progress
from tests.bench import processes
from tests.bench.processes import Sampler

AT_MOST = 1.5  # the ratio that is aimed at
MODEL = "growth"
IMAGE = "docker.io/library/python:3.12.12-slim"
_BATCH = 10  # applications that are deployed at a time
_IDLE_SECONDS = 60.0
_HOOKS = 100  # caused at each size
_CAUSED = "config-changed"
_PACE_SECONDS = 0.5  # between two of them
_SETTLING_SECONDS = 20.0  # until what a deployment left to be done is done
_STARTING_SECONDS = 30.0  # until what the start left to be done is done
_POLL_SECONDS = 1.0
_ENGINE, _PODS = "engine", "pods: agents, hooks, Pebble"
_OTHER = "other parts"
_PARTS = {
    processes.ENGINE: _ENGINE,
    "etcd": "etcd",
    "kube-apiserver": "kube-apiserver",
    "kubelet": "kubelet",
    "containerd": "containerd and shims",
    processes.SHIMS: "containerd and shims",
    **dict.fromkeys(("kube-controller-manager", "kube-scheduler", "coredns"), _OTHER),
    **dict.fromkeys(("kube-proxy", "kube-router"), "kube-proxy and kube-router"),
}


@dataclass(frozen=True)
class Idle:
    """What the engine costs while nothing is asked of it.

    Attributes:
        cpu: processor seconds in a second, by part.
        memory: bytes, by part.
        wakes: how often in a second a thread of the engine's own processes began to run.
    """

    cpu: Mapping[str, float]
    memory: Mapping[str, float]
    wakes: float


@dataclass(frozen=True)
class Size:
    """What was measured with a number of applications.

    Attributes:
        applications: their number.
        deploy_seconds: of the last batch, for one application.
        deploy_cpu: processor seconds of the last batch, for one application, by part; what idling
            costs is taken off.
        deploy_hooks: how many hooks one application of the last batch ran.
        deploy_hook_cpu: processor seconds of these hooks.
        idle: while nothing is asked.
        hook_cpu: processor seconds of one hook, by part; what idling costs is taken off.
    """

    applications: int
    deploy_seconds: float
    deploy_cpu: Mapping[str, float]
    deploy_hooks: float
    deploy_hook_cpu: float
    idle: Idle
    hook_cpu: Mapping[str, float]


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes:
        name: what it is.
        few: of one application among few.
        many: of one among many.
        none: what there is without any application, and is no part of the other two.
    """

    name: str
    few: float
    many: float
    none: float | None = None

    @property
    def ratio(self) -> float | None:
        """None where the few cost nothing that could be measured."""
        return self.many / self.few if self.few > 0 else None


def main(few: int, many: int, timeout: float) -> None:
    """Measures on a fresh engine, and prints the table.

    Raises:
        EngineError: the applications do not become active in time.
    """
    from localjuju.engine import lifecycle
    from localjuju.images import layers

    charm = pack(ROOT / "build" / "growth")
    layers.prepare(IMAGE)
    lifecycle.start()
    process = lifecycle.pid()
    assert process is not None
    bench = _Bench(process, charm, timeout)
    base = bench.idle(_STARTING_SECONDS)
    sizes = [bench.grow(number) for number in (few, many)]
    _print(figures(base, *sizes), few, many)


def pack(folder: Path) -> Path:
    """The charm, with the environment that all charms share."""
    folder.mkdir(parents=True, exist_ok=True)
    project = {
        "name": "small", "summary": "A small charm", "description": "A small charm",
        "base": "ubuntu@24.04", "containers": {"workload": {"resource": "image"}},
        "resources": {"image": {"type": "oci-image"}},
        "config": {"options": {"number": {"type": "int", "default": 0}}},
    }  # fmt: skip
    files = {
        "src/charm.py": Path(__file__).with_name("small.py").read_bytes(),
        "dispatch": (ROOT / "installer" / "dispatch").read_bytes(),
        "venv/.shared": f"{charm_python.shared(Progress())}\n".encode(),
        **generated(project, ARCHITECTURES[platform.machine()]),
    }
    file = folder / "small.charm"
    file.write_bytes(zipped(files))
    return file


class _Bench:
    """The model that grows."""

    def __init__(self, process: int, charm: Path, timeout: float):
        self._client, self._charm, self._timeout = Client(), charm, timeout
        self._root = process
        self._names: list[str] = []
        self._sampler = Sampler(process, self._names)
        values = {"update-status-hook-interval": "24h"}
        self._client.call("add_model", name=MODEL, config=values)

    def grow(self, number: int) -> Size:
        """Deploys until there are so many, and measures."""
        seconds, count, cpu, hooks = 0.0, 1, {}, (0.0, 0.0)
        while len(self._names) < number:
            count = min(_BATCH, number - len(self._names))
            ran, begin, before = self._ran(), time.monotonic(), self._cpu()
            self._deploy(count)
            seconds = time.monotonic() - begin
            cpu = difference(self._cpu(), before)
            hooks = [after - had for after, had in zip(self._ran(), ran, strict=True)]
            print(f"{len(self._names)} applications, {seconds / count:.1f} s each",
                  file=sys.stderr)  # fmt: skip
        idle = self.idle()
        cpu = difference(cpu, scaled(idle.cpu, seconds))
        return Size(
            number, seconds / count, scaled(cpu, 1 / count), hooks[0] / count, hooks[1] / count,
            idle, self._hooks(idle),
        )  # fmt: skip

    def idle(self, settling: float = _SETTLING_SECONDS) -> Idle:
        """What it costs when nothing is asked, once it has settled."""
        time.sleep(settling)
        begin, before, woken = time.monotonic(), self._cpu(), self._wakes()
        time.sleep(_IDLE_SECONDS)
        seconds = time.monotonic() - begin
        woken = self._wakes() - woken
        cpu = scaled(difference(self._cpu(), before), 1 / seconds)
        return Idle(cpu, self._memory(), woken / seconds)

    def _deploy(self, count: int) -> None:
        added = [f"small{len(self._names) + number}" for number in range(count)]
        self._names += added
        for name in added:
            self._client.call(
                "deploy", model=MODEL, charm=str(self._charm), application=name,
                resources={"image": IMAGE},
            )  # fmt: skip
        self._wait(lambda: bool(unsettled(self._status(), added)), f"{added} are not active")

    def _hooks(self, idle: Idle) -> dict[str, float]:
        """Changes one application's option after the other, each of which is a hook."""
        ran = self._ran(_CAUSED)[0]
        begin, before = time.monotonic(), self._cpu()
        for number in range(_HOOKS):
            name = self._names[number % len(self._names)]
            value = int(time.time()) + number
            self._client.call(
                "set_config", model=MODEL, application=name, values={"number": str(value)}
            )
            time.sleep(_PACE_SECONDS)
        self._wait(lambda: self._ran(_CAUSED)[0] - ran < _HOOKS, "hooks did not run")
        cpu = difference(self._cpu(), before)
        idling = scaled(idle.cpu, time.monotonic() - begin)
        return scaled(difference(cpu, idling), 1 / (self._ran(_CAUSED)[0] - ran))

    def _ran(self, hook: str = "") -> tuple[int, float]:
        """How many hooks ran so far, and their processor seconds; of one name, or all."""
        rows = [
            row
            for row in self._client.call("hook_statistics", model=MODEL)
            if hook in ("", row["hook"])
        ]
        return sum(row["runs"] for row in rows), sum(row["cpu_seconds"] for row in rows)

    def _status(self) -> Mapping[str, Any]:
        return self._client.call("status", model=MODEL)["applications"]

    def _wait(self, unfinished: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + self._timeout
        while unfinished():
            if time.monotonic() > deadline:
                raise EngineError(f"{what} in {self._timeout:.0f} s")
            time.sleep(_POLL_SECONDS)

    def _cpu(self) -> dict[str, float]:
        return by_part(self._sampler.look())

    def _memory(self) -> dict[str, float]:
        groups = self._sampler.groups.items()
        return by_part({name: float(group.memory) for name, group in groups})

    def _wakes(self) -> int:
        """How often threads of the engine's own processes gave up the processor and got it."""
        count = 0
        for number in descendants(self._root):
            folder = Path(f"/proc/{number}")
            try:
                if b"localjuju.engine" not in (folder / "cmdline").read_bytes():
                    continue
                for thread in (folder / "task").iterdir():
                    count += _switches((thread / "status").read_text())
            except OSError:  # ended meanwhile
                continue
        return count


def _switches(status: str) -> int:
    """proc_pid_status(5)."""
    for line in status.splitlines():
        if line.startswith("voluntary_ctxt_switches:"):
            return int(line.split()[1])
    return 0


# What is calculated --------------------------------------------------------------------------


def by_part(groups: Mapping[str, float]) -> dict[str, float]:
    """Sums over the groups of `processes` that are one part; what is not named is in pods."""
    parts: dict[str, float] = {}
    for name, value in groups.items():
        part = _PARTS.get(name, _PODS)
        parts[part] = parts.get(part, 0.0) + value
    return parts


def difference(after: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    """By part. Below zero where a process ended, whose time is then its parent's."""
    return {name: after.get(name, 0.0) - before.get(name, 0.0) for name in {**before, **after}}


def scaled(values: Mapping[str, float], factor: float) -> dict[str, float]:
    """Each of the values times `factor`."""
    return {name: value * factor for name, value in values.items()}


def figures(base: Idle, few: Size, many: Size) -> list[Figure]:
    """The table: milliseconds, seconds and MiB; what `base` has is no application's."""

    def both(
        what: str, factor: float, of: Callable[[Size], Mapping[str, float]],
        without: Mapping[str, float] | None = None,
    ) -> list[Figure]:  # fmt: skip
        one, other = scaled(of(few), factor), scaled(of(many), factor)
        none = None if without is None else scaled(without, factor)
        found = [
            Figure(
                f"{what}: {part}", one.get(part, 0.0), other.get(part, 0.0),
                None if none is None else none.get(part, 0.0),
            )
            for part in sorted({*one, *other}, key=lambda part: (part != _ENGINE, part))
        ]  # fmt: skip
        total = None if none is None else sum(none.values())
        return [*found, Figure(f"{what}: all", sum(one.values()), sum(other.values()), total)]

    def each(
        after: Mapping[str, float], before: Mapping[str, float], size: Size
    ) -> dict[str, float]:
        return scaled(difference(after, before), 1 / size.applications)

    return [
        *both(
            "CPU ms in an idle second", 1000,
            lambda size: each(size.idle.cpu, base.cpu, size), base.cpu,
        ),
        Figure(
            "wakes of the engine in an idle second",
            (few.idle.wakes - base.wakes) / few.applications,
            (many.idle.wakes - base.wakes) / many.applications,
            base.wakes,
        ),
        *both("CPU ms for a hook", 1000, lambda size: size.hook_cpu),
        Figure("s to deploy one more", few.deploy_seconds, many.deploy_seconds),
        *both("CPU s to deploy one more", 1, lambda size: size.deploy_cpu),
        Figure("hooks to deploy one more", few.deploy_hooks, many.deploy_hooks),
        Figure("CPU s of these hooks", few.deploy_hook_cpu, many.deploy_hook_cpu),
        *both(
            "MiB", 1 / (1 << 20),
            lambda size: each(size.idle.memory, base.memory, size), base.memory,
        ),
    ]  # fmt: skip


def _print(lines: Sequence[Figure], few: int, many: int) -> None:
    table = Table(title="growth", title_justify="left", box=None)
    for number, column in enumerate(
        ("for each application or hook", "without any", f"{few}", f"{many}", "ratio")
    ):
        table.add_column(column, justify="right" if number else "left")
    for line in lines:
        ratio = line.ratio
        style = "bold" if ratio is not None and ratio > AT_MOST else None
        shown = "" if ratio is None else f"{ratio:.2f}"
        none = "" if line.none is None else f"{line.none:.3g}"
        table.add_row(line.name, none, f"{line.few:.3g}", f"{line.many:.3g}", shown, style=style)
    Console(width=None if sys.stdout.isatty() else 110).print(table)
    print(f"bold: above {AT_MOST}")
