"""The charm container's agent and the engine: who may call, and what comes into a pod."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from localjuju.agent.hub import Hub, Tree
from localjuju.agent.tests.bench import MODEL, Bench, token_of

FOLDER = "/var/lib/juju/tree"


def _hub(bench: Bench) -> Hub:
    return bench.controller._hub


async def _pod(bench: Bench) -> str:
    """The uid of a pod whose agent has called."""
    await bench.deploy(bench.charm("plain"))
    await bench.idle()
    return bench.unit("plain/0")["agent"]["pod"]


def _inside(bench: Bench, path: str) -> Path:
    return bench.node.volume_path(MODEL, "plain-0", "charm-data") / path.lstrip("/")


def _print(lines: list[tuple[str, str]]) -> Callable[[str, str], None]:
    return lambda stream, line: lines.append((stream, line))


@pytest.mark.parametrize("given", [token_of("other-0"), "no token at all", ""])
async def test_a_pod_that_claims_to_be_another_is_refused(bench: Bench, given: str):
    uid = await _pod(bench)
    await bench.deploy(bench.charm("other"), "other")
    await bench.until(lambda: bench.hooks("other/0"))
    reader, writer = await bench.node.call(uid, given)
    assert json.loads(await reader.readline()) == {"error": "the token is not this pod's"}
    assert await reader.read() == b""
    writer.close()
    number = bench.api.exec(MODEL, "plain/0", "true")["task"]
    assert (await bench.finished(number))["status"] == "completed"  # its own agent works on


async def test_a_stream_that_nobody_waits_for_is_closed(bench: Bench):
    reader, writer = await asyncio.open_unix_connection(bench.state / "agent/agent.sock")
    writer.write(json.dumps({"stream": "guess"}).encode() + b"\n")
    assert await reader.read() == b""
    writer.close()


async def test_a_program_has_what_it_is_given_and_no_more(bench: Bench):
    uid = await _pod(bench)
    lines: list[tuple[str, str]] = []
    script = "read line || echo no input; echo $A; echo err >&2; pwd; exit 7"
    ended = await _hub(bench).exec(
        uid, ["/bin/bash", "-c", script], env={"A": "ä"}, cwd="/var/lib/juju",
        on_line=_print(lines),
    )  # fmt: skip
    assert ended.code == 7
    assert sorted(lines) == [
        ("stderr", "err\n"), ("stdout", "/var/lib/juju\n"), ("stdout", "no input\n"),
        ("stdout", "ä\n"),
    ]  # fmt: skip


@pytest.mark.parametrize(("script", "code"), [("kill -9 $$", 137), ("kill $$", 143)])
async def test_a_signal_is_told_as_128_and_its_number(bench: Bench, script: str, code: int):
    uid = await _pod(bench)
    ended = await _hub(bench).exec(
        uid, ["/bin/bash", "-c", script], env={}, cwd="/", on_line=_print([])
    )
    assert ended.code == code


async def test_a_program_that_cannot_be_started_is_an_error(bench: Bench):
    uid = await _pod(bench)
    with pytest.raises(OSError, match=r"cannot start \./none in /: no such file or directory"):
        await _hub(bench).exec(uid, ["./none"], env={}, cwd="/", on_line=_print([]))
    with pytest.raises(OSError, match="its agent is not connected"):
        await _hub(bench).exec("no-pod", ["./none"], env={}, cwd="/", on_line=_print([]))


async def test_what_is_cancelled_is_killed_with_what_it_started(bench: Bench):
    uid = await _pod(bench)
    gate = bench.state / "gate"
    # Whoever has the FIFO open for writing lives; the reader gets its end when all have ended.
    os.mkfifo(gate)
    descriptor = os.open(gate, os.O_RDONLY | os.O_NONBLOCK)
    lines: list[tuple[str, str]] = []
    script = f"exec 9>{gate}; sleep 1000 & echo begun; sleep 1000"
    running = asyncio.create_task(
        _hub(bench).exec(
            uid, ["/bin/bash", "-c", script], env={"PATH": "/usr/bin:/bin"}, cwd="/",
            on_line=_print(lines),
        )
    )  # fmt: skip
    await bench.until(lambda: lines)
    with pytest.raises(BlockingIOError):
        os.read(descriptor, 1)
    running.cancel()
    await asyncio.wait({running})

    def ended() -> bool:
        try:
            return os.read(descriptor, 1) == b""
        except BlockingIOError:
            return False

    await bench.until(ended)
    os.close(descriptor)


async def test_a_tree_replaces_the_one_before_and_leaves_the_charms_own_files(bench: Bench):
    uid = await _pod(bench)
    files = bench.state / "files"
    (files / "src").mkdir(parents=True)
    (files / "src/a.py").write_text("a")
    (files / "run").write_text("#!/bin/sh\n")
    (files / "run").chmod(0o755)
    (files / "link").symlink_to("src/a.py")
    await _hub(bench).install(uid, Tree({".": files, "note": b"text"}, FOLDER, "one"))
    put = _inside(bench, FOLDER)
    assert (put / "link").read_text() == "a"
    assert (put / "link").is_symlink()
    assert (put / "run").stat().st_mode & 0o777 == 0o755
    assert (put / "note").read_text() == "text"
    (put / ".unit-state.db").write_text("kept")
    await _hub(bench).install(uid, Tree({"src": files / "src"}, FOLDER, "two"))
    assert sorted(path.name for path in put.iterdir()) == [
        ".unit-state.db", ".unpacked.json", "src",
    ]  # fmt: skip
    assert (put / ".unit-state.db").read_text() == "kept"
    assert [path.name for path in put.parent.glob("tree*")] == ["tree"]


async def test_what_is_there_is_not_sent_again(bench: Bench):
    uid = await _pod(bench)
    await _hub(bench).install(uid, Tree({"a": b"1"}, FOLDER, "one"))
    (_inside(bench, FOLDER) / "a").write_text("changed by the charm")
    await _hub(bench).install(uid, Tree({"a": b"1"}, FOLDER, "one"))
    assert (_inside(bench, FOLDER) / "a").read_text() == "changed by the charm"
    assert await _hub(bench).holds(uid, FOLDER, "one")
    assert not await _hub(bench).holds(uid, FOLDER, "two")
    (_inside(bench, FOLDER) / "a").unlink()
    assert not await _hub(bench).holds(uid, FOLDER, "one")


async def test_a_tree_that_breaks_off_changes_nothing(bench: Bench):
    uid = await _pod(bench)
    await _hub(bench).install(uid, Tree({"a": b"1"}, FOLDER, "one"))
    with pytest.raises(OSError, match="No such file"):
        await _hub(bench).install(
            uid, Tree({"a": b"2", "b": bench.state / "none"}, FOLDER, "two")
        )  # fmt: skip
    assert (_inside(bench, FOLDER) / "a").read_text() == "1"


async def test_a_unit_waits_for_its_agent(bench: Bench):
    uid = await _pod(bench)
    bench.node.stop_agent("plain-0")
    bench.forget()
    await bench.until(lambda: not _hub(bench).connected(uid))
    number = bench.api.exec(MODEL, "plain/0", "true")["task"]
    assert bench.api.task(MODEL, number)["status"] == "pending"
    bench.node.start_agent("plain-0")
    assert (await bench.finished(number))["status"] == "completed"
