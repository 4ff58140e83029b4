"""The model registry on the whole bundle: registered by the unchanged client through the gateway.

Server and page are stand-ins on the local engine; gateway, database, client and the Envoy that
leads the page to the server are the real programs.
The tests of this file run in order on one model.
"""

from __future__ import annotations

import json
import subprocess
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import jubilant
import pytest
import yaml
from browsers import PORT, NewClient, namespace_of, settle
from bundles import write_bundle
from intruders import pod
from pages import get, send, wait_for
from reach import Reach

SCRIPT = Path(__file__).with_name("model_registry_client.py")
API = "/api/model_registry/v1alpha3"
APP, PAGE = "model-registry", "model-registry-ui"
CALLS = "/model-registry/api/v1"
REMOVAL_SECONDS = 300.0
Do = Callable[..., Any]


@pytest.fixture(scope="module")
def registry(
    stack: jubilant.Juju, charms: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[jubilant.Juju]:
    """The whole bundle with the overlay, which has gone when the file ends."""
    bundle = write_bundle(charms, tmp_path_factory.mktemp("bundle"), ["training-v1", APP])
    stack.deploy(bundle, trust=True)
    stack.wait(lambda status: APP in status.apps)
    settle(stack)
    yield stack
    if APP in stack.status().apps:
        remove(stack)


def remove(stack: jubilant.Juju) -> None:
    stack.remove_application(APP, PAGE)
    stack.wait(
        lambda status: not {APP, PAGE} & set(status.apps),
        error=jubilant.any_error,
        timeout=REMOVAL_SECONDS,
    )
    settle(stack)


@pytest.fixture(scope="module")
def do(
    registry: jubilant.Juju, reach: Reach, team: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Do]:
    """Has the client do something with the token of Ann's namespace's service account."""
    from localjuju.images import training

    folder = tmp_path_factory.mktemp("client")
    shown = registry.run("gateway/0", "get-ca").results
    ca, token = folder / "ca.pem", folder / "token"
    ca.write_text(shown["ca"])
    token.write_text(
        reach.kubectl(
            "-n", team, "create", "token", "default-editor", "--audience=charmed-mlops",
            "--duration=1h",
        )
    )  # fmt: skip
    with reach.forward(namespace_of(registry), "gateway", PORT) as url:

        def done(what: str, /, **arguments: Any) -> Any:
            asked = {
                "url": shown["url"], "port": urllib.parse.urlsplit(url).port, "ca": str(ca),
                "token": str(token), "do": what, "arguments": arguments,
            }  # fmt: skip
            ended = subprocess.run(
                [training.python(name="model-registry-client"), SCRIPT],
                input=json.dumps(asked),
                capture_output=True,
                text=True,
                check=False,
            )
            assert ended.returncode == 0, ended.stderr[-2000:]
            return json.loads(ended.stdout.splitlines()[-1])

        yield done


@pytest.fixture(scope="module")
def fraud(do: Do) -> dict[str, Any]:
    """What the client knows of a model's second version once it has registered both."""
    for version in ("1", "2"):
        found = do(
            "register", name="fraud", version=version, uri=f"s3://models/fraud/{version}",
            properties={"accuracy": 0.75, "rows": 12},
        )  # fmt: skip
    return found


def listed(stack: jubilant.Juju, unit: int) -> dict[str, dict[str, str]]:
    """What one unit's server knows, by name."""
    models = stack.run(f"{APP}/{unit}", "list-models").results.get("models", {})
    return {each["name"]: each for each in models.values()}


def units(stack: jubilant.Juju, number: int) -> None:
    stack.cli("scale-application", APP, str(number))
    stack.wait(lambda status: len(status.apps[APP].units) == number, timeout=REMOVAL_SECONDS)
    settle(stack)


def test_versions_are_registered_through_the_gateway(fraud: dict[str, Any]):
    assert fraud == {
        "owner": "ann",
        "versions": ["1", "2"],
        "properties": {"accuracy": 0.75, "rows": 12},
        "uri": "s3://models/fraud/2",
    }


def test_an_administrator_sees_them(registry: jubilant.Juju, fraud: dict[str, Any]):
    model = listed(registry, 0)["fraud"]
    assert (model["owner"], model["state"], model["versions"]) == ("ann", "LIVE", "1, 2")


def test_who_has_logged_in_reads_them_and_nobody_else(
    ann: httpx2.Client, new_client: NewClient, fraud: dict[str, Any]
):
    found = get(ann, f"{API}/registered_models")
    assert [each["name"] for each in found["items"]] == ["fraud"]
    answer = new_client().get(
        f"{API}/registered_models",
        headers={"Accept": "application/json"},
        follow_redirects=False,
    )
    assert answer.status_code != 200
    assert "fraud" not in answer.text


def shown(client: httpx2.Client, team: str, path: str = "") -> Any:
    """What the page says of the registries of a namespace, or below one of them."""
    return get(client, f"{CALLS}/model_registry{path}?namespace={team}")["data"]


def test_a_tenants_page_shows_the_registry_with_the_models_and_their_versions(
    registry: jubilant.Juju, ann: httpx2.Client, team: str, fraud: dict[str, Any]
):
    assert ann.get("/model-registry/").status_code == 200
    (found,) = shown(ann, team)
    assert (found["name"], found["displayName"]) == (APP, "Model Registry")
    (model,) = shown(ann, team, f"/{APP}/registered_models")["items"]
    assert (model["name"], model["owner"]) == ("fraud", "ann")
    versions = shown(ann, team, f"/{APP}/registered_models/{model['id']}/versions")["items"]
    assert [each["name"] for each in versions] == ["1", "2"]
    registry.config(APP, {"display-name": "Ours"})
    settle(registry)
    assert wait_for(lambda: [each["displayName"] for each in shown(ann, team)] == ["Ours"])


def test_who_has_no_rights_in_a_namespace_is_refused_there(
    bob: httpx2.Client, team: str, other: str, fraud: dict[str, Any]
):
    (found,) = shown(bob, other)
    models = f"{CALLS}/model_registry/{found['name']}/registered_models?namespace={team}"
    for method, path, body in (
        ("GET", f"{CALLS}/model_registry?namespace={team}", None),
        ("GET", models, None),
        ("POST", models, {"data": {"name": "theirs"}}),
    ):
        answer = send(bob, method, path, body)
        assert answer.status_code == 403
        assert answer.json()["error"]["message"] == "Access forbidden"


def test_a_service_of_a_tenants_own_does_not_lead_the_page_elsewhere(
    reach: Reach, ann: httpx2.Client, team: str, fraud: dict[str, Any]
):
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "elsewhere", "labels": {"component": APP}},
        "spec": {"selector": {"app": "elsewhere"}, "ports": [{"name": "http-api", "port": 80}]},
    }
    who = f"--as=system:serviceaccount:{team}:default-editor"
    reach.kubectl("-n", team, "apply", "-f", "-", who, stdin=yaml.safe_dump(service))
    try:
        assert {each["name"] for each in shown(ann, team)} == {APP, "elsewhere"}
        (model,) = shown(ann, team, "/elsewhere/registered_models")["items"]
        assert model["name"] == "fraud"
    finally:
        reach.kubectl("-n", team, "delete", "service/elsewhere")


def test_a_pod_of_a_user_reaches_it_only_where_it_is_opened_to_pods(
    registry: jubilant.Juju, reach: Reach, team: str, fraud: dict[str, Any]
):
    host, page = (
        f"{name}.{namespace_of(registry)}.svc.cluster.local" for name in (f"{APP}-service", PAGE)
    )
    with pod(reach, team) as intruder:
        assert intruder.reachable((host, 8080), (page, 8080), (page, 8081)) == set()
        registry.config(APP, {"open-to-pods": True})
        settle(registry)
        wait_for(lambda: intruder.reachable((host, 8080)))
        status, text = intruder.ask(f"http://{host}:8080{API}/registered_model?name=fraud")
        assert (status, json.loads(text)["owner"]) == (200, "ann")
        registry.config(APP, {"open-to-pods": False})
        settle(registry)
        wait_for(lambda: not intruder.reachable((host, 8080)))


def test_they_are_there_after_the_pod_was_deleted(
    registry: jubilant.Juju, reach: Reach, do: Do, fraud: dict[str, Any]
):
    here, name = ("-n", namespace_of(registry)), f"pod/{APP}-0"
    reach.kubectl(*here, "delete", name, "--timeout=120s")
    reach.kubectl(*here, "wait", name, "--for=create", "--timeout=120s")
    reach.kubectl(*here, "wait", name, "--for=condition=Ready", "--timeout=300s")
    settle(registry)
    assert do("look", name="fraud", version="2") == fraud


def test_three_units_know_the_same(registry: jubilant.Juju, do: Do, fraud: dict[str, Any]):
    units(registry, 3)
    assert [listed(registry, unit)["fraud"]["versions"] for unit in range(3)] == ["1, 2"] * 3
    do("register", name="churn", version="1", uri="s3://models/churn/1", properties={})
    assert [set(listed(registry, unit)) for unit in range(3)] == [{"fraud", "churn"}] * 3
    units(registry, 1)
    assert do("look", name="fraud", version="2") == fraud


def test_it_leaves_nothing_in_the_cluster_when_it_is_removed(
    registry: jubilant.Juju, reach: Reach, ann: httpx2.Client, team: str, fraud: dict[str, Any]
):
    remove(registry)
    wait_for(lambda: ann.get(f"{API}/registered_models").status_code == 404)
    assert ann.get(f"{CALLS}/user").status_code == 404
    assert APP not in reach.kubectl("-n", team, "get", "services", "-o", "name")
    left = reach.kubectl(
        "-n", namespace_of(registry), "get", "services,networkpolicies,serviceaccounts",
        "-o", "name",
    )  # fmt: skip
    assert [each for each in left.split() if APP in each] == []
