"""A model as a bundle, and the same model again from it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from localjuju.agent.statistics import Statistics
from localjuju.agent.tests.bench import pack
from localjuju.cli.__main__ import main
from localjuju.model.api import Api
from localjuju.model.charm import CharmFolder
from localjuju.model.db import Database
from localjuju.model.logs import ModelLog
from localjuju.model.server import Server
from localjuju.model.tests.test_model import NoCluster

SQL = {"interface": "sql"}


class Pools(NoCluster):
    """A cluster with one StorageClass besides the default one."""

    async def storage_classes(self) -> dict[str, str]:
        return {"fast": "disk.example"}


@pytest.fixture
async def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    """The API with its socket; the models `one` and `two`, and no cluster."""
    db = Database(tmp_path / "model.db")
    folder = CharmFolder(tmp_path / "charms")
    made = Api(db, Pools(), folder, lambda _: None, Statistics())  # type: ignore[arg-type]
    server = Server(tmp_path / "engine.sock", made, db, ModelLog(tmp_path / "log"))
    await server.start()
    monkeypatch.setattr("localkube.host.paths.state", lambda: tmp_path)
    monkeypatch.chdir(tmp_path)
    for model in ("one", "two"):
        await made.add_model(model)
    yield made
    await server.stop()
    db.close()


async def juju(*argv: str) -> int:
    """Runs a command beside the API; returns its exit code."""
    return await asyncio.to_thread(main, list(argv))


async def _fill(api: Api, folder: Path, model: str) -> None:
    """store is offered, and a second store of another model is consumed."""
    files = folder / "files"
    store = pack(
        files, "store", provides={"db": SQL, "metrics": {"interface": "m"}},
        peers={"cluster": {"interface": "c"}},
        resources={"image": {"type": "oci-image"}, "seed": {"type": "file"}},
        storage={
            "data": {"type": "filesystem", "multiple": {"range": "1-3"}},
            "logs": {"type": "filesystem", "location": "/logs"},
            "spare": {"type": "filesystem", "multiple": {"range": "0+"}},
        },
    )  # fmt: skip
    options = {
        "text": {"type": "string", "default": "a"}, "number": {"type": "int", "default": 1},
        "ratio": {"type": "float"}, "on": {"type": "boolean", "default": True},
    }  # fmt: skip
    web = pack(files, "web", options=options,
               requires={"db": SQL, "second": SQL, "other": {"interface": "m"}})  # fmt: skip
    (folder / "seed").write_text("x")
    await api.deploy(
        model, str(store), "store", units=2, trust=True, constraints="mem=1G",
        resources={"image": "docker.io/library/mariadb:10", "seed": str(folder / "seed")},
        storage={"data": "fast,2G,3"},
    )  # fmt: skip
    await api.deploy(
        model, str(web), "front",
        config={"text": "a: 5\n\ttab\n", "number": "7", "ratio": "0.5", "on": "false"},
    )  # fmt: skip
    await api.deploy(model, str(web), "idle", config={"text": "007"}, units=0)
    await api.add_model("elsewhere")
    await api.deploy("elsewhere", str(pack(files, "far", provides={"db": SQL})), "far")
    api.offer("elsewhere", "far", ["db"], "sql")
    api.consume(model, "elsewhere.sql", "archive")
    api.offer(model, "store", ["metrics", "db"], "shop")
    api.integrate(model, "front:db", "store")
    api.integrate(model, "front:second", "archive")
    api.integrate(model, "idle:db", "store")


def _documents(text: str) -> list[Any]:
    return list(yaml.safe_load_all(text))


async def _export(model: str, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    capsys.readouterr()
    assert await juju("export-bundle", "-m", model, *more) == 0
    said = capsys.readouterr()
    assert said.err == ""
    return said.out


async def test_a_bundle_has_all_that_was_said_of_the_model(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    await _fill(api, tmp_path, "one")
    text = await _export("one", capsys)
    assert "\n--- # overlay.yaml\n" in text
    bundle, overlay = _documents(text)
    assert list(bundle) == ["bundle", "saas", "applications", "relations"]
    assert bundle["bundle"] == "kubernetes"
    assert bundle["saas"] == {"archive": {"url": "admin/elsewhere.sql"}}
    assert bundle["relations"] == [
        ["front:db", "store:db"], ["front:second", "archive:db"], ["idle:db", "store:db"],
    ]  # fmt: skip
    store, front = bundle["applications"]["store"], bundle["applications"]["front"]
    assert Path(store.pop("charm")).name.startswith("store-")
    assert store == {
        "scale": 2,
        "trust": True,
        "constraints": "mem=1G",
        "resources": {
            "image": "docker.io/library/mariadb:10", "seed": str(tmp_path / "seed"),
        },
        "storage": {"data": "fast,3,2048M", "logs": "1,1024M"},
    }  # fmt: skip
    assert front["options"] == {"text": "a: 5\n\ttab\n", "number": 7, "ratio": 0.5, "on": False}
    offer = {"endpoints": ["db", "metrics"], "acl": {"admin": "admin"}}
    assert overlay == {"applications": {"store": {"offers": {"shop": offer}}}}


async def test_deploying_the_file_gives_the_same_model(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    await _fill(api, tmp_path, "one")
    first = await _export("one", capsys)
    assert await _export("one", capsys, "--filename", "b.yaml") == (
        "Bundle successfully exported to b.yaml\n"
    )
    assert Path("b.yaml").read_text() == first
    assert await juju("deploy", "-m", "two", "./b.yaml", "--trust", "--dry-run") == 0
    assert not api.status("two")["applications"]
    assert await juju("deploy", "-m", "two", "./b.yaml", "--trust") == 0
    told = capsys.readouterr().err
    assert "- create offer shop using store:db,metrics\n" in told
    assert "- consume offer archive at admin/elsewhere.sql\n" in told
    assert await _export("two", capsys) == first
    for model in ("one", "two"):
        assert await juju("deploy", "-m", model, "./b.yaml", "--trust") == 0
        assert capsys.readouterr().err == "No changes to apply.\n"


async def test_an_offer_of_a_bundle_gets_its_endpoints(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    await _fill(api, tmp_path, "one")
    await _export("one", capsys, "--filename", "b.yaml")
    api.offer("one", "store", ["db"], "shop")
    assert await juju("deploy", "-m", "one", "./b.yaml", "--trust") == 0
    assert "- update offer shop using store:db,metrics\n" in capsys.readouterr().err
    assert set(api.offers("one")["shop"]["endpoints"]) == {"db", "metrics"}


async def test_the_defaults_on_request(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    await _fill(api, tmp_path, "one")
    (bundle, _) = _documents(await _export("one", capsys, "--include-charm-defaults"))
    assert bundle["applications"]["idle"]["options"] == {"text": "007", "number": 1, "on": True}


async def test_what_goes_is_not_exported(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    await _fill(api, tmp_path, "one")
    api.remove_application("one", "idle")
    (bundle, _) = _documents(await _export("one", capsys))
    assert set(bundle["applications"]) == {"front", "store"}
    assert ["idle:db", "store:db"] not in bundle["relations"]


async def test_the_offering_model_knows_nothing_of_who_consumes(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    await _fill(api, tmp_path, "one")
    bundle, overlay = _documents(await _export("elsewhere", capsys))
    assert set(bundle) == {"bundle", "applications"}
    assert list(overlay["applications"]) == ["far"]


async def test_a_charm_that_changed_is_told(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    first, second = (pack(tmp_path, "plain", script=text) for text in ("true", ":"))
    await api.deploy("one", str(first))
    await api.refresh("one", "plain", str(second))
    (bundle,) = _documents(await _export("one", capsys))
    assert bundle["applications"]["plain"] == {"charm": str(second), "scale": 1}
    second.write_bytes(first.read_bytes())
    assert await juju("export-bundle", "-m", "one") == 0
    assert capsys.readouterr().err == (
        f"WARNING {second} is no longer the charm that plain runs\n"
    )
    second.unlink()
    assert await juju("export-bundle", "-m", "one") == 0
    assert capsys.readouterr().err == f'WARNING plain: no charm was found at "{second}"\n'


async def test_an_empty_model_has_no_bundle(api: Api, capsys: pytest.CaptureFixture[str]):
    assert await juju("export-bundle", "-m", "one") == 1
    assert capsys.readouterr().err == ("ERROR nothing to export as there are no applications\n")
    assert await juju("export-bundle", "-m", "nowhere") == 1
    assert 'model "nowhere" not found' in capsys.readouterr().err


async def test_a_file_that_cannot_be_written_is_one_line(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    await api.deploy("one", str(pack(tmp_path, "plain")))
    assert await juju("export-bundle", "-m", "one", "--filename", "no/b.yaml") == 1
    assert capsys.readouterr().err.startswith("ERROR while creating local file: ")
