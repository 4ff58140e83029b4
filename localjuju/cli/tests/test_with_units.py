"""Commands against a model whose units run."""

from __future__ import annotations

import asyncio

import pytest

from localjuju.agent.tests.bench import MODEL, Bench
from localjuju.cli.__main__ import main


@pytest.fixture(autouse=True)
def _state(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localjuju.paths.state", lambda: bench.state)
    monkeypatch.setenv("JUJU_MODEL", MODEL)


async def juju(*argv: str) -> int:
    """Runs a command beside the engine; returns its exit code."""
    return await asyncio.to_thread(main, list(argv))


@pytest.mark.parametrize(("command", "code"), [("true", 0), ("false", 1), ("exit 4", 1)])
async def test_exec_fails_with_its_command(
    bench: Bench, capsys: pytest.CaptureFixture[str], command: str, code: int
):
    await bench.deploy(bench.charm("plain"))
    await bench.idle()
    assert await juju("exec", "--unit", "plain/0", "--", command) == code
    assert ("the following task failed" in capsys.readouterr().err) == bool(code)
