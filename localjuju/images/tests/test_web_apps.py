"""What the stand-ins for Kubeflow's web apps answer to a browser, and ask Kubernetes for."""

from __future__ import annotations

import datetime
import importlib
import io
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from localjuju import images

SCRIPTS = Path(images.__file__).parent / "scripts"
NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.timezone.utc)
LAB = "registry.example/lab:1"
USER = "ann@example.com"
SETTINGS = {"APP_PREFIX": "/jupyter", "USERID_PREFIX": "", "APP_SECURE_COOKIES": "true"}
CLAIM = {
    "metadata": {"name": "{notebook-name}-workspace"},
    "spec": {"resources": {"requests": {"storage": "5Gi"}}, "accessModes": ["ReadWriteOnce"]},
}
FORM: dict[str, Any] = {
    "allowCustomImage": True,
    "imagePullPolicy": {"value": "IfNotPresent"},
    "image": {"value": LAB, "options": [LAB]},
    "imageGroupOne": {"value": "code:1", "options": ["code:1"]},
    "imageGroupTwo": {"value": "studio:1", "options": ["studio:1"]},
    "cpu": {"value": "0.5", "limitFactor": "1.2"},
    "memory": {"value": "1.0Gi", "limitFactor": "1.2"},
    "gpus": {
        "value": {
            "vendor": "",
            "num": "none",
            "vendors": [{"limitsKey": "nvidia.com/gpu", "uiName": "NVIDIA"}],
        }
    },
    "workspaceVolume": {"value": {"mount": "/home/jovyan", "newPvc": CLAIM}},
    "dataVolumes": {"value": []},
    "affinityConfig": {"value": "", "options": []},
    "tolerationGroup": {
        "value": "",
        "options": [
            {"groupKey": "gpu", "displayName": "G", "tolerations": [{"key": "gpu"}]},
        ],
    },
    "shm": {"value": True},
    "configurations": {"value": []},
    "environment": {"value": {}},
}
NEW: dict[str, Any] = {
    "name": "lab",
    "namespace": "team",
    "image": LAB,
    "imagePullPolicy": "IfNotPresent",
    "serverType": "jupyter",
    "cpu": "0.5",
    "memory": "1.0Gi",
    "gpus": {"num": "none"},
    "tolerationGroup": "none",
    "affinityConfig": "none",
    "configurations": ["mlflow"],
    "shm": True,
    "environment": "{}",
    "datavols": [],
    "workspace": {
        "mount": "/home/jovyan",
        "newPvc": {**CLAIM, "metadata": {"name": "lab-workspace"}},
    },
}


class Cluster:
    """Kubernetes: it lets users do what is in `allowed`, and keeps what it is told."""

    def __init__(self, api_error: type[Exception]):
        self.error = api_error
        self.allowed = True
        self.asked: list[dict[str, Any]] = []
        self.calls: list[tuple[str, str, Any]] = []
        self.lists: dict[str, list[dict[str, Any]]] = {}
        self.refused: dict[str, tuple[int, str]] = {}
        self.logs: dict[str, str] = {}

    def call(self, method: str, path: str, body: Any = None, kind: str = "") -> Any:
        if path.endswith("/subjectaccessreviews"):
            self.asked.append(body["spec"])
            return {"status": {"allowed": self.allowed}}
        self.calls.append((method, path, body))
        place = urlsplit(path).path
        if place in self.refused:
            raise self.error(*self.refused[place])
        if method == "POST":
            return body
        if method == "GET" and place in self.lists:
            return {"items": self.lists[place]}
        folder, _, name = place.rpartition("/")
        for each in self.lists.get(folder, []):
            if each["metadata"]["name"] == name:
                return each
        raise self.error(404, "not found")

    def text(self, method: str, path: str) -> str:
        self.calls.append((method, path, None))
        return self.logs[path]

    def changes(self) -> list[tuple[str, str, Any]]:
        """What was changed, without the trials."""
        return [each for each in self.calls if each[0] != "GET" and "dryRun" not in each[1]]


class Browser:
    """Sends requests to the app, as the gateway does for a user."""

    def __init__(self, app: Any, user: str | None = USER):
        self._app, self._user = app, user
        self.token: str | None = "t"
        self.headers: dict[str, str] = {}

    def send(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        data = b"" if body is None else json.dumps(body).encode()
        place, _, query = path.partition("?")
        environ = {
            "REQUEST_METHOD": method,
            "PATH_INFO": place,
            "QUERY_STRING": query,
            "CONTENT_TYPE": "application/json",
            "CONTENT_LENGTH": str(len(data)),
            "wsgi.input": io.BytesIO(data),
            "HTTP_COOKIE": "other=1; XSRF-TOKEN=t",
        }
        if self._user is not None:
            environ["HTTP_KUBEFLOW_USERID"] = self._user
        if self.token is not None:
            environ["HTTP_X_XSRF_TOKEN"] = self.token
        seen: list[Any] = []
        (data,) = self._app(environ, lambda *arguments: seen.extend(arguments))
        self.headers = dict(seen[1])
        text = data.decode()
        is_json = self.headers["Content-Type"] == "application/json"
        return int(seen[0].split()[0]), json.loads(text) if is_json else text


def load(monkeypatch: pytest.MonkeyPatch, name: str) -> ModuleType:
    """A script, found as in its image: beside the modules that it shares with others."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module(name)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """Kubernetes."""
    return Cluster(load(monkeypatch, "stand_in").ApiError)


@pytest.fixture
def jupyter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The notebooks' app, with a spawner file."""
    found = load(monkeypatch, "jupyter_ui")
    monkeypatch.setattr(found, "CONFIG", str(tmp_path / "spawner.yaml"))
    offer(found, FORM)
    return found


def offer(jupyter: ModuleType, form: Any) -> None:
    """Writes the spawner's file."""
    Path(jupyter.CONFIG).write_text(yaml.safe_dump({"spawnerFormDefaults": form}))


@pytest.fixture
def browser(jupyter: ModuleType, cluster: Cluster) -> Browser:
    """A browser on the notebooks' app."""
    return Browser(jupyter.Jupyter(cluster, SETTINGS))


NOTEBOOKS = "/apis/kubeflow.org/v1beta1/namespaces/team/notebooks"
CLAIMS = "/api/v1/namespaces/team/persistentvolumeclaims"
HERE = "/api/namespaces/team/notebooks"


def notebook(**changes: Any) -> dict[str, Any]:
    metadata = {"name": "lab", "namespace": "team", "creationTimestamp": "2026-01-01T11:00:00Z"}
    spec = {"containers": [{"name": "lab", "image": LAB}]}
    return {"metadata": metadata, "spec": {"template": {"spec": spec}}, **changes}


# All web apps -----------------------------------------------------------------------------------


def test_nobody_is_answered_but_probes(jupyter: ModuleType, cluster: Cluster):
    nobody = Browser(jupyter.Jupyter(cluster, SETTINGS), None)
    assert nobody.send("GET", HERE)[0] == 401
    assert nobody.send("GET", "/")[0] == 401
    assert nobody.send("GET", "/healthz/liveness") == (200, "alive")
    assert nobody.send("GET", "/healthz/readiness") == (200, "ready")
    assert cluster.calls == []


def test_the_page_is_marked_and_sets_the_cookie_for_its_path(browser: Browser):
    code, page = browser.send("GET", "/")
    assert code == 200
    assert "stand-in" in page
    assert '<base href="/jupyter/">' in page
    assert "@" not in re.sub(r"@import", "", page)
    name, *rest = browser.headers["Set-Cookie"].split("; ")
    assert len(name.removeprefix("XSRF-TOKEN=")) > 30
    assert rest == ["Path=/jupyter", "SameSite=Strict", "Secure"]
    assert "no-store" in browser.headers["Cache-Control"]


@pytest.mark.parametrize("token", [None, "", "another"])
def test_what_another_site_sends_is_refused(browser: Browser, cluster: Cluster, token: str | None):
    browser.token = token
    code, said = browser.send("POST", HERE, NEW)
    assert code == 403
    assert "CSRF" in said["log"]
    assert cluster.calls == []


def test_what_kubernetes_does_not_let_the_user_do_is_not_done(browser: Browser, cluster: Cluster):
    cluster.allowed = False
    for method, path, body in (
        ("GET", HERE, None),
        ("POST", HERE, NEW),
        ("GET", f"{HERE}/lab", None),
        ("PATCH", f"{HERE}/lab", {"stopped": False}),
        ("PATCH", f"{HERE}/lab", {"stopped": True}),
        ("DELETE", f"{HERE}/lab", None),
        ("GET", f"{HERE}/lab/pod", None),
        ("GET", f"{HERE}/lab/pod/lab-0/logs", None),
        ("GET", f"{HERE}/lab/events", None),
        ("GET", "/api/namespaces/team/pvcs", None),
        ("GET", "/api/namespaces/team/poddefaults", None),
        ("GET", "/api/namespaces", None),
    ):
        code, said = browser.send(method, path, body)
        assert code == 403, path
        assert said["log"].startswith(f"User '{USER}' is not authorized to ")
    assert cluster.calls == []
    assert {each["user"] for each in cluster.asked} == {USER}


def test_kubernetes_is_asked_of_the_user_and_the_object(browser: Browser, cluster: Cluster):
    cluster.lists[NOTEBOOKS] = []
    assert browser.send("GET", HERE)[0] == 200
    attributes = {
        "group": "kubeflow.org", "version": "v1beta1", "resource": "notebooks", "verb": "list",
        "namespace": "team",
    }  # fmt: skip
    assert cluster.asked == [{"user": USER, "resourceAttributes": attributes}]


@pytest.mark.parametrize(
    "path", ["/api/namespaces/../notebooks", "/api/namespaces/A%2f/notebooks", "/api/nothing"]
)
def test_a_path_of_the_api_that_is_none_is_not_found(
    browser: Browser, cluster: Cluster, path: str
):
    assert browser.send("GET", path)[0] == 404
    assert cluster.calls == []


# Notebooks --------------------------------------------------------------------------------------


def test_a_form_becomes_a_volume_and_a_notebook(browser: Browser, cluster: Cluster):
    assert browser.send("POST", HERE, NEW)[0] == 200
    (_, claims, claim), (_, notebooks, made) = cluster.changes()
    assert (claims, claim["metadata"]["name"]) == (CLAIMS, "lab-workspace")
    assert (notebooks, made["kind"]) == (NOTEBOOKS, "Notebook")
    assert made["metadata"]["labels"] == {"app": "lab", "mlflow": "true"}
    assert made["metadata"]["annotations"] == {
        "notebooks.kubeflow.org/server-type": "jupyter",
        "notebooks.kubeflow.org/creator": USER,
    }
    spec = made["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert spec["serviceAccountName"] == "default-editor"
    assert (container["name"], container["image"]) == ("lab", LAB)
    assert container["resources"] == {
        "requests": {"cpu": "0.5", "memory": "1.0Gi"},
        "limits": {"cpu": "0.6", "memory": "1.2Gi"},
    }
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    assert mounts == {"dshm": "/dev/shm", "lab-workspace": "/home/jovyan"}
    assert {"claimName": "lab-workspace"} in [
        each.get("persistentVolumeClaim") for each in spec["volumes"]
    ]


def test_rstudio_is_told_its_path(browser: Browser, cluster: Cluster):
    body = {**NEW, "serverType": "group-two", "image": "studio:1", "workspace": None}
    assert browser.send("POST", HERE, body)[0] == 200
    ((_, _, made),) = cluster.changes()
    notes = made["metadata"]["annotations"]
    assert notes["notebooks.kubeflow.org/http-rewrite-uri"] == "/"
    assert json.loads(notes["notebooks.kubeflow.org/http-headers-request-set"]) == {
        "X-RStudio-Root-Path": "/notebook/team/lab/"
    }


def test_gpus_tolerations_and_an_existing_volume_reach_the_notebook(
    browser: Browser, cluster: Cluster
):
    source = {"persistentVolumeClaim": {"claimName": "data"}}
    body = {
        **NEW, "gpus": {"num": "2", "vendor": "nvidia.com/gpu"}, "tolerationGroup": "gpu",
        "workspace": None, "datavols": [{"mount": "/data", "existingSource": source}],
    }  # fmt: skip
    assert browser.send("POST", HERE, body)[0] == 200
    ((_, _, made),) = cluster.changes()
    spec = made["spec"]["template"]["spec"]
    assert spec["tolerations"] == [{"key": "gpu"}]
    assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert {"name": "data", **source} in spec["volumes"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"image": None}, "No value provided for: image"),
        ({"serverType": "vim"}, "'vim' is not a valid server type"),
        ({"cpu": "many"}, "Invalid value: many"),
        ({"cpu": "nan"}, "Invalid value: nan"),
        ({"cpuLimit": "0.1"}, "cpu limit must be greater"),
        ({"memoryLimit": "0.1Gi"}, "memory limit must be greater"),
        ({"gpus": {}}, "'gpus' must have a 'num' field"),
        ({"configurations": "mlflow"}, "not list"),
        ({"workspace": {"newPvc": CLAIM}}, "should have a mount"),
        ({"workspace": {"mount": "/w"}}, "needs either newPvc or existingSource"),
        ({"environment": "{"}, "malformed"),
        ({"datavols": 7}, "malformed"),
        ({"image": ["x"]}, "malformed"),
    ],
)
def test_a_wrong_form_is_refused_in_one_line_and_makes_nothing(
    browser: Browser, cluster: Cluster, change: dict[str, Any], text: str
):
    code, said = browser.send("POST", HERE, {**NEW, **change})
    assert (code, said["success"]) == (400, False)
    assert text in said["log"]
    assert "\n" not in said["log"]
    assert cluster.changes() == []


def test_what_users_may_not_change_is_the_default_and_refused(
    jupyter: ModuleType, browser: Browser, cluster: Cluster
):
    offer(jupyter, {**FORM, "image": {**FORM["image"], "readOnly": True}})
    code, said = browser.send("POST", HERE, {**NEW, "image": "own:1"})
    assert (code, said["log"]) == (400, "'image' is readonly but a value was provided: own:1")
    left_out = {key: each for key, each in NEW.items() if key != "image"}
    assert browser.send("POST", HERE, left_out)[0] == 200
    assert cluster.changes()[-1][2]["spec"]["template"]["spec"]["containers"][0]["image"] == LAB


def test_a_full_quota_is_said_and_nothing_is_made(browser: Browser, cluster: Cluster):
    why = 'persistentvolumeclaims "lab-workspace" is forbidden: exceeded quota: kf-resource-quota'
    cluster.refused[CLAIMS] = (403, why)
    code, said = browser.send("POST", HERE, NEW)
    assert (code, said["log"]) == (403, why)
    assert [each for each in cluster.changes() if each[1] == NOTEBOOKS] == []


def test_a_notebook_is_stopped_once_and_started(browser: Browser, cluster: Cluster):
    running = notebook()
    cluster.lists[NOTEBOOKS] = [running]
    assert browser.send("PATCH", f"{HERE}/lab", {"stopped": True})[0] == 200
    (_, path, patch) = cluster.changes()[-1]
    assert path == f"{NOTEBOOKS}/lab"
    running["metadata"]["annotations"] = patch["metadata"]["annotations"]
    code, said = browser.send("PATCH", f"{HERE}/lab", {"stopped": True})
    assert (code, said["log"]) == (409, "Notebook team/lab is already stopped.")
    assert browser.send("PATCH", f"{HERE}/lab", {"stopped": False})[0] == 200
    stop = {"metadata": {"annotations": {"kubeflow-resource-stopped": None}}}
    assert cluster.changes()[-1][2] == stop
    assert browser.send("PATCH", f"{HERE}/lab", {})[0] == 400


def test_a_notebook_is_deleted_with_what_belongs_to_it(browser: Browser, cluster: Cluster):
    cluster.lists[NOTEBOOKS] = [notebook()]
    assert browser.send("DELETE", f"{HERE}/lab")[0] == 200
    body = {"propagationPolicy": "Foreground"}
    assert cluster.changes() == [("DELETE", f"{NOTEBOOKS}/lab", body)]


def test_the_list_shows_a_notebook_that_somebody_else_s_tool_made(
    browser: Browser, cluster: Cluster
):
    cluster.lists[NOTEBOOKS] = [notebook(status={"readyReplicas": 1})]
    _, said = browser.send("GET", HERE)
    (shown,) = said["notebooks"]
    assert (shown["name"], shown["shortImage"], shown["cpu"]) == ("lab", "lab:1", "")
    assert shown["status"] == {"phase": "ready", "message": "Running", "state": ""}


WARNING = {
    "type": "Warning",
    "message": 'pods "lab-0" is forbidden:\n exceeded quota',
    "metadata": {"creationTimestamp": "2026-01-01T11:30:00Z"},
}
STOPPED = {"annotations": {"kubeflow-resource-stopped": "x"}}


@pytest.mark.parametrize(
    ("metadata", "seen", "events", "phase", "message"),
    [
        ({"creationTimestamp": "2026-01-01T11:59:55Z"}, {}, [], "waiting", "Waiting for"),
        (STOPPED, {}, [], "stopped", "No Pods are currently running"),
        (STOPPED, {"readyReplicas": 1}, [], "waiting", "Notebook Server is stopping."),
        ({"deletionTimestamp": "x"}, {}, [], "terminating", "Deleting"),
        ({}, {"readyReplicas": 1}, [], "ready", "Running"),
        (
            {},
            {"containerState": {"waiting": {"reason": "ErrImagePull", "message": "no\nsuch"}}},
            [],
            "warning",
            "ErrImagePull: no such",
        ),
        (
            {},
            {"containerState": {"waiting": {"reason": "PodInitializing"}}},
            [],
            "waiting",
            "PodInitializing",
        ),
        (
            {},
            {"conditions": [{"reason": "Unschedulable", "message": "no node"}]},
            [],
            "warning",
            "Unschedulable: no node",
        ),
        ({}, {}, [WARNING], "warning", 'pods "lab-0" is forbidden: exceeded quota'),
        ({"creationTimestamp": "2026-01-01T11:45:00Z"}, {}, [WARNING], "warning", "Couldn't find"),
    ],
)
def test_a_notebook_s_state_is_one_line(
    jupyter: ModuleType,
    metadata: dict[str, Any],
    seen: dict[str, Any],
    events: list[dict[str, Any]],
    phase: str,
    message: str,
):
    found = notebook(status=seen)
    found["metadata"] |= metadata
    state = jupyter.state(found, lambda: events, NOON)
    assert state["phase"] == phase
    assert state["message"].startswith(message)
    assert "\n" not in state["message"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "cannot read .*spawner.yaml: No such file"),
        ("a: [", "spawner.yaml is not YAML"),
        ("- a", "spawner.yaml holds no map"),
        ("a: 1", "has no map spawnerFormDefaults"),
    ],
)
def test_a_wrong_spawner_file_ends_the_program_with_the_reason(
    jupyter: ModuleType, capsys: pytest.CaptureFixture[str], text: str | None, reason: str
):
    file = Path(jupyter.CONFIG)
    file.unlink()
    if text is not None:
        file.write_text(text)
    with pytest.raises(SystemExit, match="3"):
        jupyter.web_app.run(jupyter.Jupyter, jupyter.spawner)
    assert re.search(reason, capsys.readouterr().out)


def test_a_page_that_is_not_there_ends_the_program(
    jupyter: ModuleType, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("UI", "rok")
    with pytest.raises(jupyter.RefusedError, match="No UI flavor for 'rok'"):
        jupyter.web_app.check_flavor("UI_FLAVOR", "UI")
    monkeypatch.setenv("UI_FLAVOR", "default")
    jupyter.web_app.check_flavor("UI_FLAVOR", "UI")


def test_pages_scripts_are_made_of_what_the_page_has(monkeypatch: pytest.MonkeyPatch):
    for name, kind in (
        ("jupyter_ui", "Jupyter"), ("tensorboards_ui", "Tensorboards"), ("volumes_ui", "Volumes"),
        ("models_ui", "Models"),
    ):  # fmt: skip
        app = getattr(load(monkeypatch, name), kind)
        for function in ("prepare", "chooseNamespace", "rows", "create"):
            assert f"async function {function}(" in app.script
        fields = set(re.findall(r'name="(\w+)"', app.fields))
        assert set(re.findall(r'field\("(\w+)"\)', app.script)) <= fields


# TensorBoards -----------------------------------------------------------------------------------

TENSORBOARDS = "/apis/tensorboard.kubeflow.org/v1alpha1/namespaces/team/tensorboards"


@pytest.fixture
def boards(monkeypatch: pytest.MonkeyPatch, cluster: Cluster) -> Browser:
    """A browser on the TensorBoards' app."""
    return Browser(load(monkeypatch, "tensorboards_ui").Tensorboards(cluster, SETTINGS))


def test_a_tensorboard_is_made_listed_and_deleted(boards: Browser, cluster: Cluster):
    here = "/api/namespaces/team/tensorboards"
    body = {"name": "tb", "logspath": "pvc://data/runs", "configurations": ["storage"]}
    assert boards.send("POST", here, body)[0] == 200
    ((_, path, made),) = cluster.changes()
    assert (path, made["spec"]) == (TENSORBOARDS, {"logspath": "pvc://data/runs"})
    assert made["metadata"]["labels"] == {"storage": "true"}

    made["metadata"]["creationTimestamp"] = "2026-01-01T11:00:00Z"
    cluster.lists[TENSORBOARDS] = [made]
    (shown,) = boards.send("GET", here)[1]["tensorboards"]
    assert (shown["name"], shown["status"]["phase"]) == ("tb", "unavailable")
    made["status"] = {"readyReplicas": 1}
    (shown,) = boards.send("GET", here)[1]["tensorboards"]
    assert shown["status"]["phase"] == "ready"

    assert boards.send("DELETE", f"{here}/tb")[0] == 200
    assert cluster.changes()[-1][:2] == ("DELETE", f"{TENSORBOARDS}/tb")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"name": "tb"}, "'logspath' is missing"),
        ({"name": "tb", "logspath": "s3://b"}, "not list"),
        ([], "not a JSON object"),
    ],
)
def test_a_wrong_tensorboard_is_refused(boards: Browser, cluster: Cluster, body: Any, text: str):
    code, said = boards.send("POST", "/api/namespaces/team/tensorboards", body)
    assert code == 400
    assert text in said["log"]
    assert cluster.calls == []


def test_a_tensorboard_of_others_is_refused(boards: Browser, cluster: Cluster):
    cluster.allowed = False
    here = "/api/namespaces/team/tensorboards"
    body = {"name": "tb", "logspath": "s3://b", "configurations": []}
    assert boards.send("GET", here)[0] == 403
    assert boards.send("POST", here, body)[0] == 403
    assert boards.send("DELETE", f"{here}/tb")[0] == 403
    assert cluster.calls == []


# Volumes ----------------------------------------------------------------------------------------

VIEWERS = "/apis/kubeflow.org/v1alpha1/namespaces/team/pvcviewers"
PODS = "/api/v1/namespaces/team/pods"
PVCS = "/api/namespaces/team/pvcs"


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch, cluster: Cluster, tmp_path: Path) -> Browser:
    """A browser on the volumes' app."""
    volumes = load(monkeypatch, "volumes_ui")
    monkeypatch.setattr(volumes, "SPEC", str(tmp_path / "viewer-spec.yaml"))
    image = {"image": "$VIEWER", "env": [{"name": "BASE", "value": "/pvcviewers/$NAMESPACE"}]}
    spec = {"pvc": "$NAME", "rwoScheduling": True, "podSpec": {"containers": [image]}}
    Path(volumes.SPEC).write_text(yaml.safe_dump(spec))
    for each in (CLAIMS, NOTEBOOKS, VIEWERS, PODS):
        cluster.lists[each] = []
    return Browser(volumes.Volumes(cluster, {**SETTINGS, "VIEWER": "files:1"}))


def claim(name: str = "data", phase: str = "Bound") -> dict[str, Any]:
    metadata = {"name": name, "namespace": "team", "creationTimestamp": "2026-01-01T11:00:00Z"}
    return {"metadata": metadata, "spec": CLAIM["spec"], "status": {"phase": phase}}


def pod_with(name: str, **labels: str) -> dict[str, Any]:
    volume = {"name": "v", "persistentVolumeClaim": {"claimName": "data"}}
    return {"metadata": {"name": name, "labels": labels}, "spec": {"volumes": [volume]}}


def test_a_volume_is_made_with_its_class(files: Browser, cluster: Cluster):
    body = {"name": "data", "mode": "ReadWriteOnce", "size": "1Gi", "type": "empty"}
    for given, spec in (
        ("{empty}", {}),
        ("{none}", {"storageClassName": ""}),
        ("fast", {"storageClassName": "fast"}),
    ):
        assert files.send("POST", PVCS, {**body, "class": given})[0] == 200
        (_, path, made) = cluster.changes()[-1]
        assert path == CLAIMS
        rest = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        assert made["spec"] == {**rest, **spec}
    assert files.send("POST", PVCS, body)[0] == 400


def test_the_list_says_what_uses_a_volume(files: Browser, cluster: Cluster):
    cluster.lists[CLAIMS] = [claim()]
    user = notebook()
    user["spec"]["template"]["spec"] |= pod_with("lab-0")["spec"]
    cluster.lists[NOTEBOOKS] = [user, notebook()]
    (shown,) = files.send("GET", PVCS)[1]["pvcs"]
    assert (shown["name"], shown["notebooks"], shown["capacity"]) == ("data", ["lab"], "5Gi")
    assert shown["status"]["phase"] == "ready"
    assert shown["viewer"] == {"status": "uninitialized", "url": None}


def test_a_volume_in_use_is_not_deleted(files: Browser, cluster: Cluster):
    cluster.lists[CLAIMS] = [claim()]
    cluster.lists[PODS] = [pod_with("lab-0")]
    code, said = files.send("DELETE", f"{PVCS}/data")
    assert code == 409
    assert said["log"].endswith("'data' because it is being used by pods: lab-0")
    assert cluster.changes() == []


def test_a_volume_goes_with_its_viewer(files: Browser, cluster: Cluster):
    cluster.lists[CLAIMS] = [claim()]
    labels = {"app.kubernetes.io/part-of": "pvc-viewer", "app.kubernetes.io/name": "data"}
    cluster.lists[PODS] = [pod_with("pvcviewer-data-0", **labels)]
    cluster.lists[VIEWERS] = [claim()]
    assert files.send("DELETE", f"{PVCS}/data")[0] == 200
    assert [each[1] for each in cluster.changes()] == [f"{VIEWERS}/data", f"{CLAIMS}/data"]


def test_a_viewer_is_made_from_the_charm_s_file(files: Browser, cluster: Cluster):
    assert files.send("POST", "/api/namespaces/team/viewers", {"name": "data"})[0] == 200
    ((_, path, made),) = cluster.changes()
    assert path == VIEWERS
    (container,) = made["spec"]["podSpec"]["containers"]
    assert (made["spec"]["pvc"], made["spec"]["rwoScheduling"]) == ("data", True)
    assert container["image"] == "files:1"
    assert container["env"][0]["value"] == "/pvcviewers/team"


def test_a_variable_that_is_not_set_is_named(
    files: Browser, monkeypatch: pytest.MonkeyPatch, cluster: Cluster
):
    path = Path(load(monkeypatch, "volumes_ui").SPEC)
    path.write_text("pvc: $NOTHING\n")
    code, said = files.send("POST", "/api/namespaces/team/viewers", {"name": "data"})
    assert code == 500
    assert said["log"].endswith("viewer-spec.yaml: $NOTHING is not set")
    assert cluster.changes() == []


@pytest.mark.parametrize(
    ("event", "phase"),
    [
        ({"reason": "WaitForFirstConsumer", "type": "Normal"}, "unavailable"),
        ({"reason": "Provisioning", "type": "Normal"}, "waiting"),
        ({"reason": "FailedBinding", "type": "Normal"}, "warning"),
        ({"reason": "ProvisioningFailed", "type": "Warning"}, "warning"),
        (None, "waiting"),
    ],
)
def test_a_volume_that_waits_says_why(
    monkeypatch: pytest.MonkeyPatch, event: dict[str, str] | None, phase: str
):
    volumes = load(monkeypatch, "volumes_ui")
    events = [{"message": "no\nspace", **event}] if event else []
    state = volumes.state(claim(phase="Pending"), lambda: events)
    assert state["phase"] == phase
    assert "\n" not in state["message"]


def test_volumes_of_others_are_refused(files: Browser, cluster: Cluster):
    cluster.allowed = False
    body = {"name": "d", "mode": "ReadWriteOnce", "class": "{empty}", "size": "1Gi", "type": "x"}
    viewers = "/api/namespaces/team/viewers"
    for method, path, given in (
        ("GET", PVCS, None), ("POST", PVCS, body), ("GET", f"{PVCS}/data", None),
        ("DELETE", f"{PVCS}/data", None), ("GET", f"{PVCS}/data/pods", None),
        ("GET", f"{PVCS}/data/events", None), ("POST", viewers, {"name": "data"}),
        ("DELETE", f"{viewers}/data", None),
    ):  # fmt: skip
        assert files.send(method, path, given)[0] == 403, path
    assert cluster.calls == []


# Models that are served -------------------------------------------------------------------------

SERVICES = "/apis/serving.kserve.io/v1beta1/namespaces/team/inferenceservices"
MODELS = "/api/namespaces/team/inferenceservices"
SERVED = {
    "apiVersion": "serving.kserve.io/v1beta1",
    "kind": "InferenceService",
    "metadata": {"name": "wine"},
    "spec": {"predictor": {}},
}


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch, cluster: Cluster) -> Browser:
    """A browser on the models' app."""
    return Browser(load(monkeypatch, "models_ui").Models(cluster, SETTINGS))


def test_a_model_is_made_listed_and_deleted(models: Browser, cluster: Cluster):
    assert models.send("POST", MODELS, SERVED)[0] == 200
    assert cluster.changes() == [("POST", SERVICES, SERVED)]
    cluster.lists[SERVICES] = [SERVED]
    assert models.send("GET", MODELS)[1]["inferenceServices"] == [SERVED]
    assert models.send("GET", f"{MODELS}/wine")[1]["inferenceService"] == SERVED
    cluster.calls.clear()
    assert models.send("DELETE", f"{MODELS}/wine")[0] == 200
    assert cluster.changes()[0][:2] == ("DELETE", f"{SERVICES}/wine")


def test_a_models_logs_are_those_of_the_components_asked_for(models: Browser, cluster: Cluster):
    pods = "/api/v1/namespaces/team/pods"
    cluster.lists[SERVICES] = [SERVED]
    cluster.lists[pods] = [
        {"metadata": {"name": f"wine-{each}-1", "labels": {"component": each}}}
        for each in ("predictor", "transformer")
    ]
    cluster.logs[f"{pods}/wine-predictor-1/log?container=kserve-container"] = "one\ntwo"
    said = models.send("GET", f"{MODELS}/wine?logs=true&component=predictor")[1]
    assert said["serviceLogs"] == {
        "predictor": [{"podName": "wine-predictor-1", "logs": ["one", "two"]}]
    }


@pytest.mark.parametrize("left_out", ["apiVersion", "kind", "metadata", "spec"])
def test_a_model_that_lacks_something_is_refused(models: Browser, cluster: Cluster, left_out: str):
    body = {key: value for key, value in SERVED.items() if key != left_out}
    code, said = models.send("POST", MODELS, body)
    assert (code, cluster.calls) == (400, [])
    assert f"'{left_out}' is missing" in said["log"]


def test_models_of_others_are_refused(models: Browser, cluster: Cluster):
    cluster.allowed = False
    for method, path, body in (
        ("GET", MODELS, None), ("POST", MODELS, SERVED), ("GET", f"{MODELS}/wine", None),
        ("GET", f"{MODELS}/wine?logs=true&component=predictor", None),
        ("DELETE", f"{MODELS}/wine", None),
    ):  # fmt: skip
        assert models.send(method, path, body)[0] == 403
    assert cluster.calls == []
