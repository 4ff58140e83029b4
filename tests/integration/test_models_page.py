"""A model that is served: made, seen, read and deleted from KServe's page, through the gateway."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from intruders import pod
from pages import get, send, wait_for
from reach import Reach

PAGE = "/kserve-endpoints/api/namespaces/{team}/inferenceservices"
CODE = """
import http.server, os, signal
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # the first process of a pod ignores it else
print("at work", flush=True)
http.server.test(http.server.SimpleHTTPRequestHandler, port=8080, bind="0.0.0.0")
"""
# A predictor of one's own: KServe runs the container as it is.
SERVICE: dict[str, Any] = {
    "apiVersion": "serving.kserve.io/v1beta1",
    "kind": "InferenceService",
    "metadata": {"name": "files"},
    "spec": {
        "predictor": {
            "containers": [
                {
                    "name": "kserve-container",
                    "image": "docker.io/library/python:3.12.12-slim",
                    "command": ["python3", "-c", CODE],
                    "workingDir": "/etc",
                    "ports": [{"containerPort": 8080}],
                }
            ]
        }
    },
}


def condition(service: dict[str, Any]) -> str:
    """Whether it is ready, as KServe says it: True, False or Unknown."""
    conditions = service.get("status", {}).get("conditions", [])
    return next((each["status"] for each in conditions if each["type"] == "Ready"), "Unknown")


@pytest.fixture(scope="module")
def service(ann: httpx2.Client, team: str) -> str:
    """Ann's service, made from the page and ready; its path there."""
    here = PAGE.format(team=team)
    answer = send(ann, "POST", here, SERVICE)
    assert answer.status_code == 200, answer.text
    path = f"{here}/files"
    wait_for(lambda: condition(get(ann, path)["inferenceService"]) == "True")
    return path


def test_it_is_in_the_list_with_its_address(ann: httpx2.Client, team: str, service: str):
    (shown,) = get(ann, PAGE.format(team=team))["inferenceServices"]
    assert shown["metadata"]["name"] == "files"
    assert team in shown["status"]["url"]


def test_its_log_is_shown(ann: httpx2.Client, service: str):
    def log() -> list[str]:
        found = get(ann, f"{service}?logs=true&component=predictor")["serviceLogs"]
        return [line for pod in found.get("predictor", ()) for line in pod["logs"]]

    wait_for(lambda: "at work" in log())


def test_it_answers_behind_the_gateway(ann: httpx2.Client, team: str, service: str):
    wait_for(lambda: ann.get(f"/serving/{team}/files/hostname").status_code == 200)


def test_what_kserve_refuses_is_told(ann: httpx2.Client, team: str):
    body = {**SERVICE, "metadata": {"name": "Wrong_Name"}}
    answer = send(ann, "POST", PAGE.format(team=team), body)
    assert answer.status_code in (400, 422)
    assert "Wrong_Name" in answer.json()["log"]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_another_tenant_is_refused(bob: httpx2.Client, service: str, method: str):
    assert send(bob, method, service).status_code == 403


def test_another_tenant_gets_to_the_model_neither_by_the_gateway_nor_past_it(
    reach: Reach, bob: httpx2.Client, team: str, other: str, service: str
):
    assert bob.get(f"/serving/{team}/files/hostname").status_code == 403
    target = (f"files-predictor.{team}.svc.cluster.local", 80)
    with pod(reach, other) as intruder, pod(reach, team, "friend") as friend:
        assert intruder.reachable(target) == set()
        assert friend.reachable(target) == {target}


def test_it_is_deleted(ann: httpx2.Client, team: str, service: str):
    assert send(ann, "DELETE", service).status_code == 200
    wait_for(lambda: not get(ann, PAGE.format(team=team))["inferenceServices"])
