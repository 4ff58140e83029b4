"""What hooks cost, counted since the engine started."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class Cost:
    """Runs of one hook or action of one unit.

    Attributes:
        runs: how often it was dispatched, retries included.
        seconds: from the start of its process to the end, added up.
        cpu_seconds: processor time of these processes and their children.
    """

    runs: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0


class Statistics:
    """Costs by model, unit and hook."""

    def __init__(self) -> None:
        self._costs: dict[tuple[str, str, str], Cost] = {}

    def add(self, model: str, unit: str, hook: str, seconds: float, cpu_seconds: float) -> None:
        """Counts a dispatch that ended."""
        cost = self._costs.setdefault((model, unit, hook), Cost())
        cost.runs += 1
        cost.seconds += seconds
        cost.cpu_seconds += cpu_seconds

    def of(self, model: str) -> list[dict[str, Any]]:
        """One row for each unit and hook, in the order of their first runs."""
        return [
            {"unit": unit, "hook": hook, **asdict(cost)}
            for (name, unit, hook), cost in self._costs.items()
            if name == model
        ]
