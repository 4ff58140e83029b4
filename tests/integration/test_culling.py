"""A notebook that nobody uses is stopped by itself; one whose kernel is busy goes on."""

from __future__ import annotations

import json
import ssl

import httpx2
import jubilant
import pytest
from browsers import settle
from kernels import busy
from pages import notebook_state, spawn, wait_for
from reach import Reach

LAST = "notebooks.kubeflow.org/last-activity"


@pytest.fixture
def short_patience(stack: jubilant.Juju):
    """Notebooks are stopped after a minute without activity, the shortest that there is."""
    stack.config("notebook-controller", {"cull-idle-minutes": 1})
    settle(stack)
    yield
    stack.config("notebook-controller", reset="cull-idle-minutes")
    settle(stack)


def last_activity(reach: Reach, team: str, name: str) -> str:
    """When the controller last saw a notebook in use: RFC 3339, so that texts can be compared."""
    found = json.loads(reach.kubectl("-n", team, "get", f"notebook/{name}", "-o", "json"))
    return found["metadata"]["annotations"].get(LAST, "")


def test_an_idle_notebook_is_stopped_and_a_busy_one_is_not(
    stack: jubilant.Juju, ann: httpx2.Client, team: str, reach: Reach,
    request: pytest.FixtureRequest,
):  # fmt: skip
    for name in ("idle", "used"):
        assert spawn(ann, team, name).status_code == 200
    for name in ("idle", "used"):
        wait_for(lambda at=name: ann.get(f"/notebook/{team}/{at}/api").status_code == 200)
    context = ssl.create_default_context(cadata=stack.run("gateway/0", "get-ca").results["ca"])
    with busy(ann, context, f"/notebook/{team}/used"):
        request.getfixturevalue("short_patience")
        wait_for(lambda: notebook_state(ann, team, "idle")["phase"] == "stopped")
        # the busy one has been looked at since
        stopped = last_activity(reach, team, "idle")
        before = last_activity(reach, team, "used")
        wait_for(lambda: last_activity(reach, team, "used") > max(stopped, before))
        assert notebook_state(ann, team, "used")["phase"] == "ready"
