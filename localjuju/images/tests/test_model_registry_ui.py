"""What the stand-in of the model registry's page answers, asks Kubernetes for, and calls."""

from __future__ import annotations

import http.server
import importlib
import json
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from localjuju import images

SCRIPTS = Path(images.__file__).parent / "scripts"
HERE = "/model-registry/api/v1"
LISTED = f"{HERE}/model_registry?namespace=team"
MODELS = f"{HERE}/model_registry/one/registered_models"
ANN = {"kubeflow-userid": "ann@example.com", "kubeflow-groups": "risk, fraud"}
API = "/api/model_registry/v1alpha3"
REFUSED = (403, {"error": {"code": "403", "message": "Access forbidden"}})
MISSING = (404, {"error": {"code": "404", "message": "the requested resource could not be found"}})
FAILED = (500, {"error": {"code": "500", "message":
          "the server encountered a problem and could not process your request"}})  # fmt: skip


def service(name: str = "one", **spec: Any) -> dict[str, Any]:
    """A Service that says all that the page looks for."""
    return {
        "metadata": {
            "name": name,
            "labels": {"component": "model-registry"},
            "annotations": {"displayName": "Team's", "description": "all"},
        },
        "spec": {"clusterIP": "None", "ports": [{"name": "http-api", "port": 8080}], **spec},
    }


class Cluster:
    """Kubernetes: it lets users do what is in `allowed`, and has these objects."""

    def __init__(self, api_error: type[Exception]):
        self.error = api_error
        self.allowed = {("get", ""), ("list", ""), ("get", "one")}
        self.asked: list[dict[str, Any]] = []
        self.services = [service()]
        self.bindings: list[dict[str, Any]] = []

    def call(self, method: str, path: str, body: Any = None) -> Any:
        place = urllib.parse.urlsplit(path)
        if place.path.endswith("/subjectaccessreviews"):
            self.asked.append(body["spec"])
            wanted = body["spec"]["resourceAttributes"]
            allowed = (wanted["verb"], wanted.get("name", "")) in self.allowed
            return {"status": {"allowed": allowed}}
        if place.path.endswith("/clusterrolebindings"):
            return {"items": self.bindings}
        if place.path == "/api/v1/namespaces/team/services":
            assert place.query == "labelSelector=component%3Dmodel-registry"
            return {"items": self.services}
        for each in self.services:
            if place.path == f"/api/v1/namespaces/team/services/{each['metadata']['name']}":
                return each
        raise self.error(404, "not found")


class Registry(http.server.BaseHTTPRequestHandler):
    """A registry that answers what it was asked, and refuses the name `taken`."""

    def _respond(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        given = json.loads(data or b"{}")
        status = 201 if self.command == "POST" else 200
        body = {"id": "7", "asked": f"{self.command} {self.path}", **given}
        if given.get("name") == "taken":
            status, body = 409, {"code": "Conflict", "message": "already exists"}
        elif self.path.endswith("/404"):
            status, body = 404, {"code": "Not Found", "message": "no registered model"}
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def do_GET(self) -> None:
        self._respond()

    def do_POST(self) -> None:
        self._respond()

    def do_PATCH(self) -> None:
        self._respond()

    def log_message(self, format: str, *args: Any) -> None:
        return


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Found as in its image: beside the module that it shares with others."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("model_registry_ui")


@pytest.fixture
def cluster(script: ModuleType) -> Cluster:
    return Cluster(script.stand_in.ApiError)


@pytest.fixture
def serve() -> Iterator[Callable[[type[http.server.BaseHTTPRequestHandler]], int]]:
    """Serves with a handler; says the port."""
    servers: list[tuple[http.server.ThreadingHTTPServer, threading.Thread]] = []

    def start(handler: type[http.server.BaseHTTPRequestHandler]) -> int:
        server = http.server.ThreadingHTTPServer(("localhost", 0), handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        servers.append((server, thread))
        return server.server_address[1]

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


Ask = Callable[..., tuple[int, Any]]


@pytest.fixture
def registry(serve: Callable[..., int]) -> int:
    """The port of a registry."""
    return serve(Registry)


@pytest.fixture
def ask(script: ModuleType, cluster: Cluster, serve: Callable[..., int], registry: int) -> Ask:
    """Asks the page's back end, which reaches the registry at its own pod's port."""
    flags = script.settings(
        ["--deployment-mode=kubeflow", "--dev-mode", f"--dev-mode-model-registry-port={registry}"],
        {},
    )
    return asker(script, cluster, serve, flags)


def asker(script: ModuleType, cluster: Cluster, serve: Callable[..., int], flags: Any) -> Ask:
    handler = type("Handler", (script.Handler,), {"back_end": script.BackEnd(cluster, flags)})
    port = serve(handler)

    def asked(method: str, path: str, body: Any = None, headers: Any = ANN) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://localhost:{port}{path}", method=method, data=data, headers=headers
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                status, text = answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read().decode()
        return status, json.loads(text) if text.startswith("{") else text

    return asked


# who asks


def test_nobody_is_answered_but_probes_and_the_page_itself(ask: Ask, cluster: Cluster):
    for path in (f"{HERE}/user", LISTED, f"{MODELS}?namespace=team"):
        status, said = ask("GET", path, headers={})
        assert (status, said["error"]["message"]) == (
            400,
            "missing required kubeflow-userid header",
        )
    assert ask("GET", "/healthcheck", headers={})[1]["status"] == "available"
    assert "stand-in" in ask("GET", "/some/place/of/the/page", headers={})[1]
    assert cluster.asked == []


def test_the_user_is_told_who_he_is_and_whether_he_is_the_clusters_administrator(
    ask: Ask, cluster: Cluster
):
    assert ask("GET", f"{HERE}/user") == (
        200, {"data": {"userId": "ann@example.com", "clusterAdmin": False}})  # fmt: skip
    cluster.bindings = [
        {
            "roleRef": {"kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "User", "name": "ann@example.com"}],
        }
    ]
    assert ask("GET", "/api/v1/user")[1]["data"]["clusterAdmin"] is True


# which registries there are


def test_a_namespaces_registries_are_those_of_its_services_that_say_so(ask: Ask, cluster: Cluster):
    cluster.services += [
        service("no-port", ports=[{"name": "http", "port": 80}]),
        service("elsewhere", clusterIP="", type="ExternalName"),
    ]
    assert ask("GET", LISTED) == (200, {"data": [{
        "name": "one", "displayName": "Team's", "description": "all",
        "serverAddress": f"http://None:8080{API}", "isHttps": False,
    }]})  # fmt: skip


def test_kubernetes_is_asked_for_the_user_with_his_groups(ask: Ask, cluster: Cluster):
    ask("GET", LISTED)
    ask("GET", f"{MODELS}?namespace=team")
    services = {"resource": "services", "namespace": "team"}
    who = {"user": "ann@example.com", "groups": ["risk", "fraud"]}
    assert cluster.asked == [
        {**who, "resourceAttributes": {**services, "verb": "get"}},
        {**who, "resourceAttributes": {**services, "verb": "list"}},
        {**who, "resourceAttributes": {**services, "verb": "get", "name": "one"}},
    ]


def test_who_may_get_one_service_only_is_not_shown_it_and_may_ask_it(ask: Ask, cluster: Cluster):
    cluster.allowed = {("get", "one")}
    assert ask("GET", LISTED) == REFUSED
    assert ask("GET", f"{MODELS}?namespace=team")[0] == 200


def test_who_may_not_get_the_service_is_refused_whatever_he_asks(ask: Ask, cluster: Cluster):
    cluster.allowed = set()
    assert ask("GET", f"{MODELS}?namespace=team") == REFUSED
    assert ask("POST", f"{MODELS}?namespace=team", {"data": {"name": "fraud"}}) == REFUSED
    assert ask("PATCH", f"{MODELS}/7?namespace=team", {"data": {}}) == REFUSED


def test_a_service_without_the_label_or_an_absent_one_is_no_registry(ask: Ask, cluster: Cluster):
    cluster.services[0]["metadata"]["labels"] = {"component": "other"}
    assert ask("GET", f"{MODELS}?namespace=team") == MISSING
    cluster.services = []
    assert ask("GET", f"{MODELS}?namespace=team") == MISSING


@pytest.mark.parametrize("path", [f"{HERE}/model_registry", MODELS])
def test_the_namespace_has_to_be_said(ask: Ask, path: str):
    status, said = ask("GET", path)
    assert (status, said["error"]["message"]) == (
        400, "missing required query parameter: namespace")  # fmt: skip


# what goes on to the registry


def test_a_list_goes_on_with_what_of_its_query_the_registry_knows(ask: Ask):
    query = "?namespace=team&pageSize=5&sortOrder=ASC&other=1"
    status, said = ask("GET", MODELS + query)
    wanted = f"GET {API}/registered_models?pageSize=5&sortOrder=ASC"
    assert (status, said["data"]["asked"]) == (200, wanted)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "registered_models/7/versions", 200),
        ("GET", "model_versions/7/artifacts", 200),
        ("GET", "artifacts", 200),
        ("POST", "registered_models", 201),
        ("PATCH", "model_versions/7", 200),
        ("PATCH", "model_artifacts/7", 200),
    ],
)
def test_calls_go_on_with_what_their_envelope_carries(
    ask: Ask, method: str, path: str, status: int
):
    body = None if method == "GET" else {"data": {"name": "fraud"}}
    found, said = ask(method, f"{HERE}/model_registry/one/{path}?namespace=team", body)
    assert (found, said["data"]["asked"]) == (status, f"{method} {API}/{path}")
    assert said["data"].get("name") == (None if body is None else "fraud")


def test_what_the_registry_refuses_is_told_of_a_change_and_hidden_of_a_read(ask: Ask):
    taken = {"data": {"name": "taken"}}
    assert ask("POST", f"{MODELS}?namespace=team", taken) == (
        409, {"error": {"code": "Conflict", "message": "already exists"}})  # fmt: skip
    assert ask("GET", f"{MODELS}/404?namespace=team") == FAILED


def test_a_new_object_without_a_name_and_a_body_without_an_envelope_are_refused(ask: Ask):
    status, said = ask("POST", f"{MODELS}?namespace=team", {"data": {}})
    assert (status, said["error"]["message"]) == (400, "validation error:: name cannot be empty")
    assert ask("POST", f"{MODELS}?namespace=team", {"name": "fraud"}) == FAILED


def test_in_dev_mode_it_asks_its_own_pod_whatever_address_a_service_has(
    ask: Ask, cluster: Cluster
):
    cluster.services = [service(clusterIP="192.0.2.1")]
    assert ask("GET", f"{MODELS}?namespace=team")[0] == 200


def test_else_it_asks_the_services_own_address(
    script: ModuleType, cluster: Cluster, serve: Callable[..., int], registry: int
):
    flags = script.settings(["--deployment-mode=kubeflow"], {})
    ports = [{"name": "http-api", "port": registry}]
    cluster.services = [service(clusterIP="localhost", ports=ports)]
    asked = asker(script, cluster, serve, flags)
    assert asked("GET", f"{MODELS}?namespace=team")[0] == 200


# what there is not


@pytest.mark.parametrize("path", ["namespaces", "settings/model_registry", "other"])
def test_what_the_mode_kubeflow_has_not_is_not_there(ask: Ask, path: str):
    assert ask("GET", f"{HERE}/{path}?namespace=team") == MISSING


def test_a_method_that_there_is_not_is_refused(ask: Ask):
    status, said = ask("DELETE", f"{MODELS}?namespace=team")
    assert status == 405
    assert said["error"]["message"] == "the DELETE method is not supported for this resource"


@pytest.mark.parametrize(
    "path", ["model_catalog/models", "model_registry/one/model_transfer_jobs"]
)
def test_what_is_not_played_is_said(ask: Ask, path: str):
    assert ask("GET", f"{HERE}/{path}?namespace=team")[0] == 501


# how it is started


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (["--namespace=x"], 2),
        (["--port=many"], 2),
        (["--deployment-mode=other"], 2),
        (["--deployment-mode=kubeflow", "--auth-method=none"], 1),
    ],
)
def test_what_upstream_refuses_ends_it(script: ModuleType, flags: list[str], code: int):
    with pytest.raises(SystemExit) as ended:
        script.settings(flags, {})
    assert ended.value.code == code


@pytest.mark.parametrize(
    "flags",
    [[], ["--deployment-mode=federated"], ["--deployment-mode=kubeflow", "--mock-mr-client"]],
)
def test_what_it_does_not_play_ends_it_with_the_reason(script: ModuleType, flags: list[str]):
    with pytest.raises(SystemExit, match="the stand-in"):
        script.settings(flags, {})


def test_variables_give_defaults_and_flags_go_before_them(script: ModuleType):
    mode = "--deployment-mode=Kubeflow"
    assert script.settings([mode], {"PORT": "9000"})["port"] == "9000"
    assert script.settings([mode, "-port", "9001"], {"PORT": "9000"})["port"] == "9001"
