"""Which program is killed when: told by a seed, so that a failure can be seen again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from reach import EngineReach

from localjuju.engine import lifecycle, limits

ENGINE = "engine"
"""Its outer process, with which all others end."""

PROGRAMS = (
    "containerd", "kubelet", "kube-apiserver", "kube-controller-manager", "kube-scheduler",
    "etcd", "kube-proxy", "kube-router", "coredns",
)  # fmt: skip
_MOST_OF_A_STEP = 2


@dataclass(frozen=True)
class Kill:
    """One SIGKILL."""

    moment: float
    """When, as a part of what the step takes undisturbed, from 0 to 1."""

    program: str
    """One of `PROGRAMS`, or `ENGINE`."""


def plan(seed: int, steps: Sequence[str]) -> dict[str, list[Kill]]:
    """The kills of each step, in their order."""
    chance = random.Random(seed)
    return {
        step: sorted(
            (
                Kill(chance.random(), chance.choice((ENGINE, *PROGRAMS)))
                for _ in range(chance.randint(1, _MOST_OF_A_STEP))
            ),
            key=lambda kill: kill.moment,
        )
        for step in steps
    }


class Killer:
    """Kills when it is time to; the engine is started again, as a user would.

    The other programs are the engine's to start again. They are killed while it starts, too.
    """

    def __init__(self, engine: EngineReach, kills: Sequence[Kill], seconds: float):
        """Begins to count.

        Args:
            engine: the one that runs.
            kills: of a step.
            seconds: what the step takes undisturbed.
        """
        self._engine = engine
        self._left = list(kills)
        self._seconds = seconds
        self._began = time.monotonic()
        self._start: subprocess.Popen[str] | None = None
        self.done: list[str] = []
        """What was killed, and when."""

    @property
    def is_over(self) -> bool:
        """Whether nothing is killed any more, and the engine runs."""
        return not self._left and self._start is None

    def look(self) -> None:
        """Kills what it is time for; what does not run is killed when it does."""
        self._look_at_start()
        while self._left and self._passed() >= self._left[0].moment * self._seconds:
            pid = self._find(self._left[0].program)
            if pid is None:
                return
            program = self._left.pop(0).program
            self.done.append(f"{program} (process {pid}) after {self._passed():.1f} s")
            if program == ENGINE:
                self._engine.kill()
                self._start = self._start or self._started()
                continue
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def end(self) -> None:
        """Ends the wait for a start, where a step failed meanwhile."""
        if self._start is not None:
            self._start.kill()
            self._start.communicate()
            self._start = None

    def _passed(self) -> float:
        return time.monotonic() - self._began

    def _find(self, program: str) -> int | None:
        if program == ENGINE:
            return lifecycle.pid()
        found = (pid for pid, name in processes(self._engine.state) if name == program)
        return next(found, None)

    def _started(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "localjuju.engine", "start", f"--owner-pid={os.getpid()}"]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    def _look_at_start(self) -> None:
        """A start that failed is done again where the engine was killed meanwhile."""
        if self._start is None or self._start.poll() is None:
            return
        _, errors = self._start.communicate()
        failed, self._start = self._start.returncode != 0, None
        if failed:
            assert self.done[-1].startswith(ENGINE), f"the engine did not start: {errors}"
            self._start = self._started()


def processes(state: Path) -> Iterator[tuple[int, str]]:
    """The processes in the control groups of an engine: their ids, and their files' names."""
    for folder in limits.groups(state).folders():
        for place, _, _ in os.walk(folder):
            with suppress(OSError):  # the group has just gone
                for word in Path(place, "cgroup.procs").read_text().split():
                    with suppress(OSError):  # the process has just ended
                        yield int(word), Path(f"/proc/{word}/exe").readlink().name
