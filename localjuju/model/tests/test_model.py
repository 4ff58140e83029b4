"""Requests as the API takes them: what is refused, and in which words."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import zipfile
from pathlib import Path
from typing import Any

import aiohttp
import jubilant
import pytest

from localjuju.agent.statistics import Statistics
from localjuju.agent.tests.bench import pack
from localjuju.model import (
    applications,
    charm,
    models,
    relations,
    secrets,
    statuses,
    storage,
    tasks,
)
from localjuju.model.api import Api
from localjuju.model.charm import CharmFolder
from localjuju.model.db import Database
from localjuju.model.errors import ModelError
from localjuju.model.logs import ModelLog
from localjuju.model.server import Server
from localkube.host.errors import EngineError


class NoCluster:
    """An empty cluster: requests do not wait for it."""

    def __getattr__(self, name: str) -> Any:
        async def nothing(*_: Any) -> None: ...

        return nothing

    def pod(self, model: str, name: str) -> None:
        return None

    def address(self, model: str, application: str) -> str:
        return ""


@pytest.fixture
def db(tmp_path: Path):
    made = Database(tmp_path / "model.db")
    yield made
    made.close()


@pytest.fixture
async def api(tmp_path: Path, db: Database) -> Api:
    folder = CharmFolder(tmp_path / "charms")
    made = Api(db, NoCluster(), folder, lambda _: None, Statistics())  # type: ignore[arg-type]
    await made.add_model("m")
    return made


async def _deploy(api: Api, folder: Path, name: str, **more: Any) -> None:
    deployed = more.pop("deployed", {})
    await api.deploy("m", str(pack(folder, name, **more)), **deployed)


SQL = {"interface": "sql"}


async def test_status_is_what_jubilant_reads(api: Api, tmp_path: Path):
    await _deploy(
        api, tmp_path, "giver", provides={"db": SQL}, peers={"cluster": {"interface": "c"}},
        storage={"data": {"type": "filesystem", "location": "/data"}},
    )  # fmt: skip
    await _deploy(api, tmp_path, "taker", requires={"store": SQL}, deployed={"units": 2})
    api.integrate("m", "taker", "giver")
    status = jubilant.Status._from_dict(json.loads(json.dumps(api.status("m"))))
    assert (status.model.name, status.model.type, status.model.version) == ("m", "caas", "3.6.27")
    taker = status.apps["taker"]
    assert (taker.charm, taker.charm_origin, taker.scale) == ("local:taker-0", "local", 2)
    assert taker.app_status.current == "waiting"
    assert taker.relations["store"][0].related_app == "giver"
    assert set(taker.units) == {"taker/0", "taker/1"}
    assert taker.units["taker/0"].leader
    assert taker.units["taker/1"].juju_status.current == "allocating"
    assert taker.units["taker/1"].workload_status.message == "installing agent"
    assert status.apps["giver"].relations["cluster"][0].related_app == "giver"
    assert status.storage.storage["data/0"].kind == "filesystem"
    assert not jubilant.all_active(status)


@pytest.mark.parametrize(
    "values, message",
    [
        ({"nope": "1"}, 'unknown option "nope"'),
        ({"port": "many"}, 'option "port" expected int, got "many"'),
        ({"on": "maybe"}, 'option "on" expected boolean, got "maybe"'),
        ({"key": "plain text"}, 'option "key" expected secret, got "plain text"'),
        ({"ratio": "a"}, 'option "ratio" expected float, got "a"'),
    ],
)
async def test_wrong_config(api: Api, tmp_path: Path, values: dict[str, str], message: str):
    options = {
        "port": {"type": "int"}, "on": {"type": "boolean"}, "key": {"type": "secret"},
        "ratio": {"type": "float"},
    }  # fmt: skip
    await _deploy(api, tmp_path, "plain", options=options)
    with pytest.raises(ModelError) as error:
        api.set_config("m", "plain", values)
    assert str(error.value) == message


async def test_config_shows_where_a_value_comes_from(api: Api, tmp_path: Path):
    options = {
        "port": {"type": "int", "default": 80, "description": "Where."}, "name": {"type": "string"}
    }  # fmt: skip
    await _deploy(api, tmp_path, "plain", options=options)
    api.set_config("m", "plain", {"port": "81"})
    settings = api.config("m", "plain")["settings"]
    assert settings["port"] == {
        "default": 80, "description": "Where.", "source": "user", "type": "int", "value": 81,
    }  # fmt: skip
    assert settings["name"] == {"description": "", "source": "unset", "type": "string"}
    api.set_config("m", "plain", reset=["port"])
    assert api.config("m", "plain")["settings"]["port"]["value"] == 80


async def test_integrate_finds_the_one_pair(api: Api, tmp_path: Path):
    await _deploy(api, tmp_path, "giver", provides={"db": SQL, "web": {"interface": "http"}})
    await _deploy(api, tmp_path, "taker", requires={"store": SQL})
    assert api.integrate("m", "giver", "taker")["key"] == "taker:store giver:db"


@pytest.mark.parametrize(
    "a, b, message",
    [
        ("giver", "other", "no relations found"),
        ("giver", "nobody", 'application "nobody" not found'),
        ("giver:nope", "taker", 'application "giver" has no "nope" relation'),
        (
            "taker", "giver",
            'ambiguous relation: "taker giver" could refer to "taker:cache giver:db"; '
            '"taker:store giver:db"',
        ),
        (
            "two:store", "giver",
            'cannot add relation "two:store giver:db": establishing a new relation for giver:db '
            "would exceed its maximum relation limit of 1",
        ),
    ],
)  # fmt: skip
async def test_integrate_refusals(api: Api, tmp_path: Path, a: str, b: str, message: str):
    await _deploy(api, tmp_path, "giver", provides={"db": {**SQL, "limit": 1}})
    await _deploy(api, tmp_path, "taker", requires={"store": SQL, "cache": SQL})
    await _deploy(api, tmp_path, "two", requires={"store": SQL})
    await _deploy(api, tmp_path, "other", requires={"x": {"interface": "y"}})
    if a == "two:store":
        api.integrate("m", "taker:store", "giver")
    with pytest.raises(ModelError) as error:
        api.integrate("m", a, b)
    assert str(error.value) == message


async def test_integrate_twice(api: Api, tmp_path: Path):
    await _deploy(api, tmp_path, "giver", provides={"db": SQL})
    await _deploy(api, tmp_path, "taker", requires={"store": SQL})
    api.integrate("m", "taker", "giver")
    with pytest.raises(ModelError, match="relation taker:store giver:db already exists"):
        api.integrate("m", "giver", "taker")


@pytest.mark.parametrize(
    "metadata, deployed, message",
    [
        ({"resources": {"image": {"type": "oci-image"}}}, {}, "missing OCI images for: image"),
        ({}, {"resources": {"a": "b"}}, 'unrecognized resource "a"'),
        ({}, {"application": "Bad_Name"}, 'invalid application name "Bad_Name"'),
        ({}, {"storage": {"a": "1G"}}, 'charm "plain" has no store called "a"'),
        ({}, {"constraints": "mem"}, 'malformed constraint "mem"'),
        ({"containers": {"web": {"resource": "image"}}}, {}, "of type oci-image"),
        ({"provides": {"db": {}}}, {}, 'relation "db" has no interface'),
    ],
)
async def test_deploy_refusals(
    api: Api, tmp_path: Path, metadata: dict[str, Any], deployed: dict[str, Any], message: str
):
    with pytest.raises(ModelError, match=message):
        await _deploy(api, tmp_path, "plain", **metadata, deployed=deployed)
    assert api.status("m")["applications"] == {}


async def test_what_is_no_charm(tmp_path: Path):
    with pytest.raises(ModelError, match="no charm was found"):
        charm.read(tmp_path / "none.charm")
    text = tmp_path / "text.charm"
    text.write_text("no zip")
    with pytest.raises(ModelError, match="cannot read charm"):
        charm.read(text)
    with zipfile.ZipFile(tmp_path / "bare.charm", "w") as archive:
        archive.writestr("metadata.yaml", "name: bare")
    with pytest.raises(ModelError, match="has no dispatch"):
        charm.read(tmp_path / "bare.charm")


def test_a_charm_cannot_write_outside_its_folder(tmp_path: Path):
    path = pack(tmp_path, "plain")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../../escaped", "x")
    with pytest.raises(ModelError, match="outside its folder"):
        CharmFolder(tmp_path / "a" / "charms").keep(charm.read(path), path)
    assert not (tmp_path / "escaped").exists()


@pytest.mark.parametrize("text, mib", [("1G", 1024), ("512M", 512), ("1.5GiB", 1536), ("3", 3)])
def test_sizes(text: str, mib: int):
    assert storage.mib(text) == mib


@pytest.mark.parametrize("text, seconds", [("5m", 300), ("1h30m", 5400), ("10s", 10)])
def test_durations(text: str, seconds: float):
    assert models.seconds(text) == seconds
    with pytest.raises(ModelError, match="invalid duration"):
        models.seconds("soon")


async def test_refresh_refuses_another_charm_or_a_lost_endpoint(api: Api, tmp_path: Path):
    await _deploy(api, tmp_path, "giver", provides={"db": SQL})
    await _deploy(api, tmp_path, "taker", requires={"store": SQL})
    api.integrate("m", "taker", "giver")
    with pytest.raises(ModelError, match='to charm "other": it is "giver"'):
        await api.refresh("m", "giver", str(pack(tmp_path, "other")))
    with pytest.raises(ModelError, match='would break relation "taker:store giver:db"'):
        await api.refresh("m", "giver", str(pack(tmp_path, "giver")))


async def test_a_transaction_is_all_or_nothing(api: Api, db: Database, tmp_path: Path):
    await _deploy(api, tmp_path, "plain")
    with pytest.raises(RuntimeError), db.transaction():  # noqa: PT012
        db.run("UPDATE applications SET version = '9'")
        with db.transaction():
            db.run("DELETE FROM units")
        raise RuntimeError
    assert api.status("m")["applications"]["plain"]["scale"] == 1
    assert "version" not in api.status("m")["applications"]["plain"]
    assert oct((tmp_path / "model.db").stat().st_mode & 0o777) == "0o600"


async def test_an_inner_transaction_that_failed_leaves_nothing(api: Api, db: Database):
    with db.transaction():
        db.run("UPDATE models SET next_task = 40")
        with pytest.raises(RuntimeError), db.transaction():  # noqa: PT012
            db.run("UPDATE models SET next_task = 50")
            raise RuntimeError
    row = db.one("SELECT next_task FROM models")
    assert row == {"next_task": 40}


async def test_a_commit_that_fails_leaves_the_database_usable(api: Api, db: Database):
    """A deferred constraint fails in the COMMIT, as a full disk does."""
    with pytest.raises(sqlite3.IntegrityError), db.transaction():  # noqa: PT012
        db.run("PRAGMA defer_foreign_keys=ON")
        db.insert("secret_grants", secret="none", target="plain")
    with db.transaction():
        db.run("UPDATE models SET next_task = 60")
    assert db.one("SELECT next_task FROM models") == {"next_task": 60}


def test_a_database_of_another_version_is_not_opened(tmp_path: Path):
    path = tmp_path / "model.db"
    Database(path).close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version=99")
    with pytest.raises(EngineError, match=r"another version of the engine \(99, this one reads"):
        Database(path)


def test_parameters_get_their_defaults():
    schema = {"params": {"a": {"type": "string", "default": "x"}, "b": {"type": "number"}}}
    assert tasks.checked(schema, {"b": 1}) == {"a": "x", "b": 1}
    with pytest.raises(ModelError, match="must be of type number"):
        tasks.checked(schema, {"b": True})


_SCHEMA = {
    "params": {
        "kind": {"type": "string", "enum": ["full", "fast"]},
        "keep": {"type": "integer", "minimum": 1},
        "names": {"type": "array", "items": {"type": "string"}},
        "where": {"type": "object", "properties": {"port": {"type": "integer", "default": 80}}},
    }
}


@pytest.mark.parametrize(
    "given, message",
    [
        ({"kind": "slow"}, r"\(root\)\.kind : 'slow' is not one of \['full', 'fast'\]"),
        ({"keep": 0}, r"\(root\)\.keep : 0 is less than the minimum of 1"),
        ({"names": ["a", 1]}, r"\(root\)\.names\.1 : must be of type string, given 1"),
        ({"where": {"port": "x"}}, r"\(root\)\.where\.port : must be of type integer"),
        ({"kind": "slow", "keep": 0}, r"kind : .*; \(root\)\.keep : |keep : .*; \(root\)\.kind"),
    ],
)
def test_the_whole_schema_of_an_action_is_checked(given: dict[str, Any], message: str):
    with pytest.raises(ModelError, match=f"validation failed: .*{message}"):
        tasks.checked(_SCHEMA, given)


def test_defaults_within_objects():
    assert tasks.checked(_SCHEMA, {}) == {"where": {"port": 80}}
    assert tasks.checked(_SCHEMA, {"where": {"port": 1}}) == {"where": {"port": 1}}


@pytest.mark.parametrize("params", [{"a": {"type": "text"}}, {"a": {"minimum": "x"}}])
def test_a_schema_that_is_none_is_told(params: dict[str, Any]):
    with pytest.raises(ModelError, match="the charm's schema of the action is not valid"):
        tasks.checked({"params": params}, {"a": 1})


async def test_user_secrets(api: Api, tmp_path: Path):
    with pytest.raises(ModelError, match='key "A" not valid'):
        api.add_secret("m", "s", {"A": "1"})
    uri = api.add_secret("m", "s", {"token": "1"}, "mine")
    with pytest.raises(ModelError, match='secret with name "s" already exists'):
        api.add_secret("m", "s", {"token": "1"})
    with pytest.raises(ModelError, match='application "nobody" not found'):
        api.grant_secret("m", "s", "nobody")
    api.update_secret("m", uri, {"token": "2"})
    identity = uri.removeprefix("secret:")
    described = api.show_secret("m", uri, reveal=True, revisions=True)
    parsed = jubilant.RevealedSecret._from_dict({"uri": identity, **described[identity]})
    assert (parsed.revision, parsed.name, parsed.description) == (2, "s", "mine")
    assert parsed.content == {"token": "2"}
    assert [r["revision"] for r in described[identity]["revisions"]] == [1, 2]
    api.remove_secret("m", "s")
    assert api.secrets("m") == {}


async def test_who_may_read_a_secret_is_told_with_tags(api: Api, db: Database, tmp_path: Path):
    await _deploy(api, tmp_path, "plain", provides={"db": SQL})
    await _deploy(api, tmp_path, "taker", requires={"store": SQL})
    api.integrate("m", "plain", "taker")
    uri = api.add_secret("m", "s", {"token": "1"})
    api.grant_secret("m", "s", "plain")
    identity = uri.removeprefix("secret:")
    with db.transaction():
        secrets.grant(db, identity, "taker", 0)
    access = api.show_secret("m", "s")[identity]["access"]
    model = f"model-{models.get(db, 'm')['uuid']}"
    assert [(a["target"], a["scope"]) for a in access] == [
        ("application-plain", model),
        ("application-taker", "relation-taker.store#plain.db"),
    ]


async def test_a_failed_hook_of_a_relation_says_with_whom(api: Api, db: Database, tmp_path: Path):
    await _deploy(api, tmp_path, "plain", provides={"db": SQL}, peers={"all": {"interface": "a"}})
    await _deploy(api, tmp_path, "taker", requires={"store": SQL})
    api.integrate("m", "plain", "taker")
    numbers = {bool(row["peer"]): row["id"] for row in relations.of(db, "m", "plain")}

    def shown(number: int) -> str:
        statuses.set_agent(db, "m", "plain/0", "idle")
        text = 'hook failed: "x-relation-changed"'
        statuses.set_agent(db, "m", "plain/0", "error", text, {"relation-id": number})
        unit = api.status("m")["applications"]["plain"]["units"]["plain/0"]
        return unit["workload-status"]["message"].removeprefix(text)

    assert shown(numbers[False]) == " for taker:store"
    assert shown(numbers[True]) == ""


async def test_show_unit_has_the_version_of_the_workload(api: Api, db: Database, tmp_path: Path):
    await _deploy(api, tmp_path, "plain")
    assert "workload-version" not in api.show_unit("m", "plain/0")["plain/0"]
    with db.transaction():
        db.run("UPDATE applications SET version = '1.2' WHERE name = 'plain'")
    assert api.show_unit("m", "plain/0")["plain/0"]["workload-version"] == "1.2"


async def test_trust_is_configuration_and_a_secret_may_be_unset(
    api: Api, db: Database, tmp_path: Path
):
    await _deploy(api, tmp_path, "plain", options={"key": {"type": "secret"}})
    api.set_config("m", "plain", {"trust": "true", "key": ""})
    assert api.config("m", "plain")["application-config"]["trust"]["value"] is True
    assert api.config("m", "plain")["settings"]["key"]["value"] == ""
    api.set_config("m", "plain", {}, ["trust"])
    assert api.config("m", "plain")["application-config"]["trust"]["value"] is False
    with pytest.raises(ModelError, match='option "trust" expected boolean, got "maybe"'):
        api.set_config("m", "plain", {"trust": "maybe"})
    with pytest.raises(ModelError, match='option "key" expected secret, got "mine"'):
        api.set_config("m", "plain", {"key": "mine"})


async def test_peers_end_with_their_application(api: Api, db: Database, tmp_path: Path):
    await _deploy(api, tmp_path, "plain", peers={"cluster": {"interface": "c"}})
    api.remove_application("m", "plain")
    assert [row["life"] for row in relations.of(db, "m", "plain")] == ["alive"]
    assert api.status("m")["applications"]["plain"]["life"] == "dying"
    assert "units" not in api.status("m")["applications"]["plain"]  # none was ever installed


async def test_server(api: Api, db: Database, tmp_path: Path):
    log = ModelLog(tmp_path / "log")
    log.write("m", "unit-plain-0", "INFO", "juju.worker", "hello")
    server = Server(tmp_path / "engine.sock", api, db, log)
    await server.start()
    connector = aiohttp.UnixConnector(str(tmp_path / "engine.sock"))
    async with aiohttp.ClientSession("http://engine", connector=connector) as session:

        async def call(method: str, **params: Any) -> tuple[int, Any]:
            body = {"method": method, "params": params}
            async with session.post("/v1/call", json=body) as response:
                return response.status, await response.json()

        assert (await call("models"))[1]["result"][0]["short-name"] == "m"
        assert await call("status", model="none") == (
            400, {"error": 'model "none" not found', "code": "not-found"},
        )  # fmt: skip
        assert await call("_read", path="/etc/passwd") == (
            400, {"error": "_read: not supported by localjuju", "code": "not-supported"},
        )  # fmt: skip
        status, answer = await call("scale", model="m")
        assert (status, answer["code"]) == (400, "invalid")
        assert answer["error"].startswith("scale: missing a required argument")
        async with session.get("/v1/log", params={"model": "m"}) as response:
            lines = [json.loads(line) async for line in response.content]
        assert [line["message"] for line in lines] == ["hello"]
        async with session.get("/v1/log", params={"model": "m", "follow": "1"}) as response:
            log.write("m", "unit-plain-0", "INFO", "juju.worker", "again")
            assert json.loads(await response.content.readline())["message"] == "again"
    await server.stop()
    log.close()


@pytest.mark.parametrize("last", ["giver", "taker"])
async def test_what_is_consumed_goes_whichever_side_leaves_last(
    api: Api, db: Database, tmp_path: Path, last: str
):
    await api.add_model("other")
    await _deploy(api, tmp_path, "giver", provides={"db": SQL})
    await api.deploy("other", str(pack(tmp_path, "taker", requires={"store": SQL})))
    api.offer("m", "giver", ["db"], "sql")
    api.consume("other", "m.sql")
    number = api.integrate("other", "taker", "sql")["id"]
    link = relations.link(db, "other", number)
    assert link
    sides = {"taker": ("other", number), "giver": ("m", link["other_relation"])}
    for name, (model, relation) in sides.items():
        with db.transaction():
            relations.enter(db, model, relation, f"{name}/0", {})
    api.remove_saas("other", "sql")
    for name in sorted(sides, key=lambda name: name == last):
        assert "application-endpoints" in api.status("other")
        model, relation = sides[name]
        with db.transaction():
            relations.leave(db, model, relation, f"{name}/0")
            relations.prune(db, model)
    assert "application-endpoints" not in api.status("other")


async def test_a_charm_that_assumes_what_is_not_there_is_deployed_and_refreshed_by_force_only(
    api: Api, db: Database, tmp_path: Path
):
    new = str(pack(tmp_path, "app", assumes=["juju >= 42"]))
    with pytest.raises(ModelError, match="Juju version >= 42"):
        await api.deploy("m", new)
    assert db.all("SELECT * FROM applications") == []
    await api.deploy("m", str(pack(tmp_path, "app", assumes=["juju >= 3.6", "k8s-api"])))
    with pytest.raises(ModelError, match="Juju version >= 42"):
        await api.refresh("m", "app", new)
    await api.refresh("m", "app", new, force=True)
    row = applications.get(db, "m", "app")
    assert applications.charm_of(db, row).metadata["assumes"] == ["juju >= 42"]
    await api.deploy("m", new, "other", force=True)
    assert applications.get(db, "m", "other")["charm"] == row["charm"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("mem=cheese", 'bad "mem" constraint: must be a non-negative float'),
        ("mem=M", 'bad "mem" constraint: must be a non-negative float'),
        ("mem=-1", 'bad "mem" constraint: must be a non-negative float'),
        ("root-disk=32Y", 'bad "root-disk" constraint: must be a non-negative float'),
        ("cores=1.5", 'bad "cores" constraint: must be a non-negative integer'),
        ("cpu-power=much", 'bad "cpu-power" constraint: must be a non-negative integer'),
    ],
)
async def test_a_constraint_that_kubernetes_could_not_take_is_refused(
    api: Api, db: Database, tmp_path: Path, text: str, told: str
):
    with pytest.raises(ModelError, match=told):
        await api.deploy("m", str(pack(tmp_path, "app")), constraints=text)
    assert db.all("SELECT * FROM applications") == []
    with pytest.raises(ModelError, match=told):
        api.set_model_constraints("m", text)
