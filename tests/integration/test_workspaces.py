"""MLflow by tenants: a cell of a notebook logs a metric, and only who may see it does.

MLflow with Kubeflow's plugins, JupyterLab, Caddy and oauth2-proxy are the real programs.
"""

from __future__ import annotations

import ssl
from typing import Any

import httpx2
import jubilant
import pytest
from kernels import run_cell
from pages import get, notebook_state, spawn, wait_for
from people import Accounts

API = "/mlflow/api/2.0/mlflow"
CELL = """
import mlflow
mlflow.set_experiment("first")
with mlflow.start_run() as run:
    mlflow.log_metric("accuracy", 0.75)
    mlflow.log_text("hello", "note.txt")
print(run.info.run_id)
"""


def asked(client: httpx2.Client, workspace: str, path: str, body: Any = None) -> httpx2.Response:
    """What MLflow's API answers in a workspace."""
    headers = {"X-MLFLOW-WORKSPACE": workspace, "Accept": "application/json"}
    if body is None:
        return client.get(f"{API}/{path}", headers=headers)
    return client.post(f"{API}/{path}", json=body, headers=headers)


@pytest.fixture(scope="module")
def run(stack: jubilant.Juju, ann: httpx2.Client, team: str) -> str:
    """The run that the first cell of Ann's new notebook logs."""
    answer = spawn(ann, team, "lab", configurations=["mlflow"])
    assert answer.status_code == 200, answer.text
    wait_for(lambda: notebook_state(ann, team, "lab")["phase"] == "ready")
    base = f"/notebook/{team}/lab"
    wait_for(lambda: ann.get(f"{base}/api").status_code == 200)
    ca = stack.run("gateway/0", "get-ca").results["ca"]
    return run_cell(ann, ssl.create_default_context(cadata=ca), base, CELL).split()[-1]


def test_the_first_cell_of_a_notebook_logs_to_the_tenant_s_workspace(
    ann: httpx2.Client, team: str, run: str
):
    found = asked(ann, team, f"runs/get?run_id={run}").json()["run"]
    (metric,) = found["data"]["metrics"]
    assert (metric["key"], metric["value"]) == ("accuracy", 0.75)
    artifacts = asked(ann, team, f"artifacts/list?run_id={run}").json()["files"]
    assert [each["path"] for each in artifacts] == ["note.txt"]


def test_the_run_s_owner_is_the_pod_s_service_account(ann: httpx2.Client, team: str, run: str):
    info = asked(ann, team, f"runs/get?run_id={run}").json()["run"]["info"]
    assert info["user_id"] == f"system:serviceaccount:{team}:default-editor"


def test_everybody_s_list_of_workspaces_has_her_own_only(
    ann: httpx2.Client, bob: httpx2.Client, team: str, other: str, run: str
):
    def names(client: httpx2.Client) -> set[str]:
        found = get(client, "/mlflow/api/3.0/mlflow/workspaces")["workspaces"]
        return {each["name"] for each in found}

    assert names(ann) == {team}
    assert names(bob) == {other}


CALLS: list[tuple[str, Any]] = [
    ("experiments/get-by-name?experiment_name=first", None),
    ("runs/get?run_id={run}", None),
    ("artifacts/list?run_id={run}", None),
    ("experiments/create", {"name": "mine"}),
    ("runs/log-metric", {"run_id": "{run}", "key": "k", "value": 1, "timestamp": 1}),
    ("runs/delete", {"run_id": "{run}"}),
    ("registered-models/create", {"name": "mine"}),
]
# calls that name her run have to be refused in his own workspace, too
OF_HER_RUN = [(path, body) for path, body in CALLS if "{run}" in f"{path}{body}"]


@pytest.mark.parametrize(
    ("own", "path", "body"),
    [(False, *call) for call in CALLS] + [(True, *call) for call in OF_HER_RUN],
)
def test_another_tenant_reaches_no_run_by_any_workspace(
    bob: httpx2.Client, team: str, other: str, run: str, own: bool, path: str,
    body: Any,
):  # fmt: skip
    filled = {k: run if v == "{run}" else v for k, v in body.items()} if body else None
    answer = asked(bob, other if own else team, path.format(run=run), filled)
    assert answer.status_code in (403, 404), answer.text


@pytest.mark.parametrize(
    ("path", "by_experiment", "key"),
    [("experiments/search?max_results=5", False, "experiments"), ("runs/search", True, "runs")],
)
def test_another_tenant_s_lists_have_nothing_of_hers(
    ann: httpx2.Client, bob: httpx2.Client, team: str, other: str, run: str, path: str,
    by_experiment: bool, key: str,
):  # fmt: skip
    info = asked(ann, team, f"runs/get?run_id={run}").json()["run"]["info"]
    experiment = info["experiment_id"]
    filled = {"experiment_ids": [experiment]} if by_experiment else None

    def experiments(answer: httpx2.Response) -> list[str]:
        if answer.status_code in (403, 404):  # MLflow refuses a list, or leaves out what is hers
            return []
        assert answer.status_code == 200, answer.text
        found = answer.json().get(key, [])
        return [each.get("info", each)["experiment_id"] for each in found]

    assert experiment in experiments(asked(ann, team, path, filled))
    assert experiments(asked(bob, team, path, filled)) == []
    assert experiment not in experiments(asked(bob, other, path, filled))


def test_a_forged_name_is_no_way_in(bob: httpx2.Client, accounts: Accounts, team: str, run: str):
    name = accounts.ann.email
    headers = {
        "X-MLFLOW-WORKSPACE": team, "Kubeflow-Userid": name, "kubeflow_userid": name,
        "X-Remote-User": name, "Accept": "application/json",
    }  # fmt: skip
    answer = bob.get(f"{API}/runs/get?run_id={run}", headers=headers)
    assert answer.status_code == 403, answer.text


def test_a_contributor_who_may_view_reads_and_does_not_write(
    stack: jubilant.Juju, bob: httpx2.Client, accounts: Accounts, team: str, run: str
):
    contributor = {"profile": team, "user": accounts.bob.email, "role": "view"}
    stack.run("profiles/0", "add-contributor", contributor)
    wait_for(lambda: asked(bob, team, f"runs/get?run_id={run}").status_code == 200)
    denied = asked(bob, team, "experiments/create", {"name": "mine"})
    assert denied.status_code == 403, denied.text
    stack.run("profiles/0", "remove-contributor", {"profile": team, "user": accounts.bob.email})
    wait_for(lambda: asked(bob, team, f"runs/get?run_id={run}").status_code == 403)
