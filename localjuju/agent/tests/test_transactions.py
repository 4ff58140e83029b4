"""What a hook asked for happens when it succeeds, all of it, or not at all."""

from __future__ import annotations

import asyncio

import pytest

from localjuju.agent import hookrunner
from localjuju.agent.hooks import Hook
from localjuju.agent.tests.bench import MODEL, Bench
from localjuju.model.errors import ModelError


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hookrunner, "_RETRY_SECONDS", 0.1)


async def test_failed_hook_is_dropped_and_retried(bench: Bench, quick: None):
    flag = bench.state / "fixed"
    script = f"""case $JUJU_HOOK_NAME in config-changed)
      relation-set -r cluster:0 a=$(test -e {flag} && echo good || echo bad)
      open-port 80; status-set waiting "for the user"; test -e {flag};; esac"""
    await bench.deploy(bench.charm("plain", script, peers={"cluster": {"interface": "c"}}))
    await bench.until(lambda: bench.hooks("plain/0").count("config-changed") >= 2)
    await bench.until(lambda: bench.unit("plain/0")["agent_status"] == "error")
    shown = bench.api.status(MODEL)["applications"]["plain"]["units"]["plain/0"]
    assert shown["workload-status"]["current"] == "error"
    assert shown["workload-status"]["message"] == 'hook failed: "config-changed"'
    # Said at once, though the hook failed; all else is dropped.
    assert bench.unit("plain/0")["message"] == "for the user"
    assert bench.ports("plain/0") == []
    data = bench.api.show_unit(MODEL, "plain/0")["plain/0"]["relation-info"][0]["local-unit"]
    assert "a" not in data["data"]
    assert "start" not in bench.hooks("plain/0")
    flag.touch()
    await bench.idle()
    assert bench.ports("plain/0") == ["80/tcp"]
    data = bench.api.show_unit(MODEL, "plain/0")["plain/0"]["relation-info"][0]["local-unit"]
    assert data["data"]["a"] == "good"


async def test_resolve(bench: Bench):
    await bench.deploy(bench.charm("plain", 'test "$JUJU_HOOK_NAME" != start'))
    bench.api.set_model_config(MODEL, {"automatically-retry-hooks": "false"})
    await bench.until(lambda: bench.unit("plain/0")["agent_status"] == "error")
    assert bench.hooks("plain/0").count("start") == 1
    bench.api.resolve(MODEL, "plain/0")
    await bench.until(lambda: bench.hooks("plain/0").count("start") == 2)
    await bench.until(lambda: bench.unit("plain/0")["agent_status"] == "error")
    bench.api.resolve(MODEL, "plain/0", retry=False)
    await bench.idle()
    assert bench.hooks("plain/0").count("start") == 2


async def test_resolve_needs_an_error(bench: Bench):
    await bench.deploy(bench.charm("plain"))
    await bench.idle()
    with pytest.raises(Exception, match='unit "plain/0" is not in an error state'):
        bench.api.resolve(MODEL, "plain/0")


async def test_engine_that_ends_in_a_hook_runs_it_again(bench: Bench):
    gate = bench.state / "gate"
    script = f"""case $JUJU_HOOK_NAME in config-changed)
      open-port 81; while ! test -e {gate}; do sleep 0.02; done;; esac"""
    await bench.deploy(bench.charm("plain", script))
    await bench.until(lambda: "config-changed" in bench.hooks("plain/0"))
    await bench.restart()
    assert bench.ports("plain/0") == []
    gate.touch()
    await bench.idle()
    assert bench.hooks("plain/0") == [
        "install", "leader-elected", "config-changed", "config-changed", "start",
    ]  # fmt: skip
    assert bench.ports("plain/0") == ["81/tcp"]


@pytest.mark.parametrize("point", ["before", "dispatched", "committed"])
async def test_no_half_hook_wherever_the_engine_ends(bench: Bench, point: str):
    """At each hook of a deployment in turn: what comes after is what would have come."""
    script = """case $JUJU_HOOK_NAME in start) relation-set -r cluster:0 done=yes
      relation-set -r cluster:0 --app all=yes;; esac"""
    for number, victim in enumerate(["install", "cluster-relation-created", "start"]):
        name = f"plain{chr(97 + number)}"
        hit = asyncio.Event()

        async def fault(at: str, unit: str, hook: Hook, hit=hit, name=name, victim=victim) -> None:
            if at == point and unit == f"{name}/0" and hook.name == victim and not hit.is_set():
                hit.set()
                await asyncio.sleep(60)  # the engine ends meanwhile

        bench.controller.runner.fault = fault
        charm = bench.charm("plain", script.replace("cluster:0", f"cluster:{number}"),
                            peers={"cluster": {"interface": "c"}})  # fmt: skip
        await bench.deploy(charm, name)
        await asyncio.wait_for(hit.wait(), 20)
        await bench.restart()
        await bench.idle()
        once = {"before": 1, "dispatched": 2, "committed": 1}[point]
        hooks = bench.hooks(f"{name}/0")
        assert hooks.count(victim) == once
        assert list(dict.fromkeys(hooks)) == [
            "install", "cluster-relation-created", "leader-elected", "config-changed", "start",
        ]  # fmt: skip
        shown = bench.api.show_unit(MODEL, f"{name}/0")[f"{name}/0"]["relation-info"][0]
        assert shown["local-unit"]["data"]["done"] == "yes"
        assert shown["application-data"] == {"all": "yes"}


async def test_a_hook_that_is_made_to_fail_runs_again(bench: Bench, quick: None):
    charm = bench.charm("plain", options={"a": {"type": "string"}}, script="""
      case $JUJU_HOOK_NAME in config-changed) open-port 8$(config-get a);; esac""")  # fmt: skip
    await bench.deploy(charm, config={"a": "1"})
    await bench.idle()
    with pytest.raises(ModelError, match="cannot fail any more"):
        bench.api.fault(MODEL, "plain/0", "config-changed", "committed", "fail")
    bench.api.fault(MODEL, "plain/0", "config-changed", "dispatched", "fail")
    bench.forget()
    bench.api.set_config(MODEL, "plain", {"a": "2"})
    await bench.until(lambda: bench.unit("plain/0")["agent_status"] == "error")
    assert bench.ports("plain/0") == ["81/tcp"]
    await bench.idle()
    assert bench.hooks("plain/0") == ["config-changed", "config-changed"]
    assert bench.ports("plain/0") == ["81/tcp", "82/tcp"]


async def test_actions_run_while_a_hook_is_in_error(bench: Bench):
    charm = bench.charm("plain", 'test "$JUJU_HOOK_NAME" != start', actions={"look": {}})
    await bench.deploy(charm)
    bench.api.set_model_config(MODEL, {"automatically-retry-hooks": "false"})
    await bench.until(lambda: bench.unit("plain/0")["agent_status"] == "error")
    task = await bench.task("plain/0", "look")
    assert task["status"] == "completed"
    assert bench.unit("plain/0")["agent_status"] == "error"
