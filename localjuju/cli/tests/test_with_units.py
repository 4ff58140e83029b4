"""Commands against a model whose units run."""

from __future__ import annotations

import asyncio
import io

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


@pytest.mark.parametrize("answer", ["", "n\n"])
async def test_removal_asks_and_no_answer_is_a_no(
    bench: Bench, answer: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    storage = {"data": {"type": "filesystem", "location": "/data"}}
    await bench.deploy(bench.charm("plain", storage=storage, containers={}), units=2)
    await bench.idle()
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    assert await juju("remove-application", "plain") == 1
    lines = capsys.readouterr().err.replace("]? ERROR", "]? \nERROR").splitlines()
    assert lines == [
        "WARNING This command will perform the following actions:",
        "will remove application plain",
        "- will remove unit plain/0",
        "- will remove unit plain/1",
        "- will detach storage data/0",
        "- will detach storage data/1",
        "",
        "Continue [y/N]? ",
        "ERROR aborted; --no-prompt does not ask",
    ]
    assert await juju("remove-unit", "plain", "--num-units", "1") == 1
    assert "will remove unit plain/1\n" in capsys.readouterr().err
    assert bench.api.status(MODEL)["applications"]["plain"]["scale"] == 2


async def test_removal_goes_on_with_a_yes_or_without_asking(
    bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    await bench.deploy(bench.charm("plain"), units=2)
    await bench.idle()
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert await juju("remove-unit", "plain", "--num-units", "1") == 0
    await bench.until(lambda: bench.api.status(MODEL)["applications"]["plain"]["scale"] == 1)
    capsys.readouterr()
    assert await juju("remove-application", "plain", "--no-prompt") == 0
    assert "Continue" not in capsys.readouterr().err
    await bench.until(lambda: not bench.api.status(MODEL)["applications"])


async def test_removal_of_what_is_not_there_asks_nothing(
    bench: Bench, capsys: pytest.CaptureFixture[str]
):
    await bench.deploy(bench.charm("plain"))
    assert await juju("remove-application", "nosuch") == 1
    assert capsys.readouterr().err == 'ERROR application "nosuch" not found\n'


async def test_a_status_that_nothing_matches_says_so(
    bench: Bench, capsys: pytest.CaptureFixture[str]
):
    await bench.deploy(bench.charm("plain"))
    assert await juju("status", "nosuch") == 0
    told = capsys.readouterr()
    assert told.err == "Nothing matched specified filter.\n"
    assert "is empty" not in told.out
