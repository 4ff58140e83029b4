"""Actions: parameters, results, failures; commands run by `juju exec`."""

from __future__ import annotations

import jubilant
import pytest

from localjuju.agent.tests.bench import MODEL, Bench
from localjuju.model.errors import ModelError

ACTIONS = {
    "backup": {
        "params": {"name": {"type": "string", "default": "all"}, "level": {"type": "integer"}},
        "required": ["level"],
        "additionalProperties": False,
    }
}
SCRIPT = """case $JUJU_ACTION_NAME in backup)
  action-log "half way"; action-set file.name="$(action-get name)" file.level=$(action-get level)
  test $(action-get level) != 2 || action-fail "too deep"
  test $(action-get level) != 3 || { open-port 33; exit 3; }
  open-port 8$(action-get level); echo done;;
esac"""


async def _deploy(bench: Bench) -> None:
    await bench.deploy(bench.charm("plain", SCRIPT, actions=ACTIONS))
    await bench.idle()


async def test_results(bench: Bench):
    await _deploy(bench)
    task = await bench.task("plain/leader", "backup", level=1)
    parsed = jubilant.Task._from_dict(dict(task))
    assert parsed.success
    assert parsed.results == {"file": {"name": "all", "level": "1"}}
    assert parsed.stdout == "done\n"
    assert parsed.log[0].endswith("half way")
    assert bench.ports("plain/0") == ["81/tcp"]
    assert bench.hooks("plain/0")[-1] == "backup"


async def test_action_fail_keeps_what_it_did(bench: Bench):
    await _deploy(bench)
    task = await bench.task("plain/0", "backup", level=2)
    assert (task["status"], task["message"]) == ("failed", "too deep")
    assert bench.ports("plain/0") == ["82/tcp"]


async def test_exit_status_drops_what_it_did(bench: Bench):
    await _deploy(bench)
    task = await bench.task("plain/0", "backup", level=3)
    assert (task["status"], task["message"]) == ("failed", "exit status 3")
    assert task["results"]["return-code"] == 3
    assert bench.ports("plain/0") == []
    await bench.idle()  # the unit is not in error


async def test_an_action_that_may_not_all_it_asks_for_does_none_of_it(bench: Bench):
    gate, asked = bench.state / "gate", bench.state / "asked"
    script = f"""if [ -n "$JUJU_ACTION_NAME" ]; then
      relation-set -r cluster:0 u=1; relation-set -r cluster:0 --app a=1; open-port 44
      touch {asked}; while ! test -e {gate}; do sleep 0.02; done; fi"""
    peers = {"cluster": {"interface": "c"}}
    await bench.deploy(bench.charm("plain", script, actions={"write": {}}, peers=peers), units=2)
    await bench.idle()
    number = bench.api.run(MODEL, "plain/leader", "write")["task"]
    unit = bench.api.task(MODEL, number)["unit"]
    await bench.until(asked.exists)
    assert bench.api.move_leader(MODEL, "plain") != unit
    gate.touch()
    task = await bench.finished(number)
    assert (task["status"], task["message"]) == ("failed", "cannot write relation settings")
    shown = bench.api.show_unit(MODEL, unit)[unit]["relation-info"][0]
    assert "u" not in shown["local-unit"]["data"]
    assert bench.ports(unit) == []


@pytest.mark.parametrize(
    "params, message",
    [
        ({}, r'"level" property is missing and required'),
        ({"level": "x"}, r"\(root\).level : must be of type integer"),
        ({"level": 1, "no": 1}, r'additional property "no" is not allowed'),
    ],
)
async def test_parameters_are_checked(bench: Bench, params: dict, message: str):
    await _deploy(bench)
    with pytest.raises(ModelError, match=message):
        bench.api.run(MODEL, "plain/0", "backup", params)


async def test_unknown_action_and_unit(bench: Bench):
    await _deploy(bench)
    with pytest.raises(ModelError, match='action "nope" not defined'):
        bench.api.run(MODEL, "plain/0", "nope")
    with pytest.raises(ModelError, match='unit "plain/7" not found'):
        bench.api.run(MODEL, "plain/7", "backup")


async def test_exec(bench: Bench):
    await _deploy(bench)
    number = bench.api.exec(MODEL, "plain/0", "is-leader; echo no >&2; exit 4")["task"]
    task = await bench.finished(number)
    assert task["results"] == {"stdout": "True\n", "stderr": "no\n", "return-code": 4}


async def test_an_action_that_the_engine_ended_in_is_not_run_twice(bench: Bench):
    await bench.deploy(bench.charm("plain", actions={"slow": {}}, script="""
      if [ -n "$JUJU_ACTION_NAME" ]; then sleep 30; fi"""))  # fmt: skip
    await bench.idle()
    number = bench.api.run(MODEL, "plain/0", "slow")["task"]
    await bench.until(lambda: bench.hooks("plain/0")[-1] == "slow")
    await bench.restart()
    task = await bench.finished(number)
    assert (task["status"], task["message"]) == ("failed", "action terminated")
    await bench.idle()
    assert bench.hooks("plain/0").count("slow") == 1
