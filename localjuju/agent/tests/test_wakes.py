"""Agents that have nothing to do with a change do not look at it."""

from __future__ import annotations

from localjuju.agent.tests.bench import MODEL, Bench
from localjuju.agent.uniter import Uniter


def _wakes(bench: Bench, application: str) -> int:
    agents = [each for each in bench.controller._of(MODEL, application) if type(each) is Uniter]
    assert agents
    return sum(agent._changes.count for agent in agents)


async def test_a_hook_wakes_no_agent_of_another_application(bench: Bench):
    charm = bench.charm("plain", options={"number": {"type": "int"}})
    await bench.deploy(charm, "one")
    await bench.deploy(charm, "other")
    await bench.idle()
    before = {name: _wakes(bench, name) for name in ("one", "other")}
    bench.api.set_config(MODEL, "one", {"number": "1"})
    await bench.until(lambda: bench.hooks("one/0").count("config-changed") == 2)
    await bench.idle()
    assert _wakes(bench, "one") > before["one"]
    assert _wakes(bench, "other") == before["other"]


async def test_a_models_settings_wake_every_agent(bench: Bench):
    for name in ("one", "other"):
        await bench.deploy(bench.charm("plain"), name)
    await bench.idle()
    before = {name: _wakes(bench, name) for name in ("one", "other")}
    bench.api.set_model_config(MODEL, {"update-status-hook-interval": "1h"})
    assert all(_wakes(bench, name) > count for name, count in before.items())
