"""How often a probe asks, and when it says that a container has failed."""

from __future__ import annotations

import pytest
from lightkube.models.core_v1 import ExecAction, Probe

from localjuju.node import probes


class TimeIsUpError(Exception):
    """The end of a test's time."""


async def run(answers: list[int], until: float, *, eager: bool = False) -> list[tuple[float, str]]:
    """Probes every 10 s with these exit codes, the last one for ever; what happened, and when."""
    time = 0.0
    seen: list[tuple[float, str]] = []

    async def sleep(seconds: float) -> None:
        nonlocal time
        time += seconds
        if time > until:
            raise TimeIsUpError

    async def execute(argv: list[str], timeout: float) -> int:
        seen.append((time, "asked"))
        return answers.pop(0) if len(answers) > 1 else answers[0]

    spec = Probe(exec=ExecAction(command=["check"]), periodSeconds=10, failureThreshold=3)
    probe = probes.Probe(spec, "10.1.0.2", {}, execute, sleep)
    with pytest.raises(TimeIsUpError):
        await probe.run(lambda good: seen.append((time, "good" if good else "bad")), eager=eager)
    return seen


async def test_a_container_that_never_answers_has_failed_after_three_periods():
    seen = await run([1], until=25)
    assert seen == [(0, "asked"), (10, "asked"), (20, "asked"), (20, "bad")]


async def test_readiness_is_asked_each_second_until_it_is_there_and_then_each_period():
    seen = await run([1, 1, 0], until=15, eager=True)
    assert seen == [(0, "asked"), (1, "asked"), (2, "asked"), (2, "good"), (12, "asked")]


async def test_after_a_success_it_is_asked_each_period():
    seen = await run([0, 1], until=35)
    asked = [moment for moment, what in seen if what == "asked"]
    assert asked == [0, 10, 20, 30]
    assert (30, "bad") in seen
