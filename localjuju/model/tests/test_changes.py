"""Waiting for changes gives way to others and can be cancelled; ending tasks ends."""

from __future__ import annotations

import asyncio
import logging

import pytest

from localjuju.model.changes import Changes, end, within


async def test_what_changed_since_one_looked_is_not_waited_for():
    changes = Changes()
    seen = changes.count
    changes.tell()
    await asyncio.wait_for(changes.after(seen), 5)


async def test_what_changed_before_one_looked_is_no_change():
    changes = Changes()
    changes.tell()
    waiting = asyncio.create_task(changes.after(changes.count))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not waiting.done()
    changes.tell()
    await asyncio.wait_for(waiting, 5)


async def test_time_ends_the_wait():
    changes = Changes()
    await asyncio.wait_for(changes.after(changes.count, 0), 5)


async def test_others_run_though_there_is_always_a_change():
    changes, others = Changes(), []

    async def restless() -> None:
        while not others:
            seen = changes.count
            changes.tell()
            await changes.after(seen)

    async def other() -> None:
        others.append("ran")

    await asyncio.wait_for(asyncio.gather(restless(), other()), 5)


async def test_a_cancellation_is_not_lost_to_a_change():
    changes = Changes()
    waiting = asyncio.create_task(changes.after(changes.count))
    await asyncio.sleep(0)
    changes.tell()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_task_that_loses_a_cancellation_is_asked_again():
    async def forgetful() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(60)

    task = asyncio.create_task(forgetful())
    await asyncio.sleep(0)
    await end([task], 0.3)
    assert task.cancelled()


async def test_a_task_that_will_not_end_is_told_and_left(caplog: pytest.LogCaptureFixture):
    gate = asyncio.Event()

    async def stubborn() -> None:
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                continue

    task = asyncio.create_task(stubborn(), name="unit m a/0")
    await asyncio.sleep(0)
    await end([task], 0.03)
    assert "unit m a/0 does not end" in caplog.text
    gate.set()
    await task


async def test_a_step_that_hangs_or_fails_is_given_up(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.ERROR)

    async def fails() -> None:
        raise ValueError("no")

    await within(0.01, asyncio.sleep(60), "the end of the API")
    await within(5, fails(), "the end of the watches")
    assert [record.message for record in caplog.records] == [
        "the end of the API took more than 0 s; given up",
        "the end of the watches failed",
    ]
