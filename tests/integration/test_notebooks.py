"""From a profile to a notebook that answers: namespace, PodDefaults, JupyterLab, stop, start."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import jubilant
import pytest
import yaml
from browsers import settle
from pages import wait_for
from people import Accounts
from reach import Reach

ROOT = Path(__file__).parents[2]
ANSWER_SECONDS = 300.0
# An image that is there already: of the charms.
POD = {
    "containers": [
        {
            "name": "main",
            "image": "docker.io/jujusolutions/charm-base:ubuntu-24.04",
            "command": ["/bin/true"],
            "env": [{"name": "OWN", "value": "kept"}],
        }
    ]
}


def get(reach: Reach, team: str, what: str) -> dict[str, Any]:
    """An object of the team's namespace."""
    return json.loads(reach.kubectl("-n", team, "get", what, "-o", "json"))


def make(reach: Reach, team: str, version: str, kind: str, name: str, spec: Any, **metadata: Any):
    """Makes an object in the team's namespace."""
    made = {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, **metadata},
        "spec": spec,
    }
    reach.kubectl("-n", team, "apply", "-f", "-", stdin=json.dumps(made))


def test_a_profile_becomes_a_namespace_of_its_owner(team: str, accounts: Accounts, reach: Reach):
    namespace = json.loads(reach.kubectl("get", "namespace", team, "-o", "json"))
    labels = namespace["metadata"]["labels"]
    assert labels["app.kubernetes.io/part-of"] == "kubeflow-profile"
    assert labels["pod-security.kubernetes.io/enforce"] == "baseline"
    assert namespace["metadata"]["annotations"]["owner"] == accounts.ann.email
    binding = get(reach, team, "rolebinding/namespaceAdmin")
    assert binding["roleRef"]["name"] == "kubeflow-admin"
    assert [each["name"] for each in binding["subjects"]] == [accounts.ann.email]


@pytest.mark.parametrize(
    ("user", "verb", "what", "answer"),
    [
        ("ann", "update", "notebooks.kubeflow.org", "yes"),
        ("ann", "create", "poddefaults.kubeflow.org", "yes"),
        ("bob", "get", "notebooks.kubeflow.org", "no"),
    ],
)
def test_the_owner_may_use_notebooks_and_nobody_else(
    team: str, accounts: Accounts, reach: Reach, user: str, verb: str, what: str, answer: str
):
    email = getattr(accounts, user).email
    asked = ("auth", "can-i", verb, what, "-n", team, f"--as={email}")
    said = reach.kubectl(*asked) if answer == "yes" else _refused(reach, *asked)
    assert said.strip().endswith(answer)


def _refused(reach: Reach, *arguments: str, stdin: str | None = None) -> str:
    """What kubectl says when it fails."""
    with pytest.raises(Exception, match="returned non-zero") as failure:
        reach.kubectl(*arguments, stdin=stdin)
    return getattr(failure.value, "stdout", "") + getattr(failure.value, "stderr", "")


def test_a_pod_default_reaches_a_pod_with_its_label_and_no_other(team: str, reach: Reach):
    default = {
        "selector": {"matchLabels": {"greet": "true"}},
        "env": [{"name": "GREETING", "value": "hello"}],
        "volumes": [{"name": "scratch", "emptyDir": {}}],
        "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
    }
    make(reach, team, "kubeflow.org/v1alpha1", "PodDefault", "greeting", default)
    make(reach, team, "v1", "Pod", "greeted", POD, labels={"greet": "true"})
    make(reach, team, "v1", "Pod", "plain", POD)

    pod = get(reach, team, "pod/greeted")
    (container,) = pod["spec"]["containers"]
    assert {each["name"]: each["value"] for each in container["env"]} == {
        "OWN": "kept",
        "GREETING": "hello",
    }
    assert "/scratch" in [each["mountPath"] for each in container["volumeMounts"]]
    version = get(reach, team, "poddefault/greeting")["metadata"]["resourceVersion"]
    mark = "poddefault.admission.kubeflow.org/poddefault-greeting"
    assert pod["metadata"]["annotations"][mark] == version

    (container,) = get(reach, team, "pod/plain")["spec"]["containers"]
    assert [each["name"] for each in container["env"]] == ["OWN"]


def test_a_pod_that_contradicts_its_pod_default_is_refused_with_the_reason(
    team: str, reach: Reach
):
    own = {**POD["containers"][0], "env": [{"name": "GREETING", "value": "no"}]}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "contrary", "labels": {"greet": "true"}},
        "spec": {"containers": [own]},
    }
    said = _refused(reach, "-n", team, "create", "-f", "-", stdin=json.dumps(pod))
    assert "greeting" in said
    assert "GREETING" in said


def test_without_the_webhook_a_tenant_s_pod_is_refused_and_others_are_not(
    stack: jubilant.Juju, team: str, reach: Reach
):
    create = ("create", "--dry-run=server", "-o", "name", "-f", "-")
    pod = json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": POD})

    def scale(units: int) -> None:
        stack.cli("scale-application", "admission-webhook", str(units))
        stack.wait(
            lambda status: len(status.apps["admission-webhook"].units) == units, timeout=300
        )

    scale(0)
    try:
        with pytest.raises(subprocess.CalledProcessError) as refused:
            reach.kubectl("-n", team, *create, stdin=pod)
        assert "failed calling webhook" in refused.value.stderr
        assert reach.kubectl("-n", "default", *create, stdin=pod) == "pod/x\n"
    finally:
        scale(1)
        settle(stack)

    def admitted() -> bool:
        try:
            return reach.kubectl("-n", team, *create, stdin=pod) == "pod/x\n"
        except subprocess.CalledProcessError:  # its Service does not know the new pod yet
            return False

    wait_for(admitted)


@pytest.fixture(scope="module")
def notebook(team: str, reach: Reach) -> str:
    """A notebook whose pod is ready, and whose home is a volume."""
    images = yaml.safe_load((ROOT / "charms/jupyter-ui/src/images.yaml").read_text())
    claim = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "100Mi"}},
    }
    make(reach, team, "v1", "PersistentVolumeClaim", "lab-workspace", claim)
    pod = {
        "serviceAccountName": "default-editor",
        "containers": [
            {
                "name": "lab",
                "image": images["jupyter-scipy"],
                "volumeMounts": [{"name": "home", "mountPath": "/home/jovyan"}],
            }
        ],
        "volumes": [{"name": "home", "persistentVolumeClaim": {"claimName": "lab-workspace"}}],
    }
    labels = {"greet": "true"}
    make(
        reach, team, "kubeflow.org/v1", "Notebook", "lab", {"template": {"spec": pod}},
        labels=labels,
    )  # fmt: skip
    _wait_ready(reach, team)
    return "lab"


def _wait_ready(reach: Reach, team: str) -> None:
    ready = "--for=jsonpath={.status.readyReplicas}=1"
    reach.kubectl("-n", team, "wait", "notebook/lab", ready, "--timeout=300s")


def ask(url: str, body: Any = None) -> Any:
    """What Jupyter's API says; it is asked until it answers, as it takes a moment to start."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            data = None if body is None else json.dumps(body).encode()
            with urllib.request.urlopen(urllib.request.Request(url, data), timeout=60) as answer:
                return json.load(answer)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def test_a_notebook_becomes_a_jupyterlab_behind_its_service(
    team: str, notebook: str, reach: Reach
):
    with reach.forward(team, notebook, 80) as url:
        base = f"{url}/notebook/{team}/{notebook}"
        assert ask(f"{base}/api")["version"]
        with urllib.request.urlopen(f"{base}/lab", timeout=60) as page:
            assert b"jupyter" in page.read().lower()
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{url}/api", timeout=60)


def test_a_notebook_s_pod_has_its_settings(team: str, notebook: str, reach: Reach):
    pod = get(reach, team, f"pod/{notebook}-0")
    (container,) = pod["spec"]["containers"]
    environment = {each["name"]: each.get("value") for each in container["env"]}
    assert environment["NB_PREFIX"] == f"/notebook/{team}/{notebook}"
    assert environment["GREETING"] == "hello"
    assert container["workingDir"] == "/home/jovyan"
    assert pod["spec"]["securityContext"]["fsGroup"] == 100
    where = ("-n", team, "exec", f"{notebook}-0", "--", "sh", "-c")
    reach.kubectl(*where, "echo mine >~/kept; python3 -c 'import mlflow; mlflow.log_metric'")


def test_the_list_says_that_it_runs(stack: jubilant.Juju, team: str, notebook: str):
    assert _listed(stack, team)["state"] == "running"


def _listed(stack: jubilant.Juju, team: str) -> dict[str, str]:
    task = stack.run("notebook-controller/0", "list-notebooks", {"namespace": team})
    (found,) = task.results["notebooks"].values()
    return found


def test_a_stopped_notebook_has_no_pod_and_comes_back_with_its_home(
    stack: jubilant.Juju, team: str, notebook: str, reach: Reach
):
    which = {"namespace": team, "name": notebook}
    stack.run("notebook-controller/0", "stop", which)
    reach.kubectl("-n", team, "wait", f"pod/{notebook}-0", "--for=delete", "--timeout=300s")
    assert get(reach, team, f"statefulset/{notebook}")["spec"]["replicas"] == 0
    stopped = "--for=jsonpath={.status.readyReplicas}=0"
    reach.kubectl("-n", team, "wait", "notebook/lab", stopped, "--timeout=300s")
    assert _listed(stack, team)["state"] == "stopped"
    with pytest.raises(jubilant.TaskError, match="stopped already"):
        stack.run("notebook-controller/0", "stop", which)

    stack.run("notebook-controller/0", "start", which)
    reach.kubectl("-n", team, "wait", f"pod/{notebook}-0", "--for=create", "--timeout=300s")
    _wait_ready(reach, team)
    with reach.forward(team, notebook, 80) as url:
        assert ask(f"{url}/notebook/{team}/{notebook}/api/contents/kept")["content"] == "mine\n"


@pytest.fixture
def root_server(team: str, reach: Reach) -> Iterator[str]:
    """A notebook whose program serves `/`, as code-server does; it answers with what it got."""
    answer = (
        "import http.server as h\n"
        "class H(h.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        root = self.headers.get('X-RStudio-Root-Path', '')\n"
        "        body = f'{self.path} {root}'.encode()\n"
        "        self.send_response(200)\n"
        "        self.send_header('Content-Length', str(len(body)))\n"
        "        self.end_headers()\n"
        "        self.wfile.write(body)\n"
        "h.ThreadingHTTPServer(('', 8888), H).serve_forever()\n"
    )
    container = {
        "name": "root", "image": "docker.io/library/python:3.12.12-slim",
        "command": ["/usr/local/bin/python3", "-c", answer],
    }  # fmt: skip
    domain, path = "notebooks.kubeflow.org", f"/notebook/{team}/root/"
    notes = {
        f"{domain}/http-rewrite-uri": "/",
        f"{domain}/http-headers-request-set": json.dumps({"X-RStudio-Root-Path": path}),
    }
    spec = {"template": {"spec": {"containers": [container]}}}
    make(reach, team, "kubeflow.org/v1", "Notebook", "root", spec, annotations=notes)
    ready = "--for=jsonpath={.status.readyReplicas}=1"
    reach.kubectl("-n", team, "wait", "notebook/root", ready, "--timeout=300s")
    yield path
    reach.kubectl("-n", team, "delete", "notebook/root")


def test_a_notebook_that_serves_the_root_gets_the_rest_of_the_path(
    ann: httpx2.Client, root_server: str
):
    wait_for(lambda: ann.get(root_server).status_code == 200)
    assert ann.get(f"{root_server}a/b?c=d").text == f"/a/b?c=d {root_server}"


def test_a_profile_is_not_deleted_without_confirm(
    stack: jubilant.Juju, team: str, notebook: str, reach: Reach
):
    task = stack.run("profiles/0", "delete-profile", {"name": team})
    assert task.results["would-delete"] == team
    assert task.results["notebooks"] == "1"
    assert get(reach, team, f"notebook/{notebook}")["metadata"].get("deletionTimestamp") is None
