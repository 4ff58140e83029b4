"""The notebook controller: how it runs, what it may do, its route and its actions."""

from __future__ import annotations

import json

import pytest
from ops import testing

from charmed_mlops.testing import relation

PATH = "/apis/kubeflow.org/v1/namespaces/ann/notebooks"


def notebook(
    name: str, *, ready: int = 1, stopped: str = "", activity: str = "", state=None
) -> dict:
    notes = {
        "kubeflow-resource-stopped": stopped,
        "notebooks.kubeflow.org/last-activity": activity,
    }
    return {
        "metadata": {
            "namespace": "ann",
            "name": name,
            "annotations": {key: value for key, value in notes.items() if value},
        },
        "spec": {"template": {"spec": {"containers": [{"name": name, "image": "lab:1"}]}}},
        "status": {"readyReplicas": ready, "containerState": state or {}},
    }


def test_it_runs_the_program_without_istio_and_with_culling(charm):
    out = charm.settled()
    assert charm.service(out).command == "/manager -enable-leader-election"
    assert charm.environment(out) == {
        "USE_ISTIO": "false",
        "CLUSTER_DOMAIN": "cluster.local",
        "ENABLE_CULLING": "true",
        "CULL_IDLE_TIME": "1440",
        "IDLENESS_CHECK_PERIOD": "1",
        "ADD_FSGROUP": "true",
    }
    checks = out.get_container("notebook-controller").plan.checks
    assert checks["notebook-controller"].http == {"url": "http://localhost:8081/readyz"}
    assert {port.port for port in out.opened_ports} == {8080}


@pytest.mark.parametrize(
    "option, value, variable, text",
    [
        ("culling", False, "ENABLE_CULLING", "false"),
        ("cull-idle-minutes", 30, "CULL_IDLE_TIME", "30"),
        ("idleness-check-minutes", 5, "IDLENESS_CHECK_PERIOD", "5"),
        ("add-fsgroup", False, "ADD_FSGROUP", "false"),
    ],
)
def test_every_option_reaches_the_program(charm, option, value, variable, text):
    out = charm.settled(config={option: value})
    assert charm.environment(out)[variable] == text


@pytest.mark.parametrize("option", ["cull-idle-minutes", "idleness-check-minutes"])
def test_a_wrong_option_blocks_and_the_service_goes_on(charm, option):
    text = f"config {option}=0: must be greater than or equal to 1"
    assert charm.refusal({option: 0}) == text


def test_all_three_versions_are_served_and_v1_is_stored(charm):
    versions = charm.manifest(charm.settled(), "CustomResourceDefinition")["spec"]["versions"]
    assert {each["name"]: each["storage"] for each in versions} == {
        "v1": True,
        "v1beta1": False,
        "v1alpha1": False,
    }
    assert all(each["served"] for each in versions)
    assert {json.dumps(each["schema"]) for each in versions} == {json.dumps(versions[0]["schema"])}


def test_only_who_may_change_notebooks_of_the_namespace_opens_one(charm):
    out = charm.settled(relation("gateway"))
    (route,) = json.loads(charm.published(out, "gateway")["routes"])
    assert route["prefix"] == "/notebook/{namespace}/{name}/"
    assert (route["host"], route["port"]) == ("{name}.{namespace}.svc.cluster.local", 80)
    assert route["rewrite"] is None
    assert route["annotations"] == "notebooks.kubeflow.org"
    assert [route[key] for key in ("access", "verb", "resource", "group")] == [
        "namespace",
        "update",
        "notebooks",
        "kubeflow.org",
    ]


def test_notebooks_answer_the_gateway_their_controller_and_their_own_namespace(charm):
    out = charm.settled(relation("gateway", "front-door"))
    (policy,) = charm.tenant_manifests(out)
    (rule,) = policy["spec"]["ingress"]
    peers = [
        each["podSelector"].get("matchLabels", {}).get("app.kubernetes.io/name")
        for each in rule["from"]
    ]
    assert peers == [None, "notebook-controller", "front-door"]
    assert [each.get("namespaceSelector") for each in rule["from"]] == [
        None,
        *[{"matchLabels": {"kubernetes.io/metadata.name": "shop"}}] * 2,
    ]


def test_notebooks_are_listed_with_why_they_do_not_come_up(charm, api):
    waiting = {"waiting": {"reason": "ImagePullBackOff"}}
    for each in (
        notebook("a"),
        notebook("b", ready=0, state=waiting),
        notebook("c", ready=0, stopped="2026-01-01T00:00:00Z"),
        notebook("d", ready=0),
    ):
        api.add(PATH, each)
    results = charm.act("list-notebooks", charm.state(), namespace="ann")
    found = {each["name"]: each["state"] for each in results["notebooks"].values()}
    assert found == {"a": "running", "b": "ImagePullBackOff", "c": "stopped", "d": "starting"}


def test_idle_is_what_runs_and_was_not_used(charm, api):
    long_ago = "2020-01-01T00:00:00Z"
    api.add(PATH, notebook("idle", activity=long_ago))
    api.add(PATH, notebook("busy", activity="2099-01-01T00:00:00Z"))
    api.add(PATH, notebook("unknown"))
    api.add(PATH, notebook("off", ready=0, activity=long_ago, stopped=long_ago))
    results = charm.act("list-idle", charm.state(), namespace="ann")
    assert [each["name"] for each in results["notebooks"].values()] == ["idle"]


def test_a_notebook_is_stopped_and_started_by_its_annotation(charm, api):
    api.add(PATH, notebook("a"))
    charm.act("stop", charm.state(), namespace="ann", name="a")
    assert "kubeflow-resource-stopped" in api.get(PATH, "a")["metadata"]["annotations"]
    charm.act("start", charm.state(), namespace="ann", name="a")
    assert api.get(PATH, "a")["metadata"]["annotations"] == {}


@pytest.mark.parametrize(
    "action, name, message",
    [
        ("stop", "off", "ann/off is stopped already"),
        ("start", "on", "ann/on is not stopped"),
        ("stop", "none", "there is no none"),
    ],
)
def test_an_action_that_cannot_be_done_says_why(charm, api, action, name, message):
    api.add(PATH, notebook("on"))
    api.add(PATH, notebook("off", stopped="2026-01-01T00:00:00Z"))
    with pytest.raises(testing.ActionFailed, match=message):
        charm.act(action, charm.state(), namespace="ann", name=name)


def test_all_are_stopped_only_when_that_is_confirmed(charm, api):
    api.add(PATH, notebook("a"))
    api.add(PATH, notebook("b"))
    api.add(PATH, notebook("c", stopped="2026-01-01T00:00:00Z"))
    results = charm.act("stop-all", charm.state(), namespace="ann")
    assert results == {"count": "2", "would-stop": "ann/a,ann/b"}
    assert api.get(PATH, "a")["metadata"]["annotations"] == {}
    results = charm.act("stop-all", charm.state(), namespace="ann", confirm=True)
    assert results == {"count": "2", "stopped": "ann/a,ann/b"}
    assert api.get(PATH, "b")["metadata"]["annotations"]
