"""The order of hooks, as Juju has it for each thing that a user does."""

from __future__ import annotations

import shutil

import pytest

from localjuju.agent.tests.bench import MODEL, Bench
from localjuju.model import workers

DEPLOYED = ["install", "leader-elected", "config-changed", "start"]


async def test_deploy(bench: Bench):
    await bench.deploy(bench.charm("plain"))
    await bench.idle()
    assert bench.hooks("plain/0") == DEPLOYED


async def test_deploy_with_peers_and_storage(bench: Bench):
    charm = bench.charm(
        "plain",
        peers={"cluster": {"interface": "cluster"}},
        storage={"data": {"type": "filesystem", "location": "/data"}},
    )
    await bench.deploy(charm)
    await bench.idle()
    assert bench.hooks("plain/0") == [
        "install", "cluster-relation-created", "leader-elected", "data-storage-attached",
        "config-changed", "start",
    ]  # fmt: skip


async def test_followers_are_told_that_they_follow(bench: Bench):
    await bench.deploy(bench.charm("plain"), units=2)
    await bench.idle()
    follower = ["install", "leader-settings-changed", "config-changed", "start"]
    assert bench.hooks("plain/1") == follower
    assert bench.api.status(MODEL)["applications"]["plain"]["units"]["plain/0"]["leader"]


async def _two(bench: Bench, give: str = "", want: str = "", **more: int) -> None:
    provider = bench.charm("giver", give, provides={"db": {"interface": "sql"}})
    requirer = bench.charm("taker", want, requires={"store": {"interface": "sql"}})
    await bench.deploy(provider, units=more.get("givers", 1))
    await bench.deploy(requirer, units=more.get("takers", 1))
    await bench.idle()
    bench.forget()


async def test_integrate(bench: Bench):
    await _two(bench, takers=2)
    bench.api.integrate(MODEL, "taker", "giver")
    await bench.until(lambda: len(bench.hooks()) >= 11)
    await bench.idle()
    assert bench.hooks("taker/0") == [
        "store-relation-created",
        "store-relation-joined from giver/0",
        "store-relation-changed from giver/0",
    ]
    created, *others = bench.hooks("giver/0")
    assert created == "db-relation-created"
    pairs = zip(others[::2], others[1::2], strict=True)  # which taker is there first is open
    assert sorted(pairs) == [
        ("db-relation-joined from taker/0", "db-relation-changed from taker/0"),
        ("db-relation-joined from taker/1", "db-relation-changed from taker/1"),
    ]


async def test_changed_follows_what_the_other_side_wrote(bench: Bench):
    give = """case $JUJU_HOOK_NAME in db-relation-created) sleep 0.3
      relation-set name=mysql; relation-set --app endpoint=here;; esac"""
    await _two(bench, give)
    bench.api.integrate(MODEL, "taker", "giver")
    await bench.until(lambda: "store-relation-changed from giver/0" in bench.hooks("taker/0"))
    await bench.idle()
    told = bench.hooks("taker/0")
    assert "store-relation-changed" in told  # the application's databag: no unit
    shown = bench.api.show_unit(MODEL, "taker/0")["taker/0"]["relation-info"][0]
    assert shown["application-data"] == {"endpoint": "here"}
    assert shown["related-units"]["giver/0"]["data"] == {
        "egress-subnets": "10.152.183.77/32",
        "ingress-address": "10.152.183.77",
        "private-address": "10.152.183.77",
        "name": "mysql",
    }
    # Nobody is told of their own writes.
    assert bench.hooks("giver/0").count("db-relation-changed from taker/0") == 1


async def test_remove_relation(bench: Bench):
    await _two(bench)
    bench.api.integrate(MODEL, "taker", "giver")
    await bench.until(lambda: len(bench.hooks()) == 6)
    bench.forget()
    bench.api.remove_relation(MODEL, "taker", "giver")
    await bench.until(lambda: len(bench.hooks()) == 4)
    await bench.idle()
    assert bench.hooks("taker/0") == [
        "store-relation-departed from giver/0 departing giver/0",
        "store-relation-broken",
    ]
    assert bench.hooks("giver/0") == [
        "db-relation-departed from taker/0 departing taker/0",
        "db-relation-broken",
    ]
    assert "relations" not in bench.api.status(MODEL)["applications"]["giver"]


async def test_config_change_and_trust(bench: Bench):
    charm = bench.charm("plain", options={"port": {"type": "int", "default": 1}})
    await bench.deploy(charm, units=2)
    await bench.idle()
    bench.forget()
    bench.api.set_config(MODEL, "plain", {"port": "2"})
    await bench.until(lambda: len(bench.hooks()) == 2)
    bench.api.trust(MODEL, "plain")
    await bench.until(lambda: len(bench.hooks()) == 4)
    await bench.idle()
    assert bench.hooks("plain/0") == ["config-changed"] * 2
    assert bench.hooks("plain/1") == ["config-changed"] * 2


async def test_scale_up_and_down(bench: Bench):
    charm = bench.charm("plain", peers={"cluster": {"interface": "cluster"}})
    await bench.deploy(charm)
    await bench.idle()
    bench.forget()
    bench.api.scale(MODEL, "plain", 2)
    await bench.until(lambda: len(bench.hooks("plain/1")) == 7)
    await bench.idle()
    assert bench.hooks("plain/1") == [
        "install", "cluster-relation-created", "leader-settings-changed", "config-changed",
        "start", "cluster-relation-joined from plain/0", "cluster-relation-changed from plain/0",
    ]  # fmt: skip
    assert bench.hooks("plain/0") == [
        "cluster-relation-joined from plain/1",
        "cluster-relation-changed from plain/1",
    ]
    bench.forget()
    bench.api.scale(MODEL, "plain", 1)
    await bench.until(lambda: len(bench.node._pods) == 1)
    await bench.idle()
    assert bench.hooks("plain/1") == [
        "cluster-relation-departed from plain/0 departing plain/1", "stop", "remove",
    ]  # fmt: skip
    assert bench.hooks("plain/0") == ["cluster-relation-departed from plain/1 departing plain/1"]


async def test_remove_application(bench: Bench):
    storage = {"data": {"type": "filesystem", "location": "/data"}}
    charm = bench.charm("giver", provides={"db": {"interface": "sql"}}, storage=storage)
    await bench.deploy(charm)
    await bench.deploy(bench.charm("taker", requires={"store": {"interface": "sql"}}))
    bench.api.integrate(MODEL, "taker", "giver")
    await bench.until(lambda: "db-relation-changed from taker/0" in bench.hooks("giver/0"))
    await bench.until(lambda: "store-relation-changed from giver/0" in bench.hooks("taker/0"))
    await bench.idle()
    bench.forget()
    bench.api.remove_application(MODEL, "giver", destroy_storage=True)
    await bench.until(lambda: "giver" not in bench.api.status(MODEL)["applications"])
    await bench.until(lambda: len(bench.hooks("taker/0")) == 2)
    await bench.idle()
    assert bench.hooks("giver/0") == [
        "data-storage-detaching",
        "db-relation-departed from taker/0 departing giver/0",
        "db-relation-broken",
        "stop",
        "remove",
    ]
    assert bench.hooks("taker/0") == [
        "store-relation-departed from giver/0 departing giver/0",
        "store-relation-broken",
    ]
    assert (MODEL, "giver-0") not in bench.node._pods


async def test_refresh(bench: Bench):
    await bench.deploy(bench.charm("plain"), units=2)
    await bench.idle()
    bench.forget()
    await bench.api.refresh(MODEL, "plain", str(bench.charm("plain", "true # another")))
    await bench.until(lambda: bench.hooks("plain/0").count("start") == 1)
    await bench.idle()
    renewed = ["stop", "upgrade-charm", "config-changed", "start"]
    assert bench.hooks("plain/0") == renewed
    assert bench.hooks("plain/1") == renewed
    # One pod after the other, the highest number first.
    assert bench.hooks().index("plain/1 stop") < bench.hooks().index("plain/0 stop")
    assert bench.api.status(MODEL)["applications"]["plain"]["charm-rev"] == 1


async def test_a_unit_goes_on_with_its_charm_until_its_pod_is_replaced(bench: Bench):
    says = 'echo "%s $(config-get word)" >> ../said'
    options = {"word": {"type": "string", "default": "a"}}
    await bench.deploy(bench.charm("plain", says % "old", options=options), units=2)
    await bench.idle()
    bench.forget()
    bench.node.ready.clear()
    more = options | {"another": {"type": "string", "default": "x"}}
    new = bench.charm("plain", says % "new", options=more, peers={"others": "peers"})
    await bench.api.refresh(MODEL, "plain", str(new))
    await bench.until(lambda: "start" in bench.hooks("plain/1"))
    bench.api.set_config(MODEL, "plain", {"word": "b"})
    await bench.until(lambda: _said(bench, "plain-0")[-1] == "old b")
    await bench.until(lambda: _said(bench, "plain-1")[-1] == "new b")
    assert bench.hooks("plain/0") == ["config-changed"]
    bench.node.ready.set()
    await bench.until(lambda: "start" in bench.hooks("plain/0"))
    await bench.idle()
    after = ["stop", "upgrade-charm", "config-changed", "start", "others-relation-created"]
    assert bench.hooks("plain/0")[1:6] == after
    assert _said(bench, "plain-0")[-1] == "new b"


def _said(bench: Bench, pod: str) -> list[str]:
    folder = bench.node.volume_path(MODEL, pod, "charm-data")
    (file,) = folder.glob("var/lib/juju/agents/*/said")
    return file.read_text().splitlines()


async def test_pod_churn(bench: Bench):
    await bench.deploy(bench.charm("plain", "test -e kept || echo new >> ../new; touch kept"))
    await bench.idle()
    bench.forget()
    bench.node.terminate("plain-0")
    await bench.until(lambda: bench.unit("plain/0")["agent"]["stopped"])
    bench.node.churn("plain-0")
    await bench.until(lambda: "start" in bench.hooks("plain/0"))
    await bench.idle()
    assert bench.hooks("plain/0") == ["stop", "upgrade-charm", "config-changed", "start"]


async def test_update_status_only_when_idle_and_due(bench: Bench):
    await bench.deploy(bench.charm("plain"))
    await bench.idle()
    bench.api.set_model_config(MODEL, {"update-status-hook-interval": "1s"})
    await bench.until(lambda: bench.hooks("plain/0").count("update-status") >= 2)
    assert bench.hooks("plain/0")[:4] == DEPLOYED


async def test_destroy_model(bench: Bench):
    await bench.deploy(bench.charm("plain"), units=2)
    await bench.idle()
    bench.api.destroy_model(MODEL)
    await bench.until(lambda: not bench.api.models())
    assert not bench.node._pods
    assert bench.hooks("plain/1")[-2:] == ["stop", "remove"]


async def test_a_pod_whose_folder_was_lost_starts_again(bench: Bench):
    await bench.deploy(bench.charm("plain", options={"a": {"type": "string"}}))
    await bench.idle()
    bench.forget()
    data = bench.node.volume_path(MODEL, "plain-0", "charm-data") / "var/lib/juju/agents"
    shutil.rmtree(data)
    bench.api.set_config(MODEL, "plain", {"a": "b"})
    await bench.until(lambda: "start" in bench.hooks("plain/0"))
    assert bench.hooks("plain/0") == ["upgrade-charm", "config-changed", "start"]


async def test_a_leader_that_stays_away_loses_the_lead(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(workers, "_LEASE_SECONDS", 0.5)
    await bench.deploy(bench.charm("plain"), units=2)
    await bench.idle()
    bench.node.terminate("plain-0")
    await bench.until(lambda: "leader-elected" in bench.hooks("plain/1"))
    bench.node.churn("plain-0")
    await bench.until(lambda: "leader-settings-changed" in bench.hooks("plain/0"))
    await bench.idle()
    units = bench.api.status(MODEL)["applications"]["plain"]["units"]
    assert [name for name, unit in units.items() if unit.get("leader")] == ["plain/1"]


async def test_a_pod_that_is_told_to_go_waits_for_stop(bench: Bench):
    slow = "case $JUJU_HOOK_NAME in stop) sleep 0.5; echo stopped >> %s;; esac"
    done = bench.state / "done"
    await bench.deploy(bench.charm("plain", slow % done))
    await bench.idle()
    uid = bench.unit("plain/0")["agent"]["pod"]
    bench.node.terminate("plain-0")
    answer = await bench.node.ask("container-agent", uid)
    assert answer == {"stdout": "", "stderr": "", "code": 0, "file": ""}
    assert done.read_text() == "stopped\n"
    assert await bench.node.ask("container-agent", "no-such-pod") == answer
    intruder = await bench.node.ask("is-leader")
    assert intruder["stderr"] == "ERROR context id does not belong to a running hook\n"


@pytest.mark.parametrize("force", [False, True])
async def test_a_busy_unit_leaves_the_relation_with_an_application_that_has_gone(
    bench: Bench, force: bool
):
    """The application stays until then, as on Juju; by force a minute at most."""
    gate = bench.state / "gate"
    busy = f"""case $JUJU_HOOK_NAME in config-changed)
      [ -z "$(config-get a)" ] || while ! test -e {gate}; do sleep 0.05; done;; esac"""
    provides = {"db": {"interface": "sql"}}
    await bench.deploy(bench.charm("giver", provides=provides))
    await bench.deploy(
        bench.charm("taker", busy, requires={"store": {"interface": "sql"}},
                    options={"a": {"type": "string"}})
    )  # fmt: skip
    bench.api.integrate(MODEL, "taker", "giver")
    await bench.until(lambda: "store-relation-changed from giver/0" in bench.hooks("taker/0"))
    await bench.idle()
    bench.forget()
    bench.api.set_config(MODEL, "taker", {"a": "1"})
    await bench.until(lambda: "config-changed" in bench.hooks("taker/0"))
    bench.api.remove_application(MODEL, "giver", force=force)
    await bench.until(lambda: "remove" in bench.hooks("giver/0"))
    await bench.until(lambda: (MODEL, "giver") not in bench.node.specs)
    assert bench.api.status(MODEL)["applications"]["giver"]["life"] == "dying"
    if force:
        bench.api.jump_clock(61)
        bench.api.set_model_constraints(MODEL, "")  # wakes the workers, whose timers know no jump
        await bench.until(lambda: "giver" not in bench.api.status(MODEL)["applications"])
        bench.api.jump_clock(-61)
        gate.touch()
        return
    gate.touch()
    await bench.until(lambda: "giver" not in bench.api.status(MODEL)["applications"])
    assert bench.hooks("taker/0") == [
        "config-changed", "store-relation-departed from giver/0 departing giver/0",
        "store-relation-broken",
    ]  # fmt: skip
