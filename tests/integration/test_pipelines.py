"""Pipelines by the unchanged kfp SDK, through the gateway, by two tenants.

Argo's controller and executor, Envoy and ML Metadata's store are the real programs, as are MLflow
and KServe; Kubeflow Pipelines' own servers, driver and launcher are stand-ins on the local engine.
The tests of this file run in order on one model.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import jubilant
import pytest
import yaml
from browsers import PORT, namespace_of, settle
from pages import get, wait_for
from reach import Reach
from serving import serve

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "first-model"
SCRIPT = Path(__file__).with_name("pipelines_client.py")
API = "/pipeline/apis/v2beta1"
PARTS = ("configmap/kfp-launcher", "secret/mlpipeline-minio-artifact")
STEPS = {"matchLabels": {"pipelines.kubeflow.org/v2_component": "true"}}
"""What all pods of runs have."""
Do = Callable[..., Any]

sys.path.insert(0, str(EXAMPLE))
from predict import predict  # noqa: E402 # pyright: ignore[reportMissingImports]


@pytest.fixture(scope="module", autouse=True)
def tenants(reach: Reach, team: str, other: str) -> None:
    """Both namespaces have what a run needs."""
    for name in (team, other):
        for each in PARTS:
            reach.kubectl("-n", name, "wait", each, "--for=create", "--timeout=120s")


def sdk() -> Path:
    """A Python with the SDK: that of the image which components run in."""
    from localjuju.images import Catalogue
    from localkube.host.progress import Progress

    tree = Catalogue.load().ensure("docker.io/library/python:3.11", Progress())
    return tree.parent / "venv" / "bin" / "python"


@pytest.fixture(scope="module")
def do(
    stack: jubilant.Juju, reach: Reach, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Do]:
    """Has the SDK do something with the token of a namespace's service account."""
    folder = tmp_path_factory.mktemp("sdk")
    shown = stack.run("gateway/0", "get-ca").results
    ca = folder / "ca.pem"
    ca.write_text(shown["ca"])
    python = sdk()
    with reach.forward(namespace_of(stack), "gateway", PORT) as url:

        def done(namespace: str, what: str, /, **arguments: Any) -> Any:
            token = folder / "token"
            token.write_text(
                reach.kubectl(
                    "-n", namespace, "create", "token", "default-editor",
                    "--audience=charmed-mlops", "--duration=1h",
                )
            )  # fmt: skip
            asked = {
                "url": shown["url"], "port": urllib.parse.urlsplit(url).port,
                "ca": str(ca), "token": str(token), "namespace": namespace, "do": what,
                "arguments": arguments, "package": str(folder / "package.yaml"),
            }  # fmt: skip
            ended = subprocess.run(
                [python, SCRIPT],
                input=json.dumps(asked),
                capture_output=True,
                text=True,
                check=False,
            )
            assert ended.returncode == 0, ended.stderr[-2000:]
            return json.loads(ended.stdout.splitlines()[-1])

        yield done


def pods(reach: Reach, namespace: str, run: str) -> list[dict[str, Any]]:
    """The pods of a run."""
    found = reach.kubectl("-n", namespace, "get", "pods", f"-lpipeline/runid={run}", "-o", "json")
    return json.loads(found)["items"]


def wait_for_step(reach: Reach, namespace: str, run: str, *earlier: str) -> str:
    """The pod of a step whose own container runs, once there is one: no driver's, none earlier."""
    found: list[str] = []

    def runs() -> bool:
        for pod in pods(reach, namespace, run):
            name = pod["metadata"]["name"]
            states = pod["status"].get("containerStatuses") or ()
            if ("-container-impl-" in name and name not in earlier) and any(
                each["name"] == "main" and each["state"].get("running") for each in states
            ):
                found.append(name)
        return bool(found)

    wait_for(runs)
    return found[0]


def objects(stack: jubilant.Juju, reach: Reach, namespace: str) -> list[str]:
    """The paths of what a tenant has in her folder of the bucket."""
    return reach.kubectl(
        "-n", namespace_of(stack), "exec", "object-store-0", "-c", "object-store", "--",
        "find", "/data", "-type", "f", "-path", f"*/private-artifacts/{namespace}/*",
    ).splitlines()  # fmt: skip


@pytest.fixture(scope="module")
def first(do: Do, team: str) -> dict[str, Any]:
    """A run of Ann's, to its end."""
    return do(team, "run", pipeline="sums", arguments={"count": 10})


@pytest.fixture(scope="module")
def notebook(stack: jubilant.Juju, reach: Reach, team: str) -> Do:
    """Has the SDK do something in a pod that has what a notebook that runs pipelines has.

    The steps of her pipelines get MLflow's settings by a PodDefault that Ann makes.
    """
    given = json.loads(reach.kubectl("-n", team, "get", "poddefault/mlflow", "-o", "json"))
    steps = {
        "apiVersion": given["apiVersion"],
        "kind": "PodDefault",
        "metadata": {"name": "mlflow-for-steps", "namespace": team},
        "spec": {
            **given["spec"],
            "selector": STEPS,
        },
    }
    code = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "notebook-code", "namespace": team},
        "data": {"client.py": SCRIPT.read_text()},
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "notebook", "namespace": team, "labels": {"pipelines": "true"}},
        "spec": {
            "serviceAccountName": "default-editor",
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {
                    "name": "notebook",
                    "image": "docker.io/library/python:3.11",
                    "command": ["python3", "-c", "import time; time.sleep(1e6)"],
                    "volumeMounts": [{"name": "code", "mountPath": "/code"}],
                }
            ],
            "volumes": [{"name": "code", "configMap": {"name": "notebook-code"}}],
        },
    }
    who = f"--as=system:serviceaccount:{team}:default-editor"
    for each in (steps, code, pod):
        reach.kubectl("apply", who, "-f", "-", stdin=yaml.safe_dump(each))
    reach.kubectl("-n", team, "wait", "pod/notebook", "--for=condition=Ready", "--timeout=120s")
    here = ("-n", team, "exec", "notebook", "--")

    def done(what: str, /, **arguments: Any) -> Any:
        asked = {
            "namespace": team, "do": what, "arguments": arguments, "package": "/tmp/package.yaml",
        }  # fmt: skip
        said = reach.kubectl(*here, "python3", "/code/client.py", json.dumps(asked))
        return json.loads(said.splitlines()[-1])

    return done


@pytest.fixture(scope="module")
def training(notebook: Do) -> str:
    """A run that trains, evaluates and registers a model."""
    return notebook("start", pipeline="wine", arguments={"least": 0.8, "name": "wine"})


@pytest.fixture(scope="module")
def begun(do: Do, team: str, first: dict[str, Any], training: str) -> dict[str, str]:
    """Runs that do not need one another, side by side: one waits for pods most of its time.

    Beside the longest of all, which a notebook has started.
    """
    wanted: dict[str, tuple[str, dict[str, Any]]] = {
        "the same": ("sums", {"count": 10}),
        "small": ("sums", {"count": 3}),
        "failing": ("failing", {}),
        "late": ("late", {"variable": "MAY_END"}),
    }
    return {
        name: do(team, "start", pipeline=pipeline, arguments=arguments)
        for name, (pipeline, arguments) in wanted.items()
    }


def test_a_pipeline_runs_in_pods_of_the_tenant_to_its_end(first: dict[str, Any]):
    assert first["state"] == "SUCCEEDED", first
    assert {first["tasks"][name] for name in ("numbers", "total", "say")} == {"SUCCEEDED"}


def test_its_artifacts_lie_in_the_tenant_s_folder(
    stack: jubilant.Juju, reach: Reach, team: str, first: dict[str, Any]
):
    settings = json.loads(
        reach.kubectl("-n", team, "get", "configmap/kfp-launcher", "-o", "json")
    )["data"]
    assert f"/private-artifacts/{team}/" in settings["defaultPipelineRoot"]
    assert [each for each in objects(stack, reach, team) if "/numbers/" in each]


def test_the_same_again_is_taken_from_the_cache(
    do: Do, team: str, first: dict[str, Any], begun: dict[str, str]
):
    again = do(team, "ended", id=begun["the same"])
    assert again["state"] == "SUCCEEDED"
    assert set(again["executors"]) == {"SKIPPED"}
    assert again["made"].get("numbers") == first["made"].get("numbers")


def test_a_condition_that_does_not_hold_leaves_its_step_out(
    do: Do, team: str, begun: dict[str, str]
):
    found = do(team, "ended", id=begun["small"])
    assert found["state"] == "SUCCEEDED"
    assert found["tasks"].get("say") in (None, "SKIPPED")


def said(stack: jubilant.Juju, reach: Reach, namespace: str, run: str) -> str:
    """What the steps of a run have printed, from the bucket: their pods go with its end."""
    found = reach.kubectl(
        "-n", namespace, "get", "workflows", f"-lpipeline/runid={run}", "-o", "name"
    )
    names = [each.rpartition("/")[2] for each in found.split()]
    logs = [
        each
        for each in objects(stack, reach, namespace)
        if each.endswith("/main.log") and any(f"/{name}/" in each for name in names)
    ]
    return reach.kubectl(
        "-n", namespace_of(stack), "exec", "object-store-0", "-c", "object-store", "--",
        "cat", *logs,
    )  # fmt: skip


def test_a_component_that_fails_ends_the_run(
    stack: jubilant.Juju, reach: Reach, do: Do, team: str, begun: dict[str, str]
):
    found = do(team, "ended", id=begun["failing"])
    assert (found["state"], found["tasks"]["fail"]) == ("FAILED", "FAILED")
    assert "this is the reason" in said(stack, reach, team, found["id"])


def test_a_parameter_that_the_pipeline_does_not_have_is_named(
    do: Do, team: str, first: dict[str, Any]
):
    assert "colour" in do(team, "not_started", pipeline="sums", arguments={"colour": 1})


@pytest.mark.parametrize("content", ["kind: Workflow", "just: words"])
def test_a_package_that_is_no_pipeline_is_refused(do: Do, team: str, content: str):
    status, text = do(team, "upload", content=content)
    assert status in (400, 500)  # upstream's server takes it as a fault of its own
    assert "pipeline" in text.lower()


def test_another_tenant_is_refused(do: Do, team: str, other: str, first: dict[str, Any]):
    found = do(other, "refused", id=first["id"], namespace=team)
    assert found == dict.fromkeys(("list", "get", "terminate", "delete"), 403)


def test_the_admin_lists_runs(stack: jubilant.Juju, team: str, first: dict[str, Any]):
    listed = stack.run("kfp-api/0", "list-runs", {"namespace": team}).results
    runs = {each["id"]: each["state"] for each in listed["runs"].values()}
    assert runs[first["id"]] == "SUCCEEDED"


# Lineage ----------------------------------------------------------------------------------------


def lineage(client: httpx2.Client, run: str) -> dict[str, dict[str, Any]]:
    """What ML Metadata's store knows of the steps of a run, by their names."""
    found = get(client, f"{API}/stand-in/runs/{run}/lineage")["executions"]
    return {each["task_name"]: each for each in found}


@pytest.mark.localjuju  # upstream's own API has no such path: its page asks the store
def test_ml_metadata_knows_what_each_step_took_and_made(
    ann: httpx2.Client, team: str, first: dict[str, Any]
):
    found = lineage(ann, first["id"])
    (data,) = found["numbers"]["outputs"]["data"]
    assert found["total"]["inputs"]["data"] == [data]
    assert data["type"] == "system.Dataset"
    assert f"/private-artifacts/{team}/v2/artifacts/sums/{first['id']}/numbers/" in data["uri"]
    (metrics,) = found["total"]["outputs"]["metrics"]
    assert metrics["metadata"]["sum"] == 45
    assert found["numbers"]["parameters"] == {"inputs": {"count": 10}, "outputs": {"Output": 10}}
    assert {found[name]["state"] for name in ("numbers", "total", "say")} == {"COMPLETE"}
    assert found["say"]["parent"] == found["condition-1"]["execution_id"]
    assert first["made"]["numbers"]["data"] == [str(data["artifact_id"])]


@pytest.mark.localjuju
def test_the_page_of_a_run_shows_them_to_who_may_see_the_run(
    ann: httpx2.Client, bob: httpx2.Client, first: dict[str, Any]
):
    page = ann.get(f"/pipeline/?run={first['id']}")
    assert page.status_code == 200
    assert page.text.count("/numbers/") == 2  # made by one step, taken by another
    assert bob.get(f"/pipeline/?run={first['id']}").status_code == 403


def asked(client: httpx2.Client, method: str, message: bytes = b"") -> httpx2.Response:
    """A call of ML Metadata as a page's script makes it: by gRPC-Web."""
    return client.post(
        f"/ml_metadata.MetadataStoreService/{method}",
        content=b"\0" + len(message).to_bytes(4, "big") + message,
        headers={
            "Content-Type": "application/grpc-web+proto",
            "Accept": "application/grpc-web+proto",
            "X-Grpc-Web": "1",
        },
    )


def of_run(run: str) -> bytes:
    """GetContextByTypeAndName's message: the type's name is field 1, the context's field 2."""
    return b"".join(
        bytes([number << 3 | 2, len(text)]) + text.encode()
        for number, text in ((1, "system.PipelineRun"), (2, run))
    )


def by_context(content: bytes) -> bytes:
    """The message that names the context of an answer: field 1, an id, as it is in the context."""
    ends = (at + 1 for at in range(6, len(content)) if content[at] < 128)
    start = next(ends)  # behind the frame's head, the context's key and its length
    assert next(ends) == start + 1  # the id's key
    return content[start : next(ends)]


def test_a_page_s_script_gets_to_the_store_through_envoy(
    ann: httpx2.Client, team: str, first: dict[str, Any]
):
    context = asked(ann, "GetContextByTypeAndName", of_run(first["id"]))
    assert context.status_code == 200, context.text
    assert team.encode() in context.content
    steps = asked(ann, "GetExecutionsByContext", by_context(context.content))
    assert steps.status_code == 200, steps.text
    assert b"numbers" in steps.content


def test_another_tenant_s_script_gets_nothing_of_it(
    ann: httpx2.Client, bob: httpx2.Client, team: str, first: dict[str, Any]
):
    name = of_run(first["id"])
    context = by_context(asked(ann, "GetContextByTypeAndName", name).content)
    for method, message in (
        ("GetContextByTypeAndName", name),
        ("GetContextsByID", context),
        ("GetExecutionsByContext", context),
        ("GetArtifactsByContext", context),
        ("GetExecutions", b""),
        ("GetArtifacts", b""),
        ("GetContexts", b""),
    ):
        answer = asked(bob, method, message)
        assert answer.status_code == 403, f"{method}: {answer.text}"
        assert team.encode() not in answer.content


def test_no_script_lists_or_writes_all_that_is_there(ann: httpx2.Client):
    for method in ("GetExecutions", "GetArtifacts", "GetContexts", "PutContextType"):
        assert asked(ann, method).status_code == 403, method


# From a notebook to a served model --------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(notebook: Do, training: str) -> dict[str, Any]:
    """That run, to its end."""
    return notebook("ended", id=training)


def artifact(client: httpx2.Client, team: str, uri: str) -> Any:
    """An artifact's JSON, as the interface gives it to the tenant."""
    bucket, _, key = uri.removeprefix("minio://").partition("/")
    query = urllib.parse.urlencode(
        {"source": "minio", "namespace": team, "bucket": bucket, "key": key}
    )
    return get(client, f"/pipeline/artifacts/get?{query}")


def test_a_notebook_trains_and_evaluates_a_model_in_a_pipeline(trained: dict[str, Any]):
    assert trained["state"] == "SUCCEEDED", trained
    wanted = ("load", "train", "evaluate", "register")
    assert {trained["tasks"][name] for name in wanted} == {"SUCCEEDED"}


def test_metrics_and_model_are_in_the_tenant_s_workspace(
    ann: httpx2.Client, bob: httpx2.Client, team: str, other: str, trained: dict[str, Any]
):
    base = "/mlflow/api/2.0/mlflow"
    headers = {"X-MLFLOW-WORKSPACE": team, "Accept": "application/json"}
    found = ann.get(f"{base}/registered-models/get?name=wine", headers=headers)
    assert found.status_code == 200, found.text
    (version,) = found.json()["registered_model"]["latest_versions"]
    run = ann.get(f"{base}/runs/get?run_id={version['run_id']}", headers=headers).json()["run"]
    (metric,) = [each for each in run["data"]["metrics"] if each["key"] == "accuracy"]
    (said,) = lineage(ann, trained["id"])["evaluate"]["outputs"]["metrics"]
    assert metric["value"] == pytest.approx(said["metadata"]["accuracy"])
    assert metric["value"] > 0.8
    assert run["info"]["user_id"] == f"system:serviceaccount:{team}:default-editor"
    headers["X-MLFLOW-WORKSPACE"] = other
    theirs = bob.get(f"{base}/registered-models/get?name=wine", headers=headers)
    assert theirs.status_code == 404


def test_the_served_model_predicts_as_the_model_itself(
    reach: Reach, ann: httpx2.Client, team: str, trained: dict[str, Any]
):
    """In her own namespace, from her own folder of the bucket, with her own key."""
    steps = lineage(ann, trained["id"])
    (answers,) = steps["evaluate"]["outputs"]["answers"]
    expected = artifact(ann, team, answers["uri"])
    settings = json.loads(
        reach.kubectl("-n", team, "get", "configmap/kfp-launcher", "-o", "json")
    )["data"]
    keys = json.loads(
        reach.kubectl("-n", team, "get", "secret/mlpipeline-minio-artifact", "-o", "json")
    )["data"]
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": "models", "namespace": team,
            "annotations": {
                "serving.kserve.io/s3-endpoint":
                    json.loads(settings["providers"])["minio"]["default"]["endpoint"],
                "serving.kserve.io/s3-usehttps": "0",
                "serving.kserve.io/s3-region": "us-east-1",
            },
        },
        "stringData": {
            "AWS_ACCESS_KEY_ID": base64.b64decode(keys["accesskey"]).decode(),
            "AWS_SECRET_ACCESS_KEY": base64.b64decode(keys["secretkey"]).decode(),
        },
    }  # fmt: skip
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "models", "namespace": team},
        "secrets": [{"name": "models"}],
    }
    for each in (secret, account):
        reach.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(each))
    document = yaml.safe_load((EXAMPLE / "inference-service.yaml").read_text())
    document["spec"]["predictor"]["serviceAccountName"] = "models"
    (model,) = steps["train"]["outputs"]["model"]
    name = serve(reach, team, document, model["uri"].replace("minio://", "s3://"))
    with reach.forward(team, f"{name}-predictor", 80) as url:
        assert predict(url, name, expected["inputs"]) == expected["expected"]
    reach.kubectl("-n", team, "delete", f"inferenceservice/{name}", "--timeout=120s")


def test_the_same_again_from_the_notebook_skips_all_steps(notebook: Do, trained: dict[str, Any]):
    again = notebook("run", pipeline="wine", arguments={"least": 0.8, "name": "wine"})
    assert again["state"] == "SUCCEEDED"
    assert set(again["executors"]) == {"SKIPPED"}


# The administrator's actions, and what does not go as it should ---------------------------------


def test_a_terminated_run_ends_at_once(stack: jubilant.Juju, reach: Reach, do: Do, team: str):
    run = do(team, "start", pipeline="chain", arguments={"seconds": 600})
    wait_for_step(reach, team, run)
    stack.run("kfp-api/0", "terminate", {"run-id": run})
    found = do(team, "ended", id=run, seconds=60)
    assert found["state"] in ("FAILED", "CANCELED")
    wait_for(lambda: pods(reach, team, run) == [])


def test_a_failed_run_is_retried_from_what_failed(
    stack: jubilant.Juju, reach: Reach, do: Do, team: str, begun: dict[str, str]
):
    failed = do(team, "ended", id=begun["late"])
    assert (failed["state"], failed["tasks"]["fail-without"]) == ("FAILED", "FAILED")
    assert "there is no MAY_END" in said(stack, reach, team, failed["id"])
    default = {
        "apiVersion": "kubeflow.org/v1alpha1",
        "kind": "PodDefault",
        "metadata": {"name": "may-end", "namespace": team},
        "spec": {"selector": STEPS, "env": [{"name": "MAY_END", "value": "yes"}]},
    }
    reach.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(default))
    stack.run("kfp-api/0", "retry", {"run-id": failed["id"]})
    found = do(team, "ended", id=failed["id"])
    assert found["state"] == "SUCCEEDED", found
    assert found["began"]["numbers"] == failed["began"]["numbers"]


def test_an_archived_run_is_put_away(
    stack: jubilant.Juju, do: Do, team: str, first: dict[str, Any]
):
    stack.run("kfp-api/0", "archive", {"run-id": first["id"]})
    assert do(team, "look", id=first["id"])["storage_state"] == "ARCHIVED"


def test_an_image_that_cannot_be_pulled_ends_the_run_with_the_reason(
    stack: jubilant.Juju, reach: Reach, do: Do, team: str
):
    stack.config("argo-controller", {"workflow-deadline": 40})
    settle(stack)
    try:
        run = do(team, "start", pipeline="unpullable", arguments={})
        found = do(team, "ended", id=run, seconds=150)
    finally:
        stack.config("argo-controller", reset="workflow-deadline")
        settle(stack)
    assert found["state"] == "FAILED"
    why = reach.kubectl("-n", team, "get", "workflows", f"-lpipeline/runid={run}", "-o", "json")
    # upstream's server says nothing; Argo's reason is that of the deadline
    assert "no-such-image" in found["error"] or "exceeded its deadline" in why


def test_a_schedule_starts_runs_until_it_is_off(do: Do, team: str):
    found = do(team, "recurring", seconds=20)
    assert found == {"started": True, "status": "DISABLED"}


def kill(stack: jubilant.Juju, reach: Reach, *applications: str) -> None:
    """Kills their pods, without any time to end well."""
    pods = [f"pod/{name}-0" for name in applications]
    reach.kubectl("-n", namespace_of(stack), "delete", *pods, "--grace-period=0", "--force")


def test_a_run_outlives_all_that_it_needs(stack: jubilant.Juju, reach: Reach, do: Do, team: str):
    """Each is killed while a step works and is back before the step ends.

    Upstream's launcher does not try again when a server is away at a step's end.
    """
    run = do(team, "start", pipeline="chain", arguments={"seconds": 20})
    steps: list[str] = []
    for names in (["argo-controller", "kfp-api"], ["mariadb"], ["object-store"], ["mlmd"]):
        steps.append(wait_for_step(reach, team, run, *steps))
        kill(stack, reach, *names)
    found = do(team, "ended", id=run, seconds=400)
    assert found["state"] == "SUCCEEDED", found
    assert {found["tasks"][each] for each in ("wait", "wait-2", "wait-5")} == {"SUCCEEDED"}
    settle(stack)


def test_a_tenant_s_key_that_changes_in_the_middle_is_used_from_the_next_step_on(
    stack: jubilant.Juju, reach: Reach, do: Do, team: str
):
    """The step that runs meanwhile has the old key, so it may fail to store what it made."""
    run = do(team, "start", pipeline="pair", arguments={"seconds": 11})
    wait_for_step(reach, team, run)
    stack.run("object-store/leader", "rotate-keys", {"tenant": team})
    found = do(team, "ended", id=run, seconds=300)
    assert found["state"] in ("SUCCEEDED", "FAILED")
    if found["state"] == "FAILED":  # Argo may have stored no log of that step, with the old key
        why = reach.kubectl(
            "-n", team, "get", "workflows", f"-lpipeline/runid={run}", "-o", "json"
        )
        assert re.search(
            "403|denied|SignatureDoesNotMatch|does not match the signature|exit code 1", why,
            re.IGNORECASE,
        ), why  # fmt: skip
    again = do(team, "run", pipeline="pair", arguments={"seconds": 1})
    assert again["state"] == "SUCCEEDED", again


def sql(stack: jubilant.Juju, reach: Reach, text: str) -> str:
    """What MariaDB answers its administrator, one line for each row."""
    return reach.kubectl(
        "-n", namespace_of(stack), "exec", "-i", "mariadb-0", "-c", "mariadb", "--",
        "mariadb", "--socket=/var/lib/mysql/mysqld.sock", "--skip-column-names", stdin=text,
    )  # fmt: skip


@contextmanager
def full(stack: jubilant.Juju, reach: Reach, *databases: str) -> Iterator[None]:
    """New rows get the error that MariaDB gives when its volume is full: ER_RECORD_FILE_FULL."""
    found = sql(
        stack, reach,
        "SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema IN "
        f"({', '.join(map(repr, databases))}) AND table_type = 'BASE TABLE'",
    )  # fmt: skip
    tables = [line.split("\t") for line in found.splitlines()]
    assert {each[0] for each in tables} == set(databases)
    sql(
        stack, reach,
        "".join(
            f"CREATE TRIGGER {schema}.full_{name} BEFORE INSERT ON {schema}.`{name}` FOR EACH ROW "
            "SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1114, "
            f"MESSAGE_TEXT = 'The table {name} is full';\n"
            for schema, name in tables
        ),
    )  # fmt: skip
    try:
        yield
    finally:
        drop = "".join(f"DROP TRIGGER {schema}.full_{name};\n" for schema, name in tables)
        sql(stack, reach, drop)


def test_a_database_that_is_full_is_said_and_ends_runs_until_it_has_room(
    stack: jubilant.Juju, reach: Reach, do: Do, team: str
):
    run = do(team, "start", pipeline="pair", arguments={"seconds": 8})
    wait_for_step(reach, team, run)
    with full(stack, reach, "mlpipeline", "metadb"):
        text = do(team, "not_started", pipeline="sums", arguments={"count": 7})
        assert re.search("The table .* is full", text), text
        found = do(team, "ended", id=run, seconds=300)
        assert found["state"] == "FAILED", found
    again = do(team, "run", pipeline="sums", arguments={"count": 11})
    assert again["state"] == "SUCCEEDED", again


def test_purged_runs_go_with_their_artifacts(
    stack: jubilant.Juju, reach: Reach, do: Do, team: str, first: dict[str, Any]
):
    """Last: the cache of steps goes, too."""
    old = {"namespace": team, "state": "SUCCEEDED", "older-than-days": 0}
    before = objects(stack, reach, team)
    assert any(first["id"] in each for each in before)
    planned = stack.run("kfp-api/0", "purge", old).results
    assert first["id"] in planned["would-delete"]
    assert objects(stack, reach, team) == before
    done = stack.run("kfp-api/0", "purge", {**old, "confirm": True}).results
    assert done["deleted"] == planned["would-delete"]
    assert not any(first["id"] in each for each in objects(stack, reach, team))
    failed = {"namespace": team, "state": "FAILED", "older-than-days": 0}
    assert stack.run("kfp-api/0", "purge", failed).results["count"] != "0"
