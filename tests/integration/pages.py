"""What the web apps' pages do when somebody clicks."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx2

SECONDS = 300.0
NOTEBOOK = {
    "serverType": "jupyter",
    "imagePullPolicy": "IfNotPresent",
    "cpu": "0.1",
    "memory": "0.5Gi",
    "gpus": {"num": "none"},
    "tolerationGroup": "none",
    "affinityConfig": "none",
    "configurations": [],
    "shm": True,
    "environment": "{}",
    "datavols": [],
}


def send(client: httpx2.Client, method: str, path: str, body: Any = None) -> httpx2.Response:
    """Has the page's script send a request: with the cookie that the page set, in a header too."""
    page = client.get(f"/{path.split('/')[1]}/")
    headers = {
        "X-XSRF-TOKEN": page.cookies.get("XSRF-TOKEN") or "",
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Origin": f"https://{page.request.headers['Host']}",
    }
    return client.request(method, path, json=body, headers=headers)


def get(client: httpx2.Client, path: str) -> Any:
    """What an app says."""
    answer = client.get(path, headers={"Accept": "application/json"})
    assert answer.status_code == 200, answer.text
    return answer.json()


def wait_for(what: Callable[[], Any]) -> Any:
    """What it gives, once that is something."""
    deadline = time.monotonic() + SECONDS
    while True:
        found = what()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {SECONDS:.0f} s"
        time.sleep(0.5)


def notebook_state(client: httpx2.Client, team: str, name: str) -> dict[str, str]:
    """What the page shows of a notebook."""
    found = get(client, f"/jupyter/api/namespaces/{team}/notebooks")["notebooks"]
    return next(each["status"] for each in found if each["name"] == name)


def spawn(client: httpx2.Client, team: str, name: str, **form: Any) -> httpx2.Response:
    """Fills in the form for a new notebook."""
    config = get(client, "/jupyter/api/config")["config"]
    form = {"image": config["image"]["value"], "workspace": None, **form}
    body = {**NOTEBOOK, "name": name, "namespace": team, **form}
    return send(client, "POST", f"/jupyter/api/namespaces/{team}/notebooks", body)
