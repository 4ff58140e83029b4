"""Faults that a test asks for: fail or kill a hook of a unit, before or after its commit."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass

from localjuju.agent.hooks import Hook
from localjuju.model.errors import ModelError

POINTS = ("before", "dispatched", "committed")
EFFECTS = ("fail", "kill", "delay")


class HookFault(Exception):  # noqa: N818  (what was asked for, not an error)
    """The hook is to fail, though its charm did not."""


@dataclass(frozen=True)
class Fault:
    """`hook` is a hook's name or an action's; `seconds` is for `delay`."""

    unit: str
    hook: str
    point: str
    effect: str
    seconds: float = 0.0


class Faults:
    """Each fault that was asked for happens once; where, the unit's runner says by calling."""

    def __init__(self) -> None:
        self._planned: list[Fault] = []

    def plan(self, fault: Fault) -> None:
        """Raises ModelError: no such point or effect, or a commit that is to fail afterwards."""
        if fault.point not in POINTS:
            raise ModelError(f"point must be one of {', '.join(POINTS)}")
        if fault.effect not in EFFECTS:
            raise ModelError(f"effect must be one of {', '.join(EFFECTS)}")
        if (fault.point, fault.effect) == ("committed", "fail"):
            raise ModelError("a hook that is committed cannot fail any more")
        self._planned.append(fault)

    async def __call__(self, point: str, unit: str, hook: Hook) -> None:
        for fault in [f for f in self._planned if (f.unit, f.point) == (unit, point)]:
            if fault.hook != hook.name:
                continue
            self._planned.remove(fault)
            if fault.effect == "fail":
                raise HookFault
            if fault.effect == "kill":
                os._exit(
                    137
                )  # as the first process of its namespace it takes no SIGKILL of its own
            await asyncio.sleep(fault.seconds)
