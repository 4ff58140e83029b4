"""Knative Serving on the whole bundle: what nobody asks has no pod, and what is asked gets one.

All programs are upstream's. The tests of this file run in order on one model.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import jubilant
import pytest
import yaml
from audit import asked
from browsers import namespace_of, settle
from bundles import write_bundle
from intruders import pod
from pages import wait_for
from reach import CommandError, EngineReach, Reach, cluster_objects
from serving import wait_ready
from test_models_page import SERVICE as MODEL

APPS = ("kourier", "knative-controller", "knative-serving")
REMOVAL_SECONDS = 300.0
CODE = """
import http.server, os, signal

signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # the first process of a pod ignores it else

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        text = f"{os.environ['HOSTNAME']} for {self.headers['Host']}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""
SHORT = {"autoscaling.knative.dev/window": "10s"}  # not a minute, so that nobody waits for it
HELLO: dict[str, Any] = {
    "apiVersion": "serving.knative.dev/v1",
    "kind": "Service",
    "metadata": {"name": "hello"},
    "spec": {
        "template": {
            "metadata": {"annotations": SHORT},
            "spec": {
                "containers": [
                    {
                        "image": "docker.io/library/python:3.12.12-slim",
                        "command": ["python3", "-c", CODE],
                        "ports": [{"containerPort": 8080}],
                    }
                ]
            },
        }
    },
}


@pytest.fixture(scope="module")
def knative(
    stack: jubilant.Juju, charms: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[jubilant.Juju]:
    """The whole bundle with the overlays, which have gone when the file ends."""
    overlays = ["training-v1", "knative", "knative-door"]
    stack.deploy(write_bundle(charms, tmp_path_factory.mktemp("bundle"), overlays), trust=True)
    stack.wait(lambda status: set(APPS) <= set(status.apps))
    settle(stack)
    yield stack
    if set(APPS) & set(stack.status().apps):
        remove(stack)


def remove(stack: jubilant.Juju) -> None:
    stack.remove_application(*APPS)
    stack.wait(
        lambda status: not set(APPS) & set(status.apps),
        error=jubilant.any_error,
        timeout=REMOVAL_SECONDS,
    )
    settle(stack)


def pods(reach: Reach, namespace: str, service: str) -> list[str]:
    """The phases of the pods of a Knative Service that are not being deleted."""
    found = reach.kubectl(
        "-n", namespace, "get", "pods", f"-lserving.knative.dev/service={service}", "-o", "json"
    )
    return [
        each["status"]["phase"]
        for each in json.loads(found)["items"]
        if "deletionTimestamp" not in each["metadata"]
    ]


@pytest.fixture(scope="module")
def hello(knative: jubilant.Juju, reach: Reach, team: str) -> str:
    """Ann's Knative Service, ready; its path behind the gateway."""
    reach.kubectl("-n", team, "apply", "-f", "-", stdin=yaml.safe_dump(HELLO))
    reach.kubectl("-n", team, "wait", "ksvc/hello", "--for=condition=Ready", "--timeout=300s")
    return f"/knative/{team}/hello/"


@pytest.fixture(scope="module")
def model(knative: jubilant.Juju, reach: Reach, team: str) -> str:
    """Ann's model, which asks for Knative, ready; its path behind the gateway."""
    document = copy.deepcopy(MODEL)
    document["metadata"] = {
        "name": "seldom",
        "annotations": {"serving.kserve.io/deploymentMode": "Knative", **SHORT},
    }
    document["spec"]["predictor"]["minReplicas"] = 0
    reach.kubectl("-n", team, "apply", "-f", "-", stdin=yaml.safe_dump(document))
    wait_ready(reach, team, "seldom")
    return f"/serving/{team}/seldom/"


def test_a_service_without_requests_has_no_pod_and_a_request_gets_one(
    reach: Reach, ann: httpx2.Client, team: str, hello: str
):
    wait_for(lambda: pods(reach, team, "hello") == [])
    answer = ann.get(hello)
    assert answer.status_code == 200, answer.text
    name, _, host = answer.text.partition(" for ")
    assert name.startswith("hello-00001-deployment-")
    assert host == f"hello.{team}.svc.cluster.local"
    assert pods(reach, team, "hello") == ["Running"]


def test_a_model_without_requests_has_no_pod_and_a_request_gets_one(
    reach: Reach, ann: httpx2.Client, team: str, model: str
):
    wait_for(lambda: pods(reach, team, "seldom-predictor") == [])
    answer = ann.get(f"{model}hostname")
    assert answer.status_code == 200, answer.text
    assert answer.text.startswith("seldom-predictor-00001-deployment-")


def test_a_pod_of_the_same_namespace_asks_it_by_its_name(reach: Reach, team: str, hello: str):
    with pod(reach, team, "friend") as friend:
        status, text = friend.ask(f"http://hello.{team}.svc.cluster.local/")
    assert (status, text.partition(" for ")[2]) == (200, f"hello.{team}.svc.cluster.local")


def test_another_tenant_gets_to_neither_by_the_gateway_nor_past_it(
    reach: Reach, bob: httpx2.Client, team: str, other: str, hello: str, model: str
):
    for path in (hello, model):
        assert bob.get(path).status_code == 403
    with pod(reach, other) as intruder:
        for name in ("hello", "seldom-predictor"):
            assert intruder.ask(f"http://{name}.{team}.svc.cluster.local/")[0] == 403


def test_knative_s_webhook_says_what_is_wrong(reach: Reach, team: str, hello: str):
    wrong = copy.deepcopy(HELLO)
    wrong["metadata"]["name"] = "wrong"
    wrong["spec"]["template"]["metadata"]["annotations"] = {
        "autoscaling.knative.dev/max-scale": "many"
    }
    with pytest.raises(CommandError) as error:
        reach.kubectl("-n", team, "apply", "-f", "-", stdin=yaml.safe_dump(wrong))
    assert "autoscaling.knative.dev/max-scale" in error.value.stderr


def test_actions_tell_what_there_is(knative: jubilant.Juju, team: str, hello: str, model: str):
    found = knative.run("knative-serving/leader", "list-services", {"namespace": team}).results
    services = {each["name"]: each for each in found["services"].values()}
    assert set(services) == {"hello", "seldom-predictor"}
    assert services["hello"]["ready"] == "True"
    assert services["hello"]["url"] == f"http://hello.{team}.svc.cluster.local"
    found = knative.run("kourier/leader", "list-routes", {"namespace": team}).results
    routes = {each["name"]: each for each in found["routes"].values()}
    assert routes["hello"]["to"].startswith(f"{team}/hello-00001:")


def test_three_units_serve_and_one_again(
    knative: jubilant.Juju, reach: Reach, ann: httpx2.Client, team: str, hello: str
):
    for number in (3, 1):
        for app in APPS:
            knative.cli("scale-application", app, str(number))
        knative.wait(
            lambda status, number=number: all(
                len(status.apps[app].units) == number for app in APPS
            )
        )
        settle(knative)
        wait_for(lambda: pods(reach, team, "hello") == [])
        answers = [ann.get(hello).status_code for _ in range(10)]
        assert answers == [200] * 10


@pytest.mark.localjuju
def test_they_are_refused_nothing_that_they_ask_of_kubernetes(
    knative: jubilant.Juju, reach: EngineReach
):
    found = asked(reach.audit_log, namespace_of(knative))
    assert [name for name in APPS if not found[name].allowed] == []
    assert {name: found[name].refused for name in APPS if found[name].refused} == {}


def test_when_it_is_removed_models_of_the_other_mode_stay(
    knative: jubilant.Juju, reach: Reach, ann: httpx2.Client, team: str, hello: str, model: str
):
    document = copy.deepcopy(MODEL)
    document["metadata"] = {"name": "often"}
    reach.kubectl("-n", team, "apply", "-f", "-", stdin=yaml.safe_dump(document))
    wait_ready(reach, team, "often")
    reach.kubectl("-n", team, "delete", "isvc/seldom", "ksvc/hello", "--timeout=120s")
    remove(knative)
    assert ann.get(f"/serving/{team}/often/hostname").status_code == 200
    assert not [each for each in cluster_objects(reach) if "knative" in each or "kourier" in each]
