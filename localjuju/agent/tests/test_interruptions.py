"""A hook that does not come to its end is put off, and shown when that goes on."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import uuid
from pathlib import Path

import pytest

from localjuju.agent import environment
from localjuju.agent.tests.bench import MODEL, Bench
from localjuju.model import clock
from localjuju.model.changes import end


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "_offset", clock._offset)  # jumps end with the test


def _due(bench: Bench) -> datetime.datetime | None:
    """When the unit tries again; None while it tries."""
    agent = bench.unit("plain/0")["agent"]
    text = (agent.get("error") or {}).get("retry_at") or (agent.get("again") or {}).get("at")
    at = clock.parse(text) if text else None
    return at if at and at > clock.now() else None


async def _until_due(bench: Bench, limit: float = 1000) -> float:
    """Lets the model's time pass up to the next try; how much that is, is returned."""
    at = await bench.until(lambda: _due(bench))
    seconds = min(limit, (at - clock.now()).total_seconds() + 0.001)
    bench.api.jump_clock(seconds)
    return seconds


async def _pass(bench: Bench, seconds: float) -> None:
    """Lets the model's time pass, from one try to the next."""
    left = seconds
    while left > 0:
        left -= await _until_due(bench, left)
        tried = bench.dispatches
        if left > 0:
            await bench.until(lambda tried=tried: bench.dispatches > tried)


def _shown(bench: Bench) -> tuple[str, str]:
    status = bench.api.status(MODEL)["applications"]["plain"]["units"]["plain/0"]
    return status["workload-status"]["current"], status["workload-status"].get("message", "")


@pytest.mark.parametrize("death", ["exit 137", "kill -9 $$"])
async def test_a_hook_that_is_killed_again_and_again_is_an_error(bench: Bench, death: str):
    await bench.deploy(bench.charm("plain", f'test "$JUJU_HOOK_NAME" != start || {death}'))
    await _pass(bench, 60)
    assert 3 <= bench.hooks("plain/0").count("start") <= 8
    assert _shown(bench) == ("error", 'hook failed: "start"')
    lines = [line for line in bench.controller.log.past(MODEL) if "killed" in str(line)]
    assert "it was killed, exit status" in str(lines[-1])


async def test_a_hook_that_was_killed_once_is_no_error(bench: Bench):
    killed = bench.state / "killed"
    script = (
        f'test "$JUJU_HOOK_NAME" != start || test -e {killed} || {{ touch {killed}; exit 137; }}'
    )
    await bench.deploy(bench.charm("plain", script))
    await _until_due(bench)
    await bench.idle()
    assert bench.hooks("plain/0").count("start") == 2
    assert bench.unit("plain/0")["agent"]["again"] is None


async def test_a_hook_that_ended_with_its_pod_is_run_in_the_next_one_at_once(bench: Bench):
    gate = bench.state / "gate"
    script = f"""case $JUJU_HOOK_NAME in config-changed)
      while ! test -e {gate}; do sleep 0.02; done;; esac"""
    await bench.deploy(bench.charm("plain", script))
    for number in range(1, 5):  # more often than an error needs
        await bench.until(lambda n=number: bench.hooks("plain/0").count("config-changed") == n)
        bench.node.churn("plain-0")
    gate.touch()
    await bench.idle()
    assert bench.unit("plain/0")["agent"]["error"] is None
    assert "error" not in [row["status"] for row in bench.api.status_log(MODEL, "plain/0")]


async def test_stop_is_given_up_when_its_pod_cannot_be_used_any_more(bench: Bench):
    await bench.deploy(bench.charm("plain"))
    await bench.idle()
    before = bench.dispatches
    await bench.node.break_agent("plain-0")
    bench.node.terminate("plain-0")
    await bench.until(lambda: bench.unit("plain/0")["agent"]["stopped"])
    assert bench.dispatches == before + 1
    await bench.node.mend_agent("plain-0")
    bench.forget()
    bench.node.churn("plain-0")
    await bench.until(lambda: "start" in bench.hooks("plain/0"))
    await bench.idle()
    assert "stop" not in bench.hooks("plain/0")


async def test_a_pod_that_cannot_be_used_is_tried_less_and_less(bench: Bench):
    gate = bench.state / "gate"
    await bench.deploy(bench.charm("plain", f"while ! test -e {gate}; do sleep 0.02; done"))
    await bench.until(lambda: bench.hooks("plain/0") == ["install"])
    await bench.node.break_agent("plain-0")
    await _pass(bench, 60)
    assert bench.dispatches <= 8
    assert _shown(bench) == ("error", 'hook failed: "install"')
    gate.touch()
    await bench.node.mend_agent("plain-0")
    await _until_due(bench)
    await bench.idle()


async def test_a_mistake_of_the_engine_is_told_and_shown(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delattr(environment, "_PATH")
    await bench.deploy(bench.charm("plain"))
    await _pass(bench, 60)
    assert 3 <= bench.dispatches <= 8
    assert _shown(bench) == ("error", 'hook failed: "install"')
    assert "NameError" in caplog.text
    assert "Traceback" in caplog.text


async def test_a_clock_that_was_moved_stays_so_when_the_engine_starts_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    await bench.deploy(bench.charm("plain"))
    before = clock.now()
    bench.api.jump_clock(7200)
    monkeypatch.setattr(clock, "_offset", datetime.timedelta())  # a new process knows of no jump
    await bench.restart()
    assert clock.now() - before >= datetime.timedelta(hours=2)


async def test_what_a_hook_started_ends_with_the_tests(bench: Bench):
    """The bench's own promise: nothing is left behind, whatever a charm starts."""
    mark = f"sleep 7{uuid.uuid4().int % 10**8}"
    charm = bench.charm("plain", f'test "$JUJU_HOOK_NAME" != start || setsid {mark}')
    await bench.deploy(charm)
    await bench.until(lambda: _processes(mark))
    bench.node.churn("plain-0")
    await bench.until(lambda: len(_processes(mark)) == 1 and "start" in bench.hooks("plain/0")[-1])
    await bench.stop()
    assert _processes(mark) == []


def _processes(text: str) -> list[str]:
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if text == file.read_bytes().rstrip(b"\0").replace(b"\0", b" ").decode():
                found.append(file.parent.name)
    return found


async def test_stop_ends_though_an_agent_loses_its_cancellation(bench: Bench):
    """What a library may do to any of the agents' tasks."""
    gate = bench.state / "gate"
    await bench.deploy(bench.charm("plain", f"while ! test -e {gate}; do sleep 0.02; done"))
    await bench.until(lambda: bench.hooks("plain/0") == ["install"])
    group = bench.controller._running[MODEL, "plain"]
    worker, task = group["plain/0"]
    wrapped = asyncio.create_task(_once_deaf(task))
    group["plain/0"] = (worker, wrapped)
    await asyncio.sleep(0)
    await asyncio.wait_for(bench.stop(), 20)
    assert wrapped.done()


async def _once_deaf(task: asyncio.Task[None]) -> None:
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        try:
            await asyncio.sleep(60)
        finally:
            await end([task])
