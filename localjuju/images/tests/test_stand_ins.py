"""What the stand-ins make of what they are given, as the programs do whose part they play."""

from __future__ import annotations

import base64
import datetime
import importlib
import json
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from localjuju import images

SCRIPTS = Path(images.__file__).parent / "scripts"
NOT_IN = "NotIn"  # codespell:ignore
NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.timezone.utc)


def load(monkeypatch: pytest.MonkeyPatch, name: str) -> ModuleType:
    """A script, found as in its image: beside the module that all of them share."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module(name)


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The PodDefaults webhook."""
    return load(monkeypatch, "poddefaults_webhook")


@pytest.fixture
def notebooks(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The notebook controller."""
    return load(monkeypatch, "notebook_controller")


def default(name: str = "one", version: str = "7", **spec: Any) -> dict[str, Any]:
    selector = {"matchLabels": {"use": "true"}}
    metadata = {"name": name, "resourceVersion": version}
    return {"metadata": metadata, "spec": {"selector": selector, **spec}}


def pod(**container: Any) -> dict[str, Any]:
    metadata = {"name": "p", "labels": {"use": "true"}}
    return {"metadata": metadata, "spec": {"containers": [{"name": "main", **container}]}}


# PodDefaults ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("selector", "labels", "is_meant"),
    [
        ({}, {}, True),
        ({"matchLabels": {"a": "1"}}, {"a": "1", "b": "2"}, True),
        ({"matchLabels": {"a": "1"}}, {"a": "2"}, False),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {"a": ""}, True),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {"a": ""}, False),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1"]}]}, {}, False),
        (
            {"matchExpressions": [{"key": "a", "operator": NOT_IN, "values": ["1"]}]},
            {},
            True,
        ),
    ],
)
def test_a_selector_is_read_as_kubernetes_reads_it(
    webhook: ModuleType, selector: dict[str, Any], labels: dict[str, str], is_meant: bool
):
    assert webhook.matches(selector, labels) is is_meant


def test_everything_that_a_pod_default_holds_reaches_the_pod(webhook: ModuleType):
    holds = default(
        env=[{"name": "A", "value": "1"}],
        envFrom=[{"secretRef": {"name": "s"}}],
        volumes=[{"name": "v", "emptyDir": {}}],
        volumeMounts=[{"name": "v", "mountPath": "/v"}],
        tolerations=[{"key": "gpu", "operator": "Exists"}],
        imagePullSecrets=[{"name": "pull"}],
        labels={"more": "yes"},
        annotations={"note": "x"},
        serviceAccountName="editor",
        automountServiceAccountToken=False,
        command=["run"],
        args=["fast"],
        initContainers=[{"name": "before"}],
        sidecars=[{"name": "beside"}],
    )
    made = webhook.applied(pod(), [holds])
    main, beside = made["spec"]["containers"]
    for field in ("env", "envFrom", "volumeMounts", "command", "args"):
        assert main[field] == holds["spec"][field]
    for field in ("volumes", "tolerations", "imagePullSecrets", "initContainers"):
        assert made["spec"][field] == holds["spec"][field]
    assert beside == {"name": "beside"}
    assert made["spec"]["serviceAccountName"] == "editor"
    assert made["spec"]["automountServiceAccountToken"] is False
    assert made["metadata"]["labels"] == {"use": "true", "more": "yes"}
    assert made["metadata"]["annotations"] == {
        "note": "x",
        "poddefault.admission.kubeflow.org/poddefault-one": "7",
    }


def test_a_pod_s_own_command_and_a_mesh_s_container_stay(webhook: ModuleType):
    given = pod(command=["own"])
    given["spec"]["containers"].append({"name": "istio-proxy"})
    own, proxy = webhook.applied(given, [default(command=["run"])])["spec"]["containers"]
    assert own["command"] == ["own"]
    assert proxy == {"name": "istio-proxy"}


def test_the_same_thing_twice_is_there_once(webhook: ModuleType):
    same = {"name": "A", "value": "1"}
    made = webhook.applied(pod(env=[same]), [default(env=[same]), default("two", env=[same])])
    assert made["spec"]["containers"][0]["env"] == [same]


@pytest.mark.parametrize(
    ("given", "holds", "what"),
    [
        (pod(env=[{"name": "A", "value": "1"}]), {"env": [{"name": "A", "value": "2"}]}, "A"),
        (
            pod(volumeMounts=[{"name": "v", "mountPath": "/v"}]),
            {"volumeMounts": [{"name": "v", "mountPath": "/w"}]},
            "v",
        ),
        (
            pod(volumeMounts=[{"name": "v", "mountPath": "/v"}]),
            {"volumeMounts": [{"name": "w", "mountPath": "/v"}]},
            "/v",
        ),
        (pod(), {"labels": {"use": "false"}}, "use"),
    ],
)
def test_a_contradiction_is_refused_with_its_name(
    webhook: ModuleType, given: dict[str, Any], holds: dict[str, Any], what: str
):
    answer = webhook.response({"uid": "u", "object": given}, [default(**holds)])
    assert answer["allowed"] is False
    assert answer["status"]["message"].endswith(f"for one has a conflict on {what}")


def test_a_pod_that_nothing_selects_is_left_alone(webhook: ModuleType):
    other = pod()
    other["metadata"]["labels"] = {}
    holds = default(env=[{"name": "A"}])
    assert webhook.response({"uid": "u", "object": other}, [holds]) == {
        "uid": "u",
        "allowed": True,
    }


def test_an_answer_is_a_patch_of_the_pod(webhook: ModuleType):
    answer = webhook.response({"uid": "u", "object": pod()}, [default(env=[{"name": "A"}])])
    patch = {each["path"]: each["value"] for each in json.loads(base64.b64decode(answer["patch"]))}
    assert patch["/spec"]["containers"][0]["env"] == [{"name": "A"}]
    assert patch["/metadata"]["name"] == "p"


# Notebooks --------------------------------------------------------------------------------------


def notebook(annotations: dict[str, str] | None = None, **container: Any) -> dict[str, Any]:
    spec = {"containers": [{"name": "lab", "image": "i", **container}]}
    return {
        "metadata": {
            "name": "lab", "namespace": "team", "uid": "1", "annotations": annotations or {},
            "labels": {"mlflow": "true"},
        },
        "spec": {"template": {"spec": spec}},
    }  # fmt: skip


def test_a_notebook_s_pod_is_as_upstream_makes_it(notebooks: ModuleType):
    made = notebooks.stateful_set(notebook({"own": "1", "notebooks.kubeflow.org/x": "2"}), True)
    assert made["spec"]["replicas"] == 1
    (owner,) = made["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["controller"]) == ("Notebook", "lab", True)
    template = made["spec"]["template"]
    assert template["metadata"] == {
        "labels": {"statefulset": "lab", "notebook-name": "lab", "mlflow": "true"},
        "annotations": {"own": "1"},
    }
    (container,) = template["spec"]["containers"]
    assert container["workingDir"] == "/home/jovyan"
    assert container["env"] == [{"name": "NB_PREFIX", "value": "/notebook/team/lab"}]
    assert container["ports"][0]["containerPort"] == 8888
    assert template["spec"]["securityContext"] == {"fsGroup": 100}


def test_what_a_notebook_says_itself_is_kept(notebooks: ModuleType):
    given = notebook(workingDir="/w", ports=[{"containerPort": 80}], env=[{"name": "A"}])
    given["spec"]["template"]["spec"]["securityContext"] = {"runAsUser": 7}
    spec = notebooks.stateful_set(given, True)["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert (container["workingDir"], container["ports"]) == ("/w", [{"containerPort": 80}])
    assert [each["name"] for each in container["env"]] == ["A", "NB_PREFIX"]
    assert spec["securityContext"] == {"runAsUser": 7}
    (port,) = notebooks.service(given)["spec"]["ports"]
    assert (port["name"], port["port"], port["targetPort"]) == ("http-lab", 80, 80)


def test_a_cluster_that_sets_the_group_itself_is_left_to(notebooks: ModuleType):
    made = notebooks.stateful_set(notebook(), False)
    assert "securityContext" not in made["spec"]["template"]["spec"]


def test_a_stopped_notebook_has_no_pod(notebooks: ModuleType):
    made = notebooks.stateful_set(notebook({"kubeflow-resource-stopped": "x"}), True)
    assert made["spec"]["replicas"] == 0


def test_the_status_is_of_the_notebook_s_own_container(notebooks: ModuleType):
    waiting = {"waiting": {"reason": "ImagePullBackOff"}}
    statuses = [{"name": "other", "state": {"running": {}}}, {"name": "lab", "state": waiting}]
    conditions = [{"type": "Ready", "status": "False", "lastProbeTime": None}]
    found = notebooks.status(
        notebook(), {}, {"status": {"containerStatuses": statuses, "conditions": conditions}}
    )
    assert found["containerState"] == waiting
    assert found["conditions"] == [{"type": "Ready", "status": "False"}]
    assert found["readyReplicas"] == 0


def test_why_there_is_no_pod_is_said_of_the_notebook(notebooks: ModuleType):
    event = {
        "type": "Warning",
        "reason": "FailedCreate",
        "message": "exceeded quota",
        "metadata": {"uid": "u1"},
        "series": None,
    }
    made = notebooks.reissued(notebook(), event)
    assert made["metadata"] == {"name": "lab.u1", "namespace": "team"}
    assert made["message"] == "Reissued from statefulset/lab: exceeded quota"
    assert (made["type"], made["reason"]) == ("Warning", "FailedCreate")
    assert (made["involvedObject"]["kind"], made["involvedObject"]["uid"]) == ("Notebook", "1")


def kernel(state: str, minutes_ago: int) -> dict[str, str]:
    last = NOON - datetime.timedelta(minutes=minutes_ago)
    return {"execution_state": state, "last_activity": last.isoformat()}


@pytest.mark.parametrize(
    ("kernels", "is_stopped"),
    [
        ([kernel("idle", 90)], True),
        ([kernel("idle", 90), kernel("idle", 5)], False),
        ([kernel("idle", 90), kernel("busy", 90)], False),
        ([], True),
        (None, True),  # the last that is known of it is long ago
    ],
)
def test_an_idle_notebook_is_stopped_and_a_busy_one_is_not(
    notebooks: ModuleType, kernels: list[dict[str, str]] | None, is_stopped: bool
):
    long_ago = notebooks.text(NOON - datetime.timedelta(minutes=100))
    changed = notebooks.culled({notebooks.ACTIVITY: long_ago}, kernels, NOON, 60)
    assert (notebooks.STOPPED in changed) is is_stopped


def test_a_notebook_s_time_begins_with_the_first_look(notebooks: ModuleType):
    changed = notebooks.culled({}, [kernel("idle", 900)], NOON, 60)
    assert changed[notebooks.ACTIVITY] == "2026-01-01T12:00:00Z"
    assert notebooks.STOPPED not in changed


def test_a_notebook_is_looked_at_once_a_period(notebooks: ModuleType):
    checked = dict.fromkeys((notebooks.ACTIVITY, notebooks.CHECKED), notebooks.text(NOON))
    later = NOON + datetime.timedelta(minutes=5)
    assert notebooks.is_due(checked, later, 5)
    assert not notebooks.is_due(checked, later, 6)
    assert notebooks.is_due({}, NOON, 6)


@pytest.mark.parametrize(
    ("script", "flag"),
    [
        ("poddefaults_webhook", "-tls-cert-file=x"),
        ("notebook_controller", "--leader-elect"),
        ("tensorboard_controller", "--enable-leader-election"),
        ("pvcviewer_controller", "--webhook-port=1"),
    ],
)
def test_a_flag_that_upstream_does_not_know_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], script: str, flag: str
):
    monkeypatch.setattr("sys.argv", [script, flag])
    with pytest.raises(SystemExit, match="2"):
        load(monkeypatch, script).main()
    assert f"flag provided but not defined: {flag}" in capsys.readouterr().err


# TensorBoards -----------------------------------------------------------------------------------


@pytest.fixture
def tensorboards(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The TensorBoard controller."""
    return load(monkeypatch, "tensorboard_controller")


def tensorboard(logspath: str, **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "tensorboard.kubeflow.org/v1alpha1",
        "kind": "Tensorboard",
        "metadata": {"name": "tb", "namespace": "team", "uid": "1", "labels": labels},
        "spec": {"logspath": logspath},
    }


@pytest.mark.parametrize(
    ("logspath", "claim", "folder", "read"),
    [
        ("pvc://data/runs/one", "data", "runs/one", "/tensorboard_logs/"),
        ("pvc://data/", "data", "", "/tensorboard_logs/"),
        ("pvc://data", "data", "", "/tensorboard_logs/"),
        ("s3://bucket/runs", None, "", "s3://bucket/runs"),
        ("/logs", "tb-volume", "", "/logs"),
    ],
)
def test_a_tensorboard_reads_its_volume_or_its_bucket(
    tensorboards: ModuleType, logspath: str, claim: str | None, folder: str, read: str
):
    made = tensorboards.deployment(tensorboard(logspath), "tb:1", None)
    spec = made["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert container["command"] == ["/usr/local/bin/tensorboard"]
    assert container["args"] == [f"--logdir={read}", "--bind_all"]
    if claim is None:
        assert (spec["volumes"], container["volumeMounts"]) == ([], [])
    else:
        (volume,), (mount,) = spec["volumes"], container["volumeMounts"]
        assert volume["persistentVolumeClaim"] == {"claimName": claim}
        assert (mount["mountPath"], mount["subPath"], mount["readOnly"]) == (read, folder, True)


def test_the_labels_of_a_tensorboard_choose_pod_defaults(tensorboards: ModuleType):
    made = tensorboards.deployment(tensorboard("s3://b", storage="true"), "tb:1", None)
    assert made["spec"]["template"]["metadata"]["labels"] == {"storage": "true", "app": "tb"}
    (owner,) = made["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["controller"]) == ("Tensorboard", "tb", True)
    (port,) = tensorboards.service(tensorboard("s3://b"))["spec"]["ports"]
    assert (port["name"], port["port"], port["targetPort"]) == ("http-tb", 80, 6006)


def test_the_status_of_a_tensorboard_grows_with_what_its_deployment_says(
    tensorboards: ModuleType,
):
    given = tensorboard("s3://b")
    first = {"status": {"conditions": [{"type": "Progressing", "lastUpdateTime": "t"}]}}
    given["status"] = tensorboards.status(given, first)
    progressing = {"deploymentState": "Progressing", "lastProbeTime": "t"}
    assert given["status"] == {"conditions": [progressing], "readyReplicas": 0}
    then = {"status": {"conditions": [{"type": "Available"}], "readyReplicas": 1}}
    found = tensorboards.status(given, then)
    assert [each["deploymentState"] for each in found["conditions"]] == [
        "Progressing",
        "Available",
    ]
    assert tensorboards.status({**given, "status": found}, then) == found


class Listed:
    """A Kubernetes of one claim and some pods."""

    def __init__(self, modes: list[str], *pods: dict[str, Any]):
        self._answers = {
            "persistentvolumeclaims/data": {"status": {"accessModes": modes}},
            "pods": {"items": pods},
        }

    def call(self, method: str, path: str) -> Any:
        return self._answers[path.partition("/namespaces/team/")[2]]


def user_of(claim: str, phase: str = "Running", **labels: str) -> dict[str, Any]:
    volume = {"name": "v", "persistentVolumeClaim": {"claimName": claim}}
    spec = {"nodeName": "n1", "volumes": [volume]}
    return {"metadata": {"labels": labels}, "spec": spec, "status": {"phase": phase}}


@pytest.mark.parametrize(
    ("api", "is_bound"),
    [
        (Listed(["ReadWriteOnce"], user_of("data")), True),
        (Listed(["ReadWriteMany"], user_of("data")), False),
        (Listed(["ReadWriteOnce"], user_of("other")), False),
        (Listed(["ReadWriteOnce"], user_of("data", "Pending")), False),
        (Listed(["ReadWriteOnce"], user_of("data", part="viewer")), False),
    ],
)
def test_what_reads_a_volume_goes_to_the_node_that_has_it(
    monkeypatch: pytest.MonkeyPatch, api: Listed, is_bound: bool
):
    viewers = load(monkeypatch, "viewers")
    found = viewers.affinity_of_claim(api, "team", "data", but=("part", "viewer"))
    assert (found is not None) is is_bound
    assert not is_bound or "n1" in json.dumps(found)


@pytest.mark.parametrize("missing", ["TENSORBOARD_IMAGE", "ISTIO_GATEWAY", "ISTIO_HOST"])
def test_the_tensorboard_controller_ends_without_what_it_requires(
    tensorboards: ModuleType, monkeypatch: pytest.MonkeyPatch, missing: str
):
    for name in tensorboards.REQUIRED:
        monkeypatch.setenv(name, "x")
    monkeypatch.delenv(missing)
    monkeypatch.setattr("sys.argv", ["manager", "--leader-elect"])
    with pytest.raises(SystemExit, match=f"{missing} is not set"):
        tensorboards.main()


def test_a_scheduling_that_is_neither_true_nor_false_is_refused(tensorboards: ModuleType):
    assert tensorboards.is_near_the_claim({}) is False
    assert tensorboards.is_near_the_claim({"RWO_PVC_SCHEDULING": "true"}) is True
    with pytest.raises(ValueError, match="neither true nor false"):
        tensorboards.is_near_the_claim({"RWO_PVC_SCHEDULING": "yes"})


# Volume viewers ---------------------------------------------------------------------------------


@pytest.fixture
def viewers(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The PVCViewer controller."""
    return load(monkeypatch, "pvcviewer_controller")


def viewer(**spec: Any) -> dict[str, Any]:
    networking = {"basePrefix": "/pvcviewers", "targetPort": 8080, "rewrite": "/"}
    return {
        "apiVersion": "kubeflow.org/v1alpha1",
        "kind": "PVCViewer",
        "metadata": {"name": "data", "namespace": "team", "uid": "1"},
        "spec": {"pvc": "data", "networking": networking, **spec},
    }


def reviewed(viewers: ModuleType, verb: str, given: dict[str, Any]) -> dict[str, Any]:
    path = f"/{verb}-kubeflow-org-v1alpha1-pvcviewer"
    return viewers.response(path, {"uid": "u", "object": given})


def test_what_a_viewer_leaves_out_is_filled_in_and_then_valid(viewers: ModuleType):
    answer = reviewed(viewers, "mutate", viewer())
    ((patch,)) = json.loads(base64.b64decode(answer["patch"]))
    (container,) = patch["value"]["podSpec"]["containers"]
    environment = {each["name"]: each["value"] for each in container["env"]}
    assert environment["FB_BASEURL"] == "/pvcviewers/team/data/"
    given = viewer(**patch["value"])
    assert reviewed(viewers, "validate", given) == {"uid": "u", "allowed": True}


def test_a_viewer_that_says_what_runs_it_stays_as_it_is(viewers: ModuleType):
    own = {"containers": [{"name": "main"}]}
    answer = reviewed(viewers, "mutate", viewer(podSpec=own))
    ((patch,)) = json.loads(base64.b64decode(answer["patch"]))
    assert patch["value"]["podSpec"] == own


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"pvc": ""}, "PVC name must be specified"),
        ({}, "PodSpec must be specified"),
        ({"podSpec": {"containers": [{"name": "main"}]}}, "PVC data must be used in the podSpec"),
    ],
)
def test_a_viewer_without_its_volume_is_refused_with_the_reason(
    viewers: ModuleType, spec: dict[str, Any], why: str
):
    answer = reviewed(viewers, "validate", viewer(**spec))
    assert (answer["allowed"], answer["status"]["message"]) == (False, why)


def test_a_viewer_becomes_a_deployment_behind_a_service(viewers: ModuleType):
    given = viewer(podSpec={"containers": [{"name": "main"}], "affinity": {"of": "nobody"}})
    made = viewers.deployment(given, {"of": "us"})
    labels = {
        "app.kubernetes.io/name": "data",
        "app.kubernetes.io/instance": "pvcviewer-data",
        "app.kubernetes.io/part-of": "pvc-viewer",
    }
    assert made["metadata"]["name"] == "pvcviewer-data"
    assert made["spec"]["template"]["metadata"]["labels"] == labels
    assert made["spec"]["template"]["spec"]["affinity"] == {"of": "us"}
    assert made["spec"]["strategy"] == {"type": "Recreate"}
    behind = viewers.service(given)
    assert behind["metadata"]["name"] == "pvcviewer-data"
    assert behind["spec"]["selector"] == labels
    assert behind["spec"]["ports"] == [{"name": "http", "port": 80, "targetPort": 8080}]


def test_a_viewer_is_ready_when_its_deployment_is(viewers: ModuleType):
    conditions = [{"type": "Available", "status": "True"}]
    found = {"spec": {"replicas": 1}, "status": {"readyReplicas": 1, "conditions": conditions}}
    seen = viewers.status(viewer(), found)
    assert seen == {"ready": True, "conditions": conditions, "url": "/pvcviewers/team/data/"}
    assert viewers.status({**viewer(), "status": seen}, found) == seen
    assert viewers.status(viewer(), {"spec": {"replicas": 1}})["ready"] is False


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The URL of a volume's files behind its prefix, and their folder."""
    filebrowser = load(monkeypatch, "filebrowser")
    root = tmp_path / "srv"
    (root / "runs").mkdir(parents=True)
    (root / "runs" / "a&b.txt").write_text("one")
    (root / "away").symlink_to(tmp_path)
    (tmp_path / "secret").write_text("s")
    handler = type("Files", (filebrowser.Files,), {"root": root, "base": "/pvcviewers/t/d/"})
    server = filebrowser.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", root
    server.shutdown()
    thread.join()
    server.server_close()


def fetch(
    url: str, method: str = "GET", data: bytes | None = None, is_page: bool = True
) -> tuple[int, str]:
    headers = {"X-Auth": "page"} if is_page else {}
    request = urllib.request.Request(url, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_files_of_a_volume_are_listed_and_fetched(files: tuple[str, Path]):
    url, _ = files
    code, page = fetch(f"{url}/runs/")
    assert code == 200
    assert "stand-in" in page
    assert 'href="/pvcviewers/t/d/runs/a%26b.txt">a&amp;b.txt<' in page
    assert fetch(f"{url}/runs/a%26b.txt") == (200, "one")
    assert fetch(f"{url}/pvcviewers/t/d/runs/a%26b.txt") == (200, "one")
    assert fetch(f"{url}/health")[0] == 200
    assert fetch(f"{url}/none")[0] == 404


@pytest.mark.parametrize("path", ["away/secret", "../secret", "..%2fsecret"])
def test_no_file_outside_of_the_volume_is_reached(files: tuple[str, Path], path: str):
    url, root = files
    assert fetch(f"{url}/{path}")[0] == 404
    for method in ("POST", "DELETE"):
        said = fetch(f"{url}/api/resources/{path}", method, b"x")
        assert said[0] == 404
    assert (root.parent / "secret").read_text() == "s"


def test_a_file_is_uploaded_and_deleted_by_the_page_alone(files: tuple[str, Path]):
    url, root = files
    target = f"{url}/api/resources/new/file.txt"
    assert fetch(target, "POST", b"two", is_page=False)[0] == 401
    assert fetch(target, "DELETE", is_page=False)[0] == 401
    assert fetch(target, "POST", b"two")[0] == 200
    assert (root / "new" / "file.txt").read_text() == "two"
    assert fetch(target, "DELETE")[0] == 200
    assert not (root / "new" / "file.txt").exists()
    assert fetch(target, "DELETE")[0] == 409
    assert fetch(f"{url}/api/resources/", "DELETE")[0] == 404


def test_an_object_is_changed_only_as_it_was_read(monkeypatch: pytest.MonkeyPatch):
    """Kubernetes takes no change of a custom resource that does not say which version it is of."""
    viewers = load(monkeypatch, "viewers")
    owner = viewer()
    made = viewers.route(owner, "data", "g", "*", "/p/", "/", "host", "30s")
    present = {"metadata": {**made["metadata"], "resourceVersion": "7"}, "spec": {"hosts": []}}
    sent: list[tuple[str, str, Any]] = []

    class Api:
        def get(self, path: str) -> Any:
            return present

        def call(self, *arguments: Any) -> Any:
            sent.append(arguments)

    viewers.Objects(Api()).put(made)
    ((method, path, body),) = sent
    assert (method, path.rpartition("/")[2]) == ("PUT", "data")
    assert body["metadata"]["resourceVersion"] == "7"
    assert body["spec"] == made["spec"]
    present["metadata"]["ownerReferences"] = []
    with pytest.raises(load(monkeypatch, "stand_in").ApiError, match="somebody else's"):
        viewers.Objects(Api()).put(made)


# Early stopping ---------------------------------------------------------------------------------


@pytest.fixture
def medianstop(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Katib's early stopping; gRPC is in its image only."""
    monkeypatch.setitem(sys.modules, "grpc", ModuleType("grpc"))
    return load(monkeypatch, "katib_medianstop")


def test_a_trial_is_measured_by_the_median_of_what_others_had_at_that_step(
    medianstop: ModuleType,
):
    histories = ([0.1, 0.3, 0.9], [0.5, 0.5], [0.9, 0.9, 0.1])
    averages = [medianstop.average(each, 2) for each in histories]
    assert averages == pytest.approx([0.2, 0.5, 0.9])
    assert medianstop.threshold(averages, 3) == pytest.approx(0.5)
    assert medianstop.threshold(averages, 4) is None
    assert medianstop.average([], 2) is None


def test_the_numbers_of_the_median_rule_are_checked(medianstop: ModuleType):
    assert medianstop.settings([("start_step", "2")]) == {
        "min_trials_required": 3,
        "start_step": 2,
    }
    for name, value, reason in (
        ("start_step", "0", "start_step is a whole number from 1, not '0'"),
        ("min_trials_required", "two", "min_trials_required is a whole number"),
        ("patience", "3", "medianstop has no setting patience"),
    ):
        with pytest.raises(ValueError, match=reason):
            medianstop.settings([(name, value)])
