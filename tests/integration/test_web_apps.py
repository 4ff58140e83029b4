"""From the login to a notebook, a TensorBoard and a volume's files, as the web apps' pages do it.

All of it goes through the gateway.
"""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from pages import NOTEBOOK, get, notebook_state, send, spawn, wait_for
from people import Accounts
from reach import Reach


def wait_until_it_says(client: httpx2.Client, team: str, name: str, text: str) -> dict[str, str]:
    """What the page shows of a notebook, once a text is in it."""

    def found() -> dict[str, str] | None:
        state = notebook_state(client, team, name)
        return state if text in state["message"] else None

    return wait_for(found)


@pytest.fixture(scope="module")
def lab(ann: httpx2.Client, team: str) -> str:
    """Ann's notebook, spawned from the page and ready."""
    claim = {
        "metadata": {"name": "lab-workspace"},
        "spec": {
            "resources": {"requests": {"storage": "100Mi"}},
            "accessModes": ["ReadWriteOnce"],
        },
    }
    answer = spawn(ann, team, "lab", workspace={"mount": "/home/jovyan", "newPvc": claim})
    assert answer.status_code == 200, answer.text
    wait_for(lambda: notebook_state(ann, team, "lab")["phase"] == "ready")
    return "lab"


def test_each_page_says_that_it_is_a_stand_in(ann: httpx2.Client):
    for app in ("jupyter", "volumes", "tensorboards", "kserve-endpoints"):
        page = ann.get(f"/{app}/")
        assert page.status_code == 200, page.text
        assert "stand-in" in page.text
        assert f'<base href="/{app}/">' in page.text


def test_the_page_s_list_has_her_namespaces_and_no_other(
    ann: httpx2.Client, bob: httpx2.Client, team: str
):
    def namespaces(client: httpx2.Client) -> list[str]:
        return [each["namespace"] for each in get(client, "/api/workgroup/env-info")["namespaces"]]

    assert namespaces(ann) == [team]
    assert namespaces(bob) == []


def test_a_notebook_from_the_page_is_a_jupyterlab_behind_the_gateway(
    ann: httpx2.Client, team: str, lab: str
):
    base = f"/notebook/{team}/{lab}"
    wait_for(lambda: ann.get(f"{base}/api").status_code == 200)
    assert get(ann, f"{base}/api")["version"]
    assert "jupyter" in ann.get(f"{base}/lab").text.lower()


def test_a_change_without_the_page_s_token_is_refused(ann: httpx2.Client, team: str, lab: str):
    path = f"/jupyter/api/namespaces/{team}/notebooks/{lab}"
    answer = ann.patch(path, json={"stopped": True}, headers={"Accept": "application/json"})
    assert answer.status_code == 403
    assert notebook_state(ann, team, lab)["phase"] == "ready"


def test_a_volume_s_files_are_seen_and_changed(ann: httpx2.Client, team: str, lab: str):
    here = f"/volumes/api/namespaces/{team}"

    def volume() -> dict[str, Any]:
        return next(each for each in get(ann, f"{here}/pvcs")["pvcs"])

    assert (volume()["name"], volume()["notebooks"]) == ("lab-workspace", [lab])
    assert send(ann, "POST", f"{here}/viewers", {"name": "lab-workspace"}).status_code == 200
    wait_for(lambda: volume()["viewer"]["status"] == "ready")
    url = volume()["viewer"]["url"]
    assert url == f"/pvcviewers/{team}/lab-workspace/"
    host = f"https://{ann.get(url).request.headers['Host']}"
    headers = {"X-Auth": "page", "Origin": host}
    assert ann.post(f"{url}api/resources/note.txt", content=b"hi", headers=headers).is_success
    assert "note.txt" in ann.get(url).text
    assert get(ann, f"/notebook/{team}/{lab}/api/contents/note.txt")["content"] == "hi"


def test_a_volume_in_use_is_not_deleted(ann: httpx2.Client, team: str, lab: str):
    answer = send(ann, "DELETE", f"/volumes/api/namespaces/{team}/pvcs/lab-workspace")
    assert answer.status_code == 409
    assert f"{lab}-0" in answer.json()["log"]


def test_a_tensorboard_reads_a_volume(ann: httpx2.Client, team: str, lab: str):
    here = f"/tensorboards/api/namespaces/{team}/tensorboards"
    body = {"name": "runs", "logspath": "pvc://lab-workspace/", "configurations": []}
    assert send(ann, "POST", here, body).status_code == 200
    wait_for(lambda: get(ann, here)["tensorboards"][0]["status"]["phase"] == "ready")
    place = f"/tensorboard/{team}/runs"
    wait_for(lambda: ann.get(f"{place}/data/environment").status_code == 200)
    assert get(ann, f"{place}/data/environment")["data_location"] == "/tensorboard_logs/"
    assert "TensorBoard" in ann.get(f"{place}/").text


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/notebook/{team}/lab/api", None),
        ("GET", "/tensorboard/{team}/runs/data/environment", None),
        ("GET", "/pvcviewers/{team}/lab-workspace/", None),
        ("GET", "/jupyter/api/namespaces/{team}/notebooks", None),
        (
            "POST",
            "/jupyter/api/namespaces/{team}/notebooks",
            {**NOTEBOOK, "name": "x", "image": "i"},
        ),
        ("PATCH", "/jupyter/api/namespaces/{team}/notebooks/lab", {"stopped": True}),
        ("DELETE", "/jupyter/api/namespaces/{team}/notebooks/lab", None),
        ("GET", "/jupyter/api/namespaces/{team}/pvcs", None),
        ("GET", "/jupyter/api/namespaces/{team}/notebooks/lab/pod/lab-0/logs", None),
        ("GET", "/volumes/api/namespaces/{team}/pvcs", None),
        ("DELETE", "/volumes/api/namespaces/{team}/pvcs/lab-workspace", None),
        ("POST", "/volumes/api/namespaces/{team}/viewers", {"name": "lab-workspace"}),
        ("DELETE", "/volumes/api/namespaces/{team}/viewers/lab-workspace", None),
        ("GET", "/tensorboards/api/namespaces/{team}/tensorboards", None),
        ("DELETE", "/tensorboards/api/namespaces/{team}/tensorboards/runs", None),
    ],
)
def test_another_user_is_refused(
    bob: httpx2.Client, accounts: Accounts, team: str, lab: str, method: str, path: str, body: Any
):
    place = path.format(team=team)
    forged = {"kubeflow-userid": accounts.ann.email}
    if "/api/namespaces/" in place:
        answer = send(bob, method, place, body)
        refusal = f"User '{accounts.bob.email}' is not authorized to "
        assert answer.json()["log"].startswith(refusal)
        assert answer.status_code == 403
    else:
        assert bob.get(place).status_code == 403
    if method == "GET":
        assert bob.get(place, headers=forged).status_code == 403


def test_an_image_that_cannot_be_pulled_is_said_in_one_line(ann: httpx2.Client, team: str):
    assert spawn(ann, team, "bad", image="registry.invalid/none:1").status_code == 200
    state = wait_until_it_says(ann, team, "bad", "registry.invalid/none:1")
    assert (state["phase"], "\n" in state["message"]) == ("warning", False)


def test_a_full_quota_is_said_in_one_line(ann: httpx2.Client, team: str, reach: Reach):
    reach.kubectl("-n", team, "create", "quota", "full", "--hard=pods=1")
    try:
        assert spawn(ann, team, "much").status_code == 200
        state = wait_until_it_says(ann, team, "much", "exceeded quota: full")
        assert (state["phase"], "\n" in state["message"]) == ("warning", False)
    finally:
        reach.kubectl("-n", team, "delete", "quota", "full")


def test_a_notebook_is_stopped_and_deleted_and_its_volume_stays(
    ann: httpx2.Client, team: str, lab: str
):
    here = f"/jupyter/api/namespaces/{team}/notebooks"
    assert send(ann, "PATCH", f"{here}/{lab}", {"stopped": True}).status_code == 200
    wait_for(lambda: notebook_state(ann, team, lab)["phase"] == "stopped")
    assert send(ann, "PATCH", f"{here}/{lab}", {"stopped": True}).status_code == 409
    assert ann.get(f"/notebook/{team}/{lab}/api").status_code >= 500
    for name in (lab, "bad", "much"):
        assert send(ann, "DELETE", f"{here}/{name}").status_code == 200
    wait_for(lambda: not get(ann, here)["notebooks"])
    volumes = get(ann, f"/volumes/api/namespaces/{team}/pvcs")["pvcs"]
    assert [each["name"] for each in volumes] == ["lab-workspace"]


def test_a_tensorboard_and_a_volume_are_deleted(ann: httpx2.Client, team: str, reach: Reach):
    boards = f"/tensorboards/api/namespaces/{team}/tensorboards"
    assert send(ann, "DELETE", f"{boards}/runs").status_code == 200
    wait_for(lambda: not get(ann, boards)["tensorboards"])
    volumes = f"/volumes/api/namespaces/{team}/pvcs"
    wait_for(lambda: send(ann, "DELETE", f"{volumes}/lab-workspace").status_code == 200)
    wait_for(lambda: not get(ann, volumes)["pvcs"])
