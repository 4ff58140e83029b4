"""A commit tells of those whom it concerns, so that a hook costs the same in a large model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from localjuju.agent.state import AgentState
from localjuju.agent.tests.bench import pack
from localjuju.agent.view import load
from localjuju.model import (
    applications,
    charm,
    clock,
    models,
    offers,
    relations,
    secrets,
    statuses,
    storage,
    tasks,
)
from localjuju.model.concerns import Concern
from localjuju.model.db import Database
from localjuju.model.tests.test_model import NoCluster

SECRET = secrets.new_id()


class Told:
    """Whom the commits since the last question concerned."""

    def __init__(self, db: Database):
        self._told: set[Concern] = set()
        db.on_commit(self._told.update)

    def of(self) -> set[Concern]:
        told = set(self._told)
        self._told.clear()
        return told


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """In model m `giver`, which `taker` is related to, and `other`; in model n `far`."""
    made = Database(tmp_path / "model.db")
    packed = charm.read(
        pack(
            tmp_path, "plain", provides={"db": {"interface": "sql"}},
            requires={"store": {"interface": "sql"}}, actions={"act": {}},
            options={"number": {"type": "int"}},
            storage={"data": {"type": "filesystem", "location": "/data"}},
        )
    )  # fmt: skip
    places = [("m", "giver"), ("m", "taker"), ("m", "other"), ("n", "far")]
    for model in ("m", "n"):
        models.add(made, model)
    for model, name in places:
        applications.deploy(made, model, name, packed, values={}, resources={}, count=1,
                            trust=False, constraints="", directives={})  # fmt: skip
    relations.integrate(made, "m", "taker:store", "giver:db")
    offers.add(made, "m", "giver", ["db"], "sql")
    offers.consume(made, "n", "m.sql", "db")
    relations.integrate(made, "n", "far:store", "db")
    yield made
    made.close()


@pytest.fixture
def told(db: Database) -> Told:
    return Told(db)


def test_a_units_status_concerns_its_application(db: Database, told: Told):
    statuses.set_unit(db, "m", "giver/0", "active", "")
    statuses.set_agent(db, "m", "giver/0", "idle")
    assert told.of() == {("m", "giver")}


def test_what_is_asked_of_an_application_concerns_it_alone(db: Database, told: Told):
    applications.set_config(db, "m", "giver", {"number": "1"}, [])
    applications.add_units(db, "m", "giver", 1)
    tasks.run(db, "m", "giver/0", "act", {})
    assert told.of() == {("m", "giver")}


def test_a_databag_concerns_those_who_are_related(db: Database, told: Told):
    with db.transaction():
        relations.enter(db, "m", 0, "taker/0", {"a": "1"})
    assert told.of() == {("m", "taker"), ("m", "giver")}
    with db.transaction():
        relations.write(db, "application_databags", "m", 0, "giver", {"a": "1"})
    assert told.of() == {("m", "taker"), ("m", "giver")}
    relations.remove(db, "m", "taker", "giver", force=False)
    assert told.of() == {("m", "taker"), ("m", "giver")}


def test_a_databag_concerns_the_other_model_that_is_related(db: Database, told: Told):
    with db.transaction():
        relations.write(db, "application_databags", "m", 1, "giver", {"a": "1"})
    assert ("n", "far") in told.of()
    with db.transaction():
        relations.enter(db, "n", 0, "far/0", {})
    told_of = told.of()
    assert ("m", "giver") in told_of
    assert ("m", "other") not in told_of


def test_a_secret_concerns_its_owner_and_those_who_use_it(db: Database, told: Told):
    proxy = relations.proxy(db, "n", "far")
    with db.transaction():
        secrets.create(db, "m", SECRET, "application", "giver", {"key": "one"})
        secrets.follow(db, SECRET, "taker/0", 1, 1, None)
        secrets.follow(db, SECRET, f"{proxy}/0", 1, 1, None)
    told.of()
    with db.transaction():
        secrets.update(db, SECRET, values={"key": "two"})
    assert told.of() == {("m", "giver"), ("m", "taker"), ("m", proxy), ("n", "far")}
    with db.transaction():
        secrets.follow(db, SECRET, "taker/0", 2, 2, None)
    assert told.of() == {("m", "taker")}
    with db.transaction():  # nobody uses the first revision any more
        secrets.follow(db, SECRET, f"{proxy}/0", 2, 2, None)
    assert told.of() == {("m", "giver"), ("m", proxy), ("n", "far")}


def test_storage_concerns_its_unit(db: Database, told: Told):
    with db.transaction():
        db.run("UPDATE storage SET attached = 1 WHERE model = 'm' AND unit = 'giver/0'")
    assert told.of() == {("m", "giver")}


def test_a_models_settings_concern_all_of_it(db: Database, told: Told):
    models.set_config(db, "m", {"update-status-hook-interval": "1h"}, [])
    assert told.of() == {("m", "")}
    with db.transaction():
        db.insert("clock", seconds=clock.offset())
    assert told.of() == {("m", ""), ("n", "")}


def test_a_new_application_and_one_that_went_concern_nobody_else(db: Database, told: Told):
    row = applications.get(db, "m", "other")
    applications.deploy(
        db, "m", "more", applications.charm_of(db, row), values={}, resources={}, count=1,
        trust=False, constraints="", directives={},
    )  # fmt: skip
    assert told.of() == {("m", "more")}
    applications.remove(db, "m", "more", destroy_storage=True, force=False)
    applications.bury(db, "m", "more")
    assert told.of() == {("m", "more")}


def test_what_is_undone_concerns_nobody(db: Database, told: Told):
    with pytest.raises(RuntimeError), db.transaction():  # noqa: PT012
        db.run("DELETE FROM tasks")
        db.run("UPDATE units SET life = 'dying'")
        raise RuntimeError
    with db.transaction():
        pass
    assert told.of() == set()


def test_what_an_agent_reads_is_found_by_an_index(db: Database):
    """No table is read from its beginning to its end each time an agent looks."""
    read: list[str] = []
    connection = db._connection
    connection.set_trace_callback(read.append)
    with db.transaction():
        agent = AgentState(installed=True, started=True, updated=clock.text()).to_json()
        db.run("UPDATE units SET agent = ?", agent)
    cluster = NoCluster()
    assert load(db, cluster, "m", "taker/0", {}, [])  # type: ignore[arg-type]
    storage.of_unit(db, "m", "taker/0")
    connection.set_trace_callback(None)
    queries = [text for text in read if text.startswith("SELECT")]
    assert len(queries) > 10
    for query in queries:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {query}", ["m"] * query.count("?"))
        steps = [row["detail"] for row in plan.fetchall()]
        assert not [step for step in steps if step.startswith("SCAN")], (query, steps)
