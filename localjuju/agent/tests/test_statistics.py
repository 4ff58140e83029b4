"""What hooks are counted to cost."""

from __future__ import annotations

import pytest

from localjuju.agent import hookrunner
from localjuju.agent.tests.bench import MODEL, Bench
from localjuju.model.errors import ModelError


async def test_every_dispatch_is_counted(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hookrunner, "_RETRY_SECONDS", 0.1)
    flag = bench.state / "fixed"
    script = f"""case $JUJU_HOOK_NAME in
      install) sleep 0.2; i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done;;
      config-changed) test -e {flag} || {{ touch {flag}; exit 1; }};; esac"""
    await bench.deploy(bench.charm("plain", script, actions={"backup": {}}))
    await bench.idle()
    await bench.task("plain/0", "backup")
    await bench.finished(bench.api.exec(MODEL, "plain/0", "true")["task"])
    rows = bench.api.hook_statistics(MODEL)
    assert {row["unit"] for row in rows} == {"plain/0"}
    runs = {row["hook"]: row["runs"] for row in rows}
    dispatched = bench.hooks("plain/0")
    assert runs == {**{hook: dispatched.count(hook) for hook in dispatched}, "juju-exec": 1}
    assert runs["config-changed"] == 2  # the one that failed, and its retry
    assert runs["backup"] == 1
    install = next(row for row in rows if row["hook"] == "install")
    assert install["seconds"] >= 0.2
    assert install["cpu_seconds"] > 3 * next(
        row["cpu_seconds"] for row in rows if row["hook"] == "start"
    )


async def test_unknown_model(bench: Bench):
    with pytest.raises(ModelError, match='model "none" not found'):
        bench.api.hook_statistics("none")
