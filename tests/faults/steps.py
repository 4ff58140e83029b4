"""A model is deployed, grows, shrinks and goes; in each step programs may be killed."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import jubilant
import snapshots
from kills import Kill, Killer
from reach import EngineReach
from snapshots import Snapshot

BUNDLE = Path(__file__).parent / "bundle.yaml"
STEPS = ("deploy", "scale up", "scale down", "remove", "destroy")
_MODEL = "faults"
_SCALED = ("katib-db-manager", "admission-webhook")
_BROKER = "resource-broker"  # the last to go: it removes what others had it apply
_UNITS = {"deploy": 1, "scale up": 3, "scale down": 1}
_STEP_SECONDS = 900.0
_SAME_SECONDS = 60.0
_POLL_SECONDS = 0.5


@dataclass
class Run:
    """What was seen of one run."""

    seconds: dict[str, float] = field(default_factory=dict)
    """What each step took until it had settled."""

    seen: dict[str, Snapshot] = field(default_factory=dict)
    """After each step."""

    killed: list[str] = field(default_factory=list)
    """What was killed, in which step and when."""

    differences: list[str] = field(default_factory=list)
    """How steps ended otherwise than expected."""


class Scenario:
    """The steps, on an engine whose state is empty."""

    def __init__(
        self,
        engine: EngineReach,
        expected: Run | None = None,
        plan: Mapping[str, Sequence[Kill]] | None = None,
    ):
        """Prepares; does nothing.

        Args:
            engine: it runs.
            expected: an undisturbed run; None for the one that others are compared with.
            plan: what is killed in each step; the parts of a step are those of `expected`.
        """
        self._engine = engine
        self._expected = expected
        self._plan = plan or {}
        self._juju = jubilant.Juju(model=_MODEL)
        self.run = Run()

    def play(self) -> Run:
        """Does all steps; fails where one does not end."""
        self._juju.cli("add-model", _MODEL, include_model=False)
        for step in STEPS:
            self._step(step)
        return self.run

    def _step(self, step: str) -> None:
        began = time.monotonic()
        usual = self._expected.seconds[step] if self._expected else 0.0
        killer = Killer(self._engine, self._plan.get(step, ()), usual)
        try:
            self._ask(step, killer)
            deadline = began + _STEP_SECONDS
            while not (self._is_settled(step) and killer.is_over):
                killer.look()
                assert time.monotonic() < deadline, (
                    f"{step}: not settled in {_STEP_SECONDS:.0f} s\n{self._shown()}"
                )
                time.sleep(_POLL_SECONDS)
        finally:
            killer.end()
            self.run.killed += [f"{step}: {line}" for line in killer.done]
        self.run.seconds[step] = time.monotonic() - began
        self.run.seen[step] = self._compared(step)

    def _ask(self, step: str, killer: Killer) -> None:
        """Gives the step's commands; those that a kill broke are given again."""
        deadline = time.monotonic() + _STEP_SECONDS
        while broken := self._broken(step, killer):
            killer.look()
            assert killer.done, f"{step}: {broken}"
            assert time.monotonic() < deadline, f"{step}: {broken}"
            time.sleep(_POLL_SECONDS)

    def _broken(self, step: str, killer: Killer) -> str:
        """Gives the commands; empty, or what went wrong with one of them."""
        try:
            commands = self._commands(step)
        except jubilant.CLIError as error:  # the engine is away
            return f"{error}\n{error.stderr}"
        for command in commands:
            if broken := _run(command, killer):
                return broken
        return ""

    def _commands(self, step: str) -> list[list[str]]:
        """What is left to be asked for."""
        model = ["-m", _MODEL]
        if step == "deploy":
            return [["deploy", *model, str(BUNDLE), "--trust"]]
        if step in _UNITS:
            units = str(_UNITS[step])
            return [["scale-application", *model, name, units] for name in _SCALED]
        if step == "remove":
            left = sorted(set(self._juju.status().apps) - {_BROKER})
            remove = ["remove-application", *model, "--no-prompt", "--destroy-storage"]
            return [[*remove, *left]] if left else []
        if _MODEL in self._models():
            return [["destroy-model", "--no-prompt", "--destroy-storage", _MODEL]]
        return []

    def _models(self) -> list[str]:
        found = self._juju.cli("models", "--format", "json", include_model=False)
        return [model["short-name"] for model in json.loads(found)["models"]]

    def _is_settled(self, step: str) -> bool:
        with suppress(jubilant.CLIError):  # the engine is away
            if step == "destroy":
                return _MODEL not in self._models()
            status = self._juju.status()
            if step == "remove":
                return set(status.apps) == {_BROKER}
            return (
                all(len(status.apps[name].units) == _UNITS[step] for name in _SCALED)
                and jubilant.all_active(status)
                and jubilant.all_agents_idle(status)
            )
        return False

    def _shown(self) -> str:
        with suppress(jubilant.CLIError):
            return self._juju.cli("status")
        return "the engine does not answer"

    def _compared(self, step: str) -> Snapshot:
        """The state as it stays; after a while, what it then is."""
        deadline = time.monotonic() + _SAME_SECONDS
        found: Snapshot = {}
        while True:
            before, found = found, self._snapshot(step)
            expected = self._expected.seen[step] if self._expected else before
            if found == before == expected:
                return found
            # What is at last as it should be, under load, is looked at again whether it stays.
            late = time.monotonic() - deadline
            if late > (_SAME_SECONDS if found == expected else 0):
                told = snapshots.difference(expected, found) or "it does not stay as it is"
                self.run.differences.append(f"{step} ended otherwise than undisturbed:\n{told}")
                return found

    def _snapshot(self, step: str) -> Snapshot:
        try:
            found = snapshots.kubernetes(self._engine)
            if step == "destroy":
                return {**found, **snapshots.node(self._engine)}
            return {**found, **snapshots.juju(self._juju)}
        except (jubilant.CLIError, subprocess.CalledProcessError, OSError) as error:
            # Something goes away while it is asked for, or a program starts again.
            return {"it could not be looked at": f"{error}\n{getattr(error, 'stderr', '')}"}


def _run(command: Sequence[str], killer: Killer) -> str:
    """Runs `juju`, while programs are killed; empty, or what it said when it failed."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(["juju", *command], stdout=subprocess.DEVNULL, stderr=errors)
        try:
            while process.poll() is None:
                killer.look()
                time.sleep(0.02)
        finally:
            process.kill()
            process.wait()
        errors.seek(0)
        return f"juju {' '.join(command)}: {errors.read().strip()}" if process.returncode else ""
