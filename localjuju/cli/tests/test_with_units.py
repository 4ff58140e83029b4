"""Commands against a model whose units run."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import pytest
import yaml

from localjuju.agent.tests.bench import MODEL, Bench
from localjuju.cli.__main__ import main


@pytest.fixture(autouse=True)
def _state(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localkube.host.paths.state", lambda: bench.state)
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


async def test_a_bundle_that_is_deployed_again_applies_what_changed(
    bench: Bench, capsys: pytest.CaptureFixture[str]
):
    await bench.api.add_model(MODEL)
    file = bench.state / "bundle.yaml"
    options = {"level": {"type": "string", "default": "info"}, "port": {"type": "int"}}

    async def deploy(charm: Path, **application: Any) -> str:
        web = {"charm": str(charm), **application}
        file.write_text(yaml.safe_dump({"bundle": "kubernetes", "applications": {"web": web}}))
        assert await juju("deploy", str(file), "--trust") == 0
        return capsys.readouterr().err

    first = bench.charm("web", options=options)
    await deploy(first, scale=1, options={"port": 80})
    await bench.idle()
    bench.api.set_config(MODEL, "web", {"level": "debug"})
    assert await deploy(first, scale=1, options={"port": 80}) == "No changes to apply.\n"
    second = bench.charm("web", "true", options=options)
    told = await deploy(second, scale=2, trust=True, options={"port": 81}, constraints="mem=64M")
    assert told.splitlines() == [
        "Executing changes:",
        "- upgrade web from local charm web",
        "- set application options for web: port 80 -> 81",
        "- set trust of web",
        "- scale web from 1 to 2 units",
        '- set constraints for web to "mem=64M"',
        "Deploy of bundle completed.",
    ]
    await bench.idle()
    shown = bench.api.config(MODEL, "web")
    assert shown["settings"]["port"]["value"] == 81
    assert shown["settings"]["level"]["value"] == "debug"  # the bundle does not name it
    assert shown["application-config"]["trust"]["value"] is True
    application = bench.api.status(MODEL)["applications"]["web"]
    assert (application["charm-rev"], application["scale"]) == (1, 2)
    # As on Juju: what the bundle does not say stays.
    assert await deploy(second, options={"port": 81}) == "No changes to apply.\n"


async def test_a_wrong_option_in_a_bundle_changes_nothing(
    bench: Bench, capsys: pytest.CaptureFixture[str]
):
    """The bundle is verified before the first step."""
    charm = bench.charm("web", options={"port": {"type": "int"}})
    await bench.deploy(charm)
    file = bench.state / "bundle.yaml"
    web = {"charm": str(charm), "scale": 3, "options": {"prot": 1}}
    file.write_text(yaml.safe_dump({"bundle": "kubernetes", "applications": {"plain": web}}))
    assert await juju("deploy", str(file)) == 1
    assert 'unknown option "prot"' in capsys.readouterr().err
    assert bench.api.status(MODEL)["applications"]["web"]["scale"] == 1


async def test_storage_outlives_its_unit_until_it_is_removed(
    bench: Bench, capsys: pytest.CaptureFixture[str]
):
    storage = {"data": {"type": "filesystem", "location": "/data"}}
    await bench.deploy(bench.charm("plain", storage=storage, containers={}), units=2)
    await bench.idle()
    bench.forget()
    for units in (1, 2, 1):
        assert await juju("scale-application", "plain", str(units)) == 0
        await bench.until(lambda: len(bench.api.status(MODEL)["applications"]["plain"]["units"])
                          == units)  # noqa: B023  # fmt: skip
        await bench.idle()
    hooks = [hook for hook in bench.hooks("plain/1") if "storage" in hook]
    assert hooks == ["data-storage-detaching", "data-storage-attached", "data-storage-detaching"]
    left = bench.api.storage(MODEL)["storage"]
    assert {name: entry["status"]["current"] for name, entry in left.items()} == {
        "data/0": "attached",
        "data/1": "detached",
    }
    capsys.readouterr()
    assert await juju("remove-storage", "data/0", "data/1") == 1
    assert capsys.readouterr().err.splitlines()[-1] == "removing data/1"
    assert list(bench.api.storage(MODEL)["storage"]) == ["data/0"]


async def test_a_charm_is_deployed_by_its_name_in_charmhub(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    image = {"type": "oci-image", "upstream-source": "docker.io/library/web:1"}
    packed = bench.charm(
        "web", containers={"web": {"resource": "image"}}, resources={"image": image}
    )
    packed.rename(tmp_path / "web_amd64.charm")
    monkeypatch.setenv("LOCALJUJU_CHARMS", str(tmp_path))
    assert await juju("add-model", MODEL) == 0
    assert await juju("deploy", "web", "site", "--channel", "latest/edge") == 0
    row = bench.controller.db.one("SELECT * FROM applications WHERE name = 'site'")
    assert row is not None
    assert row["resources"] == {"image": "docker.io/library/web:1"}
