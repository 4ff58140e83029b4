"""Relations between models: what is offered in one, consumed in another."""

from __future__ import annotations

from typing import Any

import pytest

from localjuju.agent.tests.bench import MODEL, Bench
from localjuju.agent.tests.test_data import ACTIONS, ENDPOINTS, RUN_ACTION
from localjuju.model.errors import ModelError

OTHER = "elsewhere"


async def _sh(bench: Bench, model: str, unit: str, script: str) -> tuple[int, str, str]:
    number = bench.api.run(model, unit, "sh", {"script": script})["task"]
    await bench.until(lambda: bench.api.task(model, number)["status"] in ("completed", "failed"))
    results = bench.api.task(model, number)["results"]
    return results["return-code"], results.get("stdout", ""), results.get("stderr", "")


async def _related(bench: Bench, script: str = "") -> None:
    """giver, with two units, is offered; taker in another model relates to it as `db`."""
    charm = bench.charm("plain", script + RUN_ACTION, actions=ACTIONS, **ENDPOINTS)
    await bench.deploy(charm, "giver", units=2)
    await bench.api.add_model(OTHER)
    await bench.api.deploy(OTHER, str(charm), "taker")
    assert bench.api.offer(MODEL, "giver", ["db"], "sql") == {"url": f"admin/{MODEL}.sql"}
    assert bench.api.consume(OTHER, f"{MODEL}.sql", "db") == {"name": "db"}
    bench.api.integrate(OTHER, "taker:store", "db")
    await bench.until(lambda: len([h for h in bench.hooks() if "changed from" in h]) >= 6)
    await bench.idle()


def _offer(bench: Bench) -> dict[str, Any]:
    return bench.api.status(MODEL)["offers"]["sql"]


async def test_units_of_two_models_see_each_other(bench: Bench):
    await _related(bench)
    told = [hook for hook in bench.hooks("taker/0") if "store" in hook]
    assert told[0] == "store-relation-created"
    # units come in the order in which they have begun
    pairs = sorted(zip(told[1::2], told[2::2], strict=True))
    assert pairs == [
        ("store-relation-joined from db/0", "store-relation-changed from db/0"),
        ("store-relation-joined from db/1", "store-relation-changed from db/1"),
    ]
    there = next(h for h in bench.hooks("giver/0") if h.startswith("db-relation-joined"))
    remote = there.partition(" from ")[2]
    assert remote.startswith("remote-")
    assert len(remote) == len("remote-/0") + 32
    # Both sides write, of units and of applications, and are told.
    bench.forget()
    assert (await _sh(bench, MODEL, "giver/0", "relation-set -r db:1 --app key=v"))[0] == 0
    assert (await _sh(bench, OTHER, "taker/0", "relation-set -r store:1 mine=1"))[0] == 0
    await bench.until(lambda: f"db-relation-changed from {remote}" in bench.hooks("giver/1"))
    await bench.until(lambda: "store-relation-changed" in bench.hooks("taker/0"))
    read = "relation-get --format=json -r store:1 --app - db; relation-list -r store:1"
    assert await _sh(bench, OTHER, "taker/0", read) == (0, '{"key":"v"}\ndb/0\ndb/1\n', "")
    read = f"relation-get -r db:1 mine {remote}; relation-list --app -r db:1"
    assert await _sh(bench, MODEL, "giver/1", read) == (0, f"1\n{remote[:-2]}\n", "")
    uuid = next(m["model-uuid"] for m in bench.api.models() if m["short-name"] == MODEL)
    assert (await _sh(bench, OTHER, "taker/0", "relation-model-get -r store:1"))[1] == (
        f"uuid: {uuid}\n"
    )
    goal = (await _sh(bench, OTHER, "taker/0", "goal-state --format=json"))[1]
    assert '"store":{"db":{' in goal
    assert '"db/1":{"status":"unknown"' in goal


async def test_what_is_shown(bench: Bench):
    await _related(bench)
    assert (_offer(bench)["total-connected-count"], _offer(bench)["application"]) == (1, "giver")
    assert _offer(bench)["endpoints"] == {"db": {"interface": "sql", "role": "provider"}}
    assert "db" not in bench.api.status(MODEL)["applications"]["giver"].get("relations", {})
    status = bench.api.status(OTHER)
    consumed = status["application-endpoints"]["db"]
    assert consumed["url"] == f"localjuju:admin/{MODEL}.sql"
    assert consumed["relations"] == {"db": ["taker"]}
    (relation,) = status["applications"]["taker"]["relations"]["store"]
    assert relation["related-application"] == "db"
    (info,) = [
        entry
        for entry in bench.api.show_unit(OTHER, "taker/0")["taker/0"]["relation-info"]
        if entry["endpoint"] == "store"
    ]
    assert set(info["related-units"]) == {"db/0", "db/1"}
    assert "ingress-address" in info["related-units"]["db/0"]["data"]
    listed = bench.api.offers(MODEL)["sql"]
    assert listed["connections"][0]["relation-id"] == 1
    assert list(bench.api.find_offers()) == [f"localjuju:admin/{MODEL}.sql"]
    assert bench.api.find_offers(model=OTHER) == {}


@pytest.mark.parametrize("side", ["relation", "saas", "offer", "application"])
async def test_an_end_at_one_side_ends_both(bench: Bench, side: str):
    await _related(bench)
    bench.forget()
    if side == "relation":
        bench.api.remove_relation(OTHER, "taker", "db")
    elif side == "saas":
        bench.api.remove_saas(OTHER, "db")
    elif side == "offer":
        with pytest.raises(ModelError, match="offer has 1 relation"):
            bench.api.remove_offer(f"{MODEL}.sql")
        bench.api.remove_offer(f"{MODEL}.sql", force=True)
    else:
        with pytest.raises(ModelError, match="application is used by 1 offer"):
            bench.api.remove_application(MODEL, "giver")
        bench.api.remove_application(MODEL, "giver", force=True)
    await bench.until(lambda: "store-relation-broken" in bench.hooks("taker/0"))
    await bench.until(lambda: "db-relation-broken" in bench.hooks("giver/1"))
    await bench.until(lambda: not bench.controller.db.all("SELECT * FROM relation_links"))
    assert not bench.controller.db.all("SELECT * FROM relations WHERE peer = 0")
    assert "relations" not in bench.api.status(OTHER)["applications"]["taker"] or (
        "store" not in bench.api.status(OTHER)["applications"]["taker"]["relations"]
    )
    if side == "saas":
        assert "application-endpoints" not in bench.api.status(OTHER)
        assert _offer(bench)["total-connected-count"] == 0
    if side in ("offer", "application"):
        assert bench.api.status(OTHER)["application-endpoints"]["db"]["relations"] == {}


@pytest.mark.parametrize("gone", [MODEL, OTHER])
async def test_a_model_can_go_while_another_uses_it(bench: Bench, gone: str):
    await _related(bench)
    bench.api.destroy_model(gone, destroy_storage=True, force=True)
    left = OTHER if gone == MODEL else MODEL
    await bench.until(lambda: [m["short-name"] for m in bench.api.models()] == [left])
    await bench.until(lambda: not bench.controller.db.all("SELECT * FROM relation_links"))
    broken = "store-relation-broken" if left == OTHER else "db-relation-broken"
    assert any(broken in hook for hook in bench.hooks())
    assert bench.api.status(left)


async def test_a_secret_is_granted_to_another_model(bench: Bench):
    script = """case $JUJU_HOOK_NAME in secret-*) echo "$JUJU_SECRET_ID $JUJU_SECRET_LABEL" >> %s;;
      esac; """ % (bench.state / "secrets")
    await _related(bench, script)
    add = "id=$(secret-add --label root abc=1); secret-grant -r 1 $id; echo $id"
    secret = (await _sh(bench, MODEL, "giver/0", add))[1].strip()
    bare = secret.rpartition("/")[2]
    get = f"secret-get --format=json {secret} --label mine"
    assert await _sh(bench, OTHER, "taker/0", get) == (0, '{"abc":"1"}\n', "")
    assert (await _sh(bench, MODEL, "giver/0", f"secret-set {secret} abc=2"))[0] == 0
    await bench.until(lambda: "secret-changed" in bench.hooks("taker/0"))
    await bench.idle()
    uuid = next(m["model-uuid"] for m in bench.api.models() if m["short-name"] == MODEL)
    told = (bench.state / "secrets").read_text().split()
    assert told == [f"secret://{uuid}/{bare}", "mine"]
    get = "secret-get --format=json --label mine --refresh"
    assert (await _sh(bench, OTHER, "taker/0", get))[1] == '{"abc":"2"}\n'
    await bench.until(lambda: "secret-remove" in bench.hooks("giver/0"))
    await bench.idle()
    assert bench.hooks("taker/0").count("secret-changed") == 1
    revoke = f"secret-revoke --relation 1 {secret}"
    assert (await _sh(bench, MODEL, "giver/0", revoke))[0] == 0
    denied = await _sh(bench, OTHER, "taker/0", f"secret-get --format=json {secret}")
    assert denied == (1, "", f'ERROR secret "{bare}" not found\n')


async def test_names_and_offers_that_are_wrong(bench: Bench):
    charm = bench.charm("plain", "", **ENDPOINTS)
    await bench.deploy(charm, "giver", units=0)
    api = bench.api
    with pytest.raises(ModelError, match='endpoint "nope" not found'):
        api.offer(MODEL, "giver", ["nope"])
    with pytest.raises(ModelError, match='endpoint "cluster" not found'):
        api.offer(MODEL, "giver", ["cluster"])
    api.offer(MODEL, "giver", ["db"])
    await api.add_model(OTHER)
    for url, told in (
        (f"{MODEL}.none", f'application offer "admin/{MODEL}.none" not found'),
        ("none.giver", 'model "none" not found'),
        ("giver", 'application offer URL "giver" not valid'),
        (f"far:admin/{MODEL}.giver", "controller far not found"),
    ):
        with pytest.raises(ModelError, match=told):
            api.consume(OTHER, url)
    # The same offer may be consumed again, and by more than one name.
    assert api.consume(OTHER, f"localjuju:admin/{MODEL}.giver") == {"name": "giver"}
    assert api.consume(OTHER, f"{MODEL}.giver") == {"name": "giver"}
    assert api.consume(OTHER, f"{MODEL}.giver", "again") == {"name": "again"}
    with pytest.raises(ModelError, match="saas application with same name already exists"):
        await api.deploy(OTHER, str(charm), "giver", units=0)
    await api.deploy(OTHER, str(charm), "taker", units=0)
    with pytest.raises(ModelError, match="local application with same name"):
        api.consume(OTHER, f"{MODEL}.giver", "taker")
    # Only what is offered can be related.
    with pytest.raises(ModelError, match='application "giver" has no "store" relation'):
        api.integrate(OTHER, "taker:db", "giver:store")
    # A URL in the place of a name consumes the offer first.
    await api.add_model("third")
    await api.deploy("third", str(charm), "taker", units=0)
    api.integrate("third", "taker:store", f"{MODEL}.giver:db")
    assert api.status("third")["application-endpoints"]["giver"]["relations"] == {"db": ["taker"]}
    api.remove_relation("third", "taker:store", f"{MODEL}.giver")
    assert api.status("third")["application-endpoints"]["giver"]["relations"] == {}
