"""The storage commands: what they show of a model, what they remove, what they refuse."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import jubilant
import pytest
import yaml

from localjuju.agent.statistics import Statistics
from localjuju.agent.tests.bench import pack
from localjuju.cli.__main__ import main
from localjuju.cli.status import size
from localjuju.model import applications, storage
from localjuju.model.api import Api
from localjuju.model.charm import CharmFolder
from localjuju.model.db import Database
from localjuju.model.errors import ModelError
from localjuju.model.logs import ModelLog
from localjuju.model.server import Server
from localjuju.model.substrate import Claim
from localjuju.model.tests.test_model import NoCluster

STORES = {
    "data": {"type": "filesystem", "location": "/data", "multiple": {"range": "1-3"}},
    "logs": {"type": "filesystem", "location": "/logs"},
}


class Claims(NoCluster):
    """A cluster that keeps nothing but what was asked of it."""

    def __init__(self) -> None:
        self.removed: list[str] = []
        self.made: dict[str, tuple[str, str, dict[str, str]]] = {}
        self.known: dict[str, Claim] = {}
        self.classes = {"fast": "disk.example", "local": "folder.example"}

    async def remove_claim(self, model: str, name: str) -> None:
        self.removed.append(f"{model}/{name}")

    async def storage_classes(self) -> dict[str, str]:
        return self.classes

    async def add_storage_class(
        self, model: str, name: str, provisioner: str, parameters: Mapping[str, str]
    ) -> None:
        self.made[name] = (model, provisioner, dict(parameters))

    async def claims(self, model: str) -> dict[str, Claim]:
        return self.known


class World:
    """A model whose units are told to have come and gone."""

    def __init__(self, folder: Path):
        self.folder, self.cluster = folder, Claims()
        self.db = Database(folder / "model.db")
        charms = CharmFolder(folder / "charms")
        self.api = Api(self.db, self.cluster, charms, lambda _: None, Statistics())  # type: ignore[arg-type]

    async def deploy(self, **more: Any) -> None:
        charm = pack(self.folder, "db", storage=STORES)
        await self.api.deploy("m", str(charm), **more)
        self.run()

    def run(self) -> None:
        """All units are installed and have their storage."""
        with self.db.transaction():
            self.db.run("UPDATE units SET agent = ?", {"installed": True})
            self.db.run("UPDATE storage SET attached = 1 WHERE unit != ''")

    def scale(self, count: int) -> None:
        self.api.scale("m", "db", count)
        with self.db.transaction():
            for row in self.db.all("SELECT name FROM units WHERE life = 'dying'"):
                applications.bury_unit(self.db, "m", row["name"])
        self.run()

    def remove(self, destroy_storage: bool) -> None:
        self.api.remove_application("m", "db", destroy_storage=destroy_storage)
        with self.db.transaction():
            for row in applications.units(self.db, "m", "db"):
                applications.bury_unit(self.db, "m", row["name"])
        applications.bury(self.db, "m", "db")

    def states(self) -> dict[str, str]:
        found = self.api.storage("m").get("storage", {})
        return {name: entry["status"]["current"] for name, entry in found.items()}


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    made = World(tmp_path)
    server = Server(tmp_path / "engine.sock", made.api, made.db, ModelLog(tmp_path / "log"))
    await server.start()
    monkeypatch.setattr("localkube.host.paths.state", lambda: tmp_path)
    await made.api.add_model("m")
    yield made
    await server.stop()
    made.db.close()


async def juju(*argv: str) -> int:
    """Runs a command beside the API; returns its exit code."""
    return await asyncio.to_thread(main, [argv[0], "-m", "m", *argv[1:]])


async def test_units_and_what_they_left_are_listed(
    world: World, capsys: pytest.CaptureFixture[str]
):
    await world.deploy(units=2, storage={"data": "fast,20G,1"})
    world.scale(1)
    assert await juju("storage") == 0
    assert capsys.readouterr().out.splitlines() == [
        "Unit  Storage ID  Type        Pool   Size     Status    Message",
        "      data/2      filesystem  fast   20 GiB   detached",
        "      logs/3      filesystem  local  1.0 GiB  detached",
        "db/0  data/0      filesystem  fast   20 GiB   attached",
        "db/0  logs/1      filesystem  local  1.0 GiB  attached",
    ]
    assert await juju("storage", "--filesystem", "logs/1", "logs/3") == 0
    assert capsys.readouterr().out.splitlines() == [
        "Unit  Storage ID  ID  Mountpoint  Size     State     Message",
        "      logs/3      3               1.0 GiB  detached",
        "db/0  logs/1      1   /logs       1.0 GiB  attached",
    ]
    assert await juju("status", "--storage") == 0
    assert "Storage Unit  Storage ID  Type        Pool   Mountpoint  Size " in (
        capsys.readouterr().out
    )
    status = jubilant.Status._from_dict(json.loads(json.dumps(world.api.status("m"))))
    assert status.storage.storage["data/2"].status.current == "detached"
    assert status.storage.storage["data/2"].attachments is None
    assert status.storage.filesystems["2"].pool == "fast"


async def test_one_instance_is_shown(world: World, capsys: pytest.CaptureFixture[str]):
    await world.deploy()
    assert await juju("show-storage", "logs/1", "data/0") == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert list(shown) == ["data/0", "logs/1"]
    assert shown["logs/1"]["kind"] == "filesystem"
    assert shown["logs/1"]["attachments"]["units"]["db/0"]["location"] == "/logs"
    assert await juju("show-storage", "logs/7") == 1
    assert capsys.readouterr().err == 'ERROR storage instance "logs/7" not found\n'
    assert await juju("show-storage", "logs") == 1
    assert capsys.readouterr().err == "ERROR invalid storage ID logs\n"


async def test_a_unit_of_the_same_name_gets_what_the_last_one_left(world: World):
    await world.deploy(units=2, storage={"data": "2"})
    there = world.api.storage("m")["storage"]
    world.scale(0)
    assert set(world.states().values()) == {"detached"}
    assert world.states().keys() == there.keys()
    world.api.scale("m", "db", 2)
    assert set(world.states().values()) == {"pending"}  # its hook has still to run
    world.run()
    again = world.api.storage("m")["storage"]
    assert {name: entry["attachments"] for name, entry in again.items()} == {
        name: entry["attachments"] for name, entry in there.items()
    }
    world.scale(3)
    assert set(world.states()) == there.keys() | {"data/6", "data/7", "logs/8"}


async def test_a_new_application_of_the_same_name_gets_it_too(world: World):
    await world.deploy()
    world.remove(destroy_storage=False)
    assert world.states() == {"data/0": "detached", "logs/1": "detached"}
    with pytest.raises(ModelError, match="it has persistent storage: use --destroy-storage"):
        world.api.destroy_model("m")
    await world.deploy()
    assert world.states() == {"data/0": "attached", "logs/1": "attached"}


async def test_nothing_is_left_of_what_is_destroyed(world: World):
    await world.deploy(units=2)
    world.scale(1)
    world.remove(destroy_storage=True)
    assert world.states() == {}
    assert world.db.all("SELECT * FROM detached") == []


async def test_a_unit_that_never_ran_leaves_nothing(world: World):
    await world.api.deploy("m", str(pack(world.folder, "db", storage=STORES)), units=2)
    world.api.scale("m", "db", 1)
    assert world.states() == {"data/0": "pending", "logs/1": "pending"}


async def test_an_instance_without_a_place_goes_with_its_unit(world: World):
    await world.deploy()
    row = applications.get(world.db, "m", "db")
    with world.db.transaction():
        storage.request(world.db, "m", "db/0", applications.charm_of(world.db, row), "data", 1)
    assert "data/2" in world.states()
    world.scale(0)
    assert world.states() == {"data/0": "detached", "logs/1": "detached"}


async def test_what_is_detached_can_be_removed(world: World, capsys: pytest.CaptureFixture[str]):
    await world.deploy(units=2, storage={"data": "3"})
    world.scale(1)
    assert await juju("remove-storage", "data/6", "data/0", "logs/7", "no/9") == 1
    assert capsys.readouterr().err.splitlines() == [
        "removing data/6",
        'failed to remove data/0: cannot destroy storage "data/0": storage is attached',
        "removing logs/7",
        'failed to remove no/9: cannot destroy storage "no/9": storage instance "no/9" not found',
    ]
    assert world.cluster.removed == ["m/db-data-2-db-1", "m/db-logs-db-1"]
    assert set(world.states()) == {"data/0", "data/1", "data/2", "logs/3", "data/4", "data/5"}
    assert await juju("remove-storage", "data/4") == 0
    world.scale(2)
    assert set(world.states()) == {
        "data/0", "data/1", "data/2", "logs/3", "data/5", "data/8", "data/9", "logs/10",
    }  # fmt: skip


async def test_a_removal_that_failed_is_done_again(world: World):
    await world.deploy()
    world.scale(0)

    async def away(model: str, name: str) -> None:
        raise OSError("no API server")

    world.cluster.remove_claim = away  # type: ignore[method-assign]
    with pytest.raises(OSError, match="no API server"):
        await world.api.remove_storage("m", "data/0")
    world.scale(1)
    assert set(world.states()) == {"data/0", "data/2", "logs/1"}
    assert world.api.storage("m")["storage"]["data/0"]["life"] == "dying"
    del world.cluster.remove_claim
    await world.api.remove_storage("m", "data/0")
    assert world.states() == {"data/2": "attached", "logs/1": "attached"}


async def test_pools_are_the_cluster_s_classes(world: World, capsys: pytest.CaptureFixture[str]):
    assert await juju("storage-pools") == 0
    assert capsys.readouterr().out.splitlines() == [
        "Name   Provider    Attributes",
        "fast   kubernetes  storage-class=fast storage-provisioner=disk.example",
        "local  kubernetes  storage-class=local storage-provisioner=folder.example",
    ]
    assert await juju("storage-pools", "--name", "fast,x", "--format", "json") == 0
    assert list(json.loads(capsys.readouterr().out)) == ["fast"]
    assert await juju("list-storage-pools", "--provider", "ebs") == 0
    assert capsys.readouterr().err == "No storage pools to display.\n"


async def test_a_pool_has_to_be_there(world: World):
    for directive in ("slow", "slow,1G", "1,slow"):
        with pytest.raises(ModelError, match=r'^pool "slow" not found$'):
            await world.deploy(storage={"data": directive})
    assert world.api.status("m")["applications"] == {}
    await world.deploy(storage={"data": "fast,2", "logs": "kubernetes,2G"})
    pools = world.api.storage("m")["filesystems"]
    assert [(entry["storage"], entry["pool"]) for entry in pools.values()] == [
        ("data/0", "fast"), ("data/1", "fast"), ("logs/2", "local"),
    ]  # fmt: skip


async def test_volumes_have_the_cluster_s_names(world: World, capsys: pytest.CaptureFixture[str]):
    await world.deploy(units=2, storage={"data": "2,1G"})
    world.scale(1)
    world.cluster.known = {
        "db-data-db-0": Claim("uid-0", "pvc-0"), "db-data-1-db-0": Claim("uid-1", "pvc-1"),
        "db-logs-db-0": Claim("uid-2", ""), "db-data-db-1": Claim("uid-3", "pvc-3"),
    }  # fmt: skip
    assert await juju("storage", "--volume") == 0
    assert capsys.readouterr().out.splitlines() == [
        "Unit  Storage ID  ID  Provider ID  Size     State     Message",
        "      data/3      3   pvc-3        1.0 GiB  detached",
        "      data/4      4                1.0 GiB  detached",
        "      logs/5      5                1.0 GiB  detached",
        "db/0  data/0      0   pvc-0        1.0 GiB  attached",
        "db/0  data/1      1   pvc-1        1.0 GiB  attached",
        "db/0  logs/2      2                1.0 GiB  attached",
    ]
    assert await juju("storage", "--volume", "--format", "json", "data/1") == 0
    volume = json.loads(capsys.readouterr().out)["volumes"]["1"]
    assert (volume["provider-id"], volume["persistent"]) == ("pvc-1", True)
    assert volume["attachments"]["containers"] == {"db/0": {"read-only": False, "life": "alive"}}
    assert await juju("storage", "--filesystem", "--format", "json", "logs/2") == 0
    system = json.loads(capsys.readouterr().out)["filesystems"]["2"]
    assert (system["provider-id"], system["volume"]) == ("uid-2", "2")


async def test_a_pool_is_made_used_changed_and_removed(
    world: World, capsys: pytest.CaptureFixture[str]
):
    assert (
        await juju("create-storage-pool", "quick", "storage-class=fast", "storage-mode=RWX") == 0
    )
    assert await juju("storage-pools", "--name", "quick") == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "quick  kubernetes  storage-class=fast storage-mode=RWX"
    ]
    await world.deploy(storage={"data": "quick,2G"})
    row = world.db.one("SELECT storage FROM applications")
    assert row is not None
    assert row["storage"]["data"] == {
        "size_mib": 2048, "count": 1, "pool": "quick", "class": "fast", "mode": "ReadWriteMany",
    }  # fmt: skip
    assert world.api.storage("m")["filesystems"]["0"]["pool"] == "quick"
    assert await juju("remove-storage-pool", "quick") == 1
    assert capsys.readouterr().err == 'ERROR storage pool "quick" in use\n'
    assert await juju("update-storage-pool", "quick", "storage-class=local") == 0
    assert (await world.api.storage_pools("m"))["quick"]["attrs"] == {"storage-class": "local"}
    world.remove(destroy_storage=True)
    assert await juju("remove-storage-pool", "quick") == 0
    assert "quick" not in await world.api.storage_pools("m")


async def test_a_pool_s_class_is_made_where_it_is_not_there(world: World):
    made = await juju("create-storage-pool", "gold", "kubernetes", "storage-class=best",
                      "storage-provisioner=disk.example", "parameters.type=ssd")  # fmt: skip
    assert made == 0
    await world.deploy(storage={"data": "gold"})
    assert world.cluster.made == {"m-best": ("m", "disk.example", {"type": "ssd"})}


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["create-storage-pool", "fast"], 'creating pool "fast": cannot overwrite existing'),
        (["create-storage-pool", "1st"], 'pool name "1st" not valid'),
        (["create-storage-pool", "a", "ebs"], 'storage provider "ebs" not found'),
        (["create-storage-pool", "a", "storage-provisioner=x"], "storage-class must be specified"),
        (["create-storage-pool", "a", "storage-mode=RWM"], 'storage mode "RWM" not supported'),
        (["update-storage-pool", "a", "storage-class=b"], 'storage pool "a" not found'),
        (["remove-storage-pool", "a"], 'storage pool "a" not found'),
    ],
)
async def test_a_pool_that_cannot_be(
    world: World, argv: list[str], line: str, capsys: pytest.CaptureFixture[str]
):
    assert await juju(*argv) == 1
    assert line in capsys.readouterr().err


async def test_a_pool_whose_class_is_nowhere_is_not_deployed_with(world: World):
    await world.api.create_storage_pool("m", "slow", "kubernetes", {"storage-class": "tape"})
    with pytest.raises(ModelError, match=r'^storage class "tape" not found$'):
        await world.deploy(storage={"data": "slow"})


async def test_nothing_is_told(world: World, capsys: pytest.CaptureFixture[str]):
    for option in ((), ("--filesystem",)):
        assert await juju("storage", *option) == 0
        assert capsys.readouterr() == ("", "No storage to display.\n")
        assert await juju("storage", *option, "--format", "json") == 0
        assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["detach-storage", "data/0"], 'Juju command "detach-storage" not supported on container'),
        (["attach-storage", "db/0", "data/0"], '"attach-storage" not supported on container'),
        (["add-storage", "db/0", "data=1"], '"add-storage" not supported on container models'),
        (["remove-storage", "--force", "data/0"], "forced detachment of storage on container"),
        (["remove-storage", "--no-destroy", "data/0"], "is not supported by localjuju"),
        (["add-unit", "db", "--attach-storage", "data/0"], "is not supported by localjuju"),
        (["add-unit", "db", "--to", "a"], "is not supported by localjuju"),
        (["storage", "--volume", "--filesystem"], "can not be used together"),
        (["storage", "data/0"], "specifying IDs only supported with --filesystem"),
        (["create-storage-pool", "a=b"], "requires names and provider type before"),
        (["create-storage-pool", "a", "b=c", "d"], 'expected "key=value", got "d"'),
        (["create-storage-pool", "a", "b=c", "b=d"], 'key "b" specified more than once'),
        (["update-storage-pool", "a"], "requires name and configuration attributes"),
    ],
)
def test_what_is_refused(argv: list[str], line: str, capsys: pytest.CaptureFixture[str]):
    assert main(argv) == 2
    assert line in capsys.readouterr().err


@pytest.mark.parametrize(
    ("mib", "text"),
    [(1, "1.0 MiB"), (512, "512 MiB"), (1024, "1.0 GiB"), (10240, "10 GiB"), (1536, "1.5 GiB"),
     (2**21, "2.0 TiB")],
)  # fmt: skip
def test_sizes_as_juju_tells_them(mib: int, text: str):
    assert size(mib) == text
