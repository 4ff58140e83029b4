"""The stand-in of the pipelines' API server: whom it lets do what, and what becomes of a run.

Its database is SQLite here, which the image's driver of MySQL is replaced by.
"""

from __future__ import annotations

import importlib
import json
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"
ANN, BOB, AGENT = ({"kubeflow-userid": name} for name in ("ann", "bob", "agent"))
SETTINGS = {
    "DBCONFIG_MYSQLCONFIG_HOST": "db", "DBCONFIG_MYSQLCONFIG_PORT": "3306",
    "DBCONFIG_MYSQLCONFIG_USER": "u", "DBCONFIG_MYSQLCONFIG_DBNAME": "d",
    "OBJECTSTORECONFIG_BUCKETNAME": "bucket", "POD_NAMESPACE": "mlops",
    "ML_PIPELINE_SERVICE_NAME": "kfp-api", "V2_DRIVER_IMAGE": "driver:1",
    "V2_LAUNCHER_IMAGE": "launcher:1", "KUBEFLOW_USERID_HEADER": "kubeflow-userid",
    "KUBEFLOW_USERID_PREFIX": "",
}  # fmt: skip
STEP = {"componentRef": {"name": "step"}, "taskInfo": {"name": "step"}, "inputs": {}}
PIPELINE = {
    "schemaVersion": "2.1.0",
    "pipelineInfo": {"name": "train"},
    "deploymentSpec": {
        "executors": {"exec-step": {"container": {"image": "python:3.11", "command": ["run"]}}}
    },
    "components": {"step": {"executorLabel": "exec-step"}},
    "root": {
        "dag": {"tasks": {"step": STEP}},
        "inputDefinitions": {
            "parameters": {"n": {"parameterType": "NUMBER_INTEGER", "defaultValue": 5.0}}
        },
    },
}


class Cursor(sqlite3.Cursor):
    """MySQL's words, in SQLite's."""

    def __enter__(self) -> Cursor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def execute(self, statement: str, values: Any = ()) -> sqlite3.Cursor:
        statement = re.sub(r", KEY \([^)]*\)", "", statement)
        for word, other in (
            ("%s", "?"),
            ("UNIQUE KEY", "UNIQUE"),
            (" FOR UPDATE", ""),
            (" CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", ""),
            ("UTC_TIMESTAMP(6)", "strftime('%Y-%m-%d %H:%M:%f')"),
        ):
            statement = statement.replace(word, other)
        return super().execute(statement, tuple(values))


class Connection(sqlite3.Connection):
    """A connection whose cursors speak so."""

    def cursor(self, *_: Any, **__: Any) -> Any:
        return super().cursor(Cursor)


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The script; what serves it on the network is not needed."""
    opened: list[sqlite3.Connection] = []

    def connect(**_: Any) -> sqlite3.Connection:
        opened.append(sqlite3.connect(":memory:", factory=Connection))
        return opened[-1]

    database = ModuleType("pymysql")
    for name in ("Error", "OperationalError", "InterfaceError", "IntegrityError"):
        setattr(database, name, getattr(sqlite3, name))
    vars(database)["connect"] = connect
    monkeypatch.setitem(sys.modules, "pymysql", database)
    for name in ("flask", "hypercorn", "hypercorn.asyncio", "hypercorn.config"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    vars(sys.modules["hypercorn.asyncio"])["serve"] = None
    vars(sys.modules["hypercorn.config"])["Config"] = None
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.delitem(sys.modules, "kfp_api_server", raising=False)
    yield importlib.import_module("kfp_api_server")
    sys.modules.pop("kfp_api_server", None)
    for each in opened:
        each.close()


def merged(value: Any, change: Any) -> Any:
    """A value with a JSON merge patch in it."""
    if not isinstance(change, dict):
        return change
    old = value if isinstance(value, dict) else {}
    return {**old, **{key: merged(old.get(key), each) for key, each in change.items()}}


class Cluster:
    """What the server asks of Kubernetes.

    Attributes:
        rights: who may do all in a namespace.
        tokens: whose token, for which audience.
        objects: what was made, by its path.
        refusal: the error with which new Workflows are refused.
    """

    def __init__(self) -> None:
        self.rights = {("ann", "team"), ("bob", "other"), ("agent", "")}
        self.tokens: dict[str, tuple[str, str]] = {}
        self.objects: dict[str, Any] = {}
        self.refusal: Exception | None = None

    def call(self, method: str, path: str, body: Any = None) -> Any:
        if path.endswith("tokenreviews"):
            user, audience = self.tokens.get(body["spec"]["token"], ("", ""))
            known = audience in body["spec"]["audiences"]
            found = {"authenticated": known, "user": {"username": user}, "audiences": [audience]}
            return {"status": found}
        if path.endswith("subjectaccessreviews"):
            spec = body["spec"]
            namespace = spec["resourceAttributes"].get("namespace", "")
            return {"status": {"allowed": (spec["user"], namespace) in self.rights}}
        if self.refusal:
            raise self.refusal
        metadata = body["metadata"]
        name = metadata.get("name") or f"{metadata['generateName']}x"
        made = {**body, "metadata": {**metadata, "name": name, "uid": f"uid-{name}"}}
        self.objects[f"{path}/{name}"] = made
        return made

    def merge(self, path: str, change: Any) -> None:
        self.objects[path] = merged(self.objects[path], change)

    def delete(self, path: str) -> None:
        self.objects.pop(path, None)

    def workflows(self) -> list[Any]:
        """All there are."""
        return [each for path, each in self.objects.items() if "/workflows/" in path]


class Bucket:
    """What the server keeps packages in."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], bytes] = {}

    def put(self, bucket: str, key: str, content: bytes) -> None:
        self._kept[bucket, key] = content

    def get(self, bucket: str, key: str) -> bytes:
        return self._kept[bucket, key]

    def delete(self, bucket: str, key: str) -> None:
        del self._kept[bucket, key]


@pytest.fixture
def cluster() -> Cluster:
    """Kubernetes, in which Ann has a namespace `team` and Bob `other`."""
    return Cluster()


@pytest.fixture
def server(module: ModuleType, cluster: Cluster) -> Any:
    """The server."""
    return module.Server(SETTINGS, module.Objects(SETTINGS), Bucket(), cluster)


def experiment(server: Any, user: dict[str, str] = ANN, namespace: str = "team") -> str:
    body = {"display_name": "e", "namespace": namespace}
    return server.create_experiment(user, body)["experiment_id"]


@pytest.fixture
def mine(server: Any) -> str:
    """Ann's experiment."""
    return experiment(server)


def start(server: Any, experiment_id: str, user: Any = ANN, **more: Any) -> dict[str, Any]:
    body = {"experiment_id": experiment_id, "pipeline_spec": PIPELINE, **more}
    return server.create_run(user, body, {})


def report(server: Any, cluster: Cluster, phase: str, **status: Any) -> None:
    """Has the persistence agent tell how the newest Workflow does."""
    workflow = {**cluster.workflows()[-1], "status": {"phase": phase, **status}}
    server.report_workflow(AGENT, json.dumps(workflow))


# Who may ----------------------------------------------------------------------------------------


def test_who_names_nobody_is_refused(module: ModuleType, server: Any):
    with pytest.raises(module.CallError, match="identity is empty") as refused:
        server.list_runs({}, {"namespace": "team"})
    assert refused.value.status == 401


def test_a_token_is_good_for_the_pipelines_audience_only(
    module: ModuleType, server: Any, cluster: Cluster
):
    cluster.tokens = {"right": ("ann", "pipelines.kubeflow.org"), "wrong": ("ann", "elsewhere")}
    found = server.list_runs({"Authorization": "Bearer right"}, {"namespace": "team"})
    assert found["runs"] == []
    with pytest.raises(module.CallError, match="identity is empty"):
        server.list_runs({"Authorization": "Bearer wrong"}, {"namespace": "team"})


CALLS: dict[str, Callable[[Any, str, str], Any]] = {
    "list runs": lambda s, _, __: s.list_runs(BOB, {"namespace": "team"}),
    "list runs of an experiment": lambda s, e, _: s.list_runs(BOB, {"experiment_id": e}),
    "get run": lambda s, _, run: s.run(BOB, run),
    "terminate run": lambda s, _, run: s.do_run(BOB, run, "terminate"),
    "retry run": lambda s, _, run: s.do_run(BOB, run, "retry"),
    "archive run": lambda s, _, run: s.do_run(BOB, run, "archive"),
    "delete run": lambda s, _, run: s.delete_run(BOB, run),
    "create run": lambda s, e, _: start(s, e, BOB),
    "get experiment": lambda s, e, _: s.experiment(BOB, e),
    "archive experiment": lambda s, e, _: s.do_experiment(BOB, e, "archive"),
    "delete experiment": lambda s, e, _: s.delete_experiment(BOB, e),
    "create experiment": lambda s, _, __: experiment(s, BOB),
    "create schedule": lambda s, e, _: s.create_recurring_run(BOB, {"experiment_id": e}),
    "list schedules": lambda s, _, __: s.list_recurring_runs(BOB, {"namespace": "team"}),
    "list pipelines": lambda s, _, __: s.list_pipelines(BOB, {"namespace": "team"}),
    "report a workflow": lambda s, _, __: s.report_workflow(BOB, "{}"),
    "what a driver asks": lambda s, _, run: s.known(BOB, run),
    "what a launcher says": lambda s, _, run: s.report_task(BOB, run, {"path": "root/step"}),
}


@pytest.mark.parametrize("call", CALLS)
def test_another_user_is_refused_and_nothing_changes(
    module: ModuleType, server: Any, cluster: Cluster, mine: str, call: str
):
    run = start(server, mine)["run_id"]
    before = (server.run(ANN, run), server.experiment(ANN, mine), len(cluster.objects))
    with pytest.raises(module.CallError, match="User 'bob' is not authorized") as refused:
        CALLS[call](server, mine, run)
    assert refused.value.status == 403
    assert (server.run(ANN, run), server.experiment(ANN, mine), len(cluster.objects)) == before


@pytest.mark.parametrize("kind", ["runs", "experiments", "recurring_runs"])
def test_a_list_of_all_namespaces_is_refused(module: ModuleType, server: Any, kind: str):
    with pytest.raises(module.CallError, match="needs a namespace"):
        getattr(server, f"list_{kind}")(ANN, {})


# Runs -------------------------------------------------------------------------------------------


def test_a_run_becomes_a_workflow_in_the_experiment_s_namespace(
    server: Any, cluster: Cluster, mine: str
):
    run = start(server, mine, service_account="default-editor")
    (workflow,) = cluster.workflows()
    assert workflow["metadata"]["namespace"] == "team"
    assert workflow["metadata"]["labels"]["pipeline/runid"] == run["run_id"]
    assert workflow["spec"]["serviceAccountName"] == "default-editor"
    assert (run["state"], run["runtime_config"]["parameters"]) == ("PENDING", {"n": 5})
    assert [each["run_id"] for each in server.list_runs(ANN, {"namespace": "team"})["runs"]] == [
        run["run_id"]
    ]


def test_a_wrong_parameter_starts_nothing(
    module: ModuleType, server: Any, cluster: Cluster, mine: str
):
    with pytest.raises(module.PipelineError, match="parameter n has to be of type"):
        start(server, mine, runtime_config={"parameters": {"n": "many"}})
    assert cluster.workflows() == []
    assert server.list_runs(ANN, {"namespace": "team"})["runs"] == []


def test_a_workflow_that_kubernetes_refuses_leaves_no_run(
    module: ModuleType, server: Any, cluster: Cluster, mine: str
):
    cluster.refusal = module.ApiError(403, "exceeded quota")
    with pytest.raises(module.CallError, match="exceeded quota"):
        start(server, mine)
    assert server.list_runs(ANN, {"namespace": "team"})["runs"] == []


def test_a_run_is_what_its_workflow_is_said_to_be(server: Any, cluster: Cluster, mine: str):
    run = start(server, mine)["run_id"]
    for phase in ("Running", "Succeeded", "Running"):  # a late report changes nothing
        report(server, cluster, phase)
    found = server.run(ANN, run)
    assert found["state"] == "SUCCEEDED"
    assert [each["state"] for each in found["state_history"]] == [
        "PENDING", "RUNNING", "SUCCEEDED",
    ]  # fmt: skip
    (workflow,) = cluster.workflows()
    assert workflow["metadata"]["labels"]["pipeline/persistedFinalState"] == "true"


def test_a_workflow_of_another_tenant_with_the_run_s_label_changes_nothing(
    server: Any, cluster: Cluster, mine: str
):
    run = start(server, mine)["run_id"]
    (workflow,) = cluster.workflows()
    forged = {
        "metadata": {**workflow["metadata"], "namespace": "other"},
        "status": {"phase": "Succeeded"},
    }
    server.report_workflow(AGENT, json.dumps(forged))
    assert server.run(ANN, run)["state"] == "PENDING"


@pytest.mark.parametrize("text", ["no JSON", "[]", "{}", '{"metadata": {"name": "w"}}'])
def test_a_report_of_nothing_is_refused(module: ModuleType, server: Any, text: str):
    with pytest.raises(module.CallError) as refused:
        server.report_workflow(AGENT, text)
    assert refused.value.status == 400


def test_a_failed_run_says_why_and_is_retried_from_what_failed(
    module: ModuleType, server: Any, cluster: Cluster, mine: str
):
    run = start(server, mine)["run_id"]
    server.report_task(ANN, run, {"path": "root/first", "state": "SUCCEEDED", "outputs": {}})
    server.report_task(ANN, run, {"path": "root/step", "state": "FAILED", "error": "no data"})
    with pytest.raises(module.CallError, match="only a failed one is retried"):
        server.do_run(ANN, run, "retry")
    report(server, cluster, "Failed")
    assert server.run(ANN, run)["error"]["message"] == "no data"
    (old,) = cluster.workflows()
    server.do_run(ANN, run, "retry")
    (new,) = cluster.workflows()
    assert new["metadata"]["name"] != old["metadata"]["name"]
    found = server.run(ANN, run)
    assert (found["state"], "error" in found) == ("RUNNING", False)
    top, *details = found["run_details"]["task_details"]
    assert top["child_tasks"][0]["pod_name"].startswith(f"{new['metadata']['name']}-")
    assert [each["display_name"] for each in details] == ["first"]


def test_a_step_from_the_cache_has_an_executor_that_did_not_run(server: Any, mine: str):
    run = start(server, mine)["run_id"]
    server.report_task(ANN, run, {"path": "root/first", "state": "CACHED", "outputs": {}})
    _, *details = server.run(ANN, run)["run_details"]["task_details"]
    states = {each["display_name"]: each["state"] for each in details}
    assert states == {"first": "SUCCEEDED", "executor": "SKIPPED"}


def test_a_run_is_terminated_once_and_not_after_its_end(
    module: ModuleType, server: Any, cluster: Cluster, mine: str
):
    run = start(server, mine)["run_id"]
    server.do_run(ANN, run, "terminate")
    (workflow,) = cluster.workflows()
    assert workflow["spec"]["shutdown"] == "Terminate"
    report(server, cluster, "Running")
    assert server.run(ANN, run)["state"] == "CANCELING"
    report(server, cluster, "Failed")
    with pytest.raises(module.CallError, match="has ended"):
        server.do_run(ANN, run, "terminate")


def test_a_deleted_run_takes_its_workflow_and_steps_along(
    module: ModuleType, server: Any, cluster: Cluster, mine: str
):
    run = start(server, mine)["run_id"]
    server.report_task(ANN, run, {"path": "root/step", "state": "SUCCEEDED"})
    server.delete_run(ANN, run)
    assert cluster.workflows() == []
    with pytest.raises(module.CallError, match="not found") as gone:
        server.run(ANN, run)
    assert gone.value.status == 404


def test_a_step_is_taken_from_the_cache_of_its_own_namespace_only(server: Any, mine: str):
    done = {"path": "root/step", "state": "SUCCEEDED", "fingerprint": "f", "outputs": {"a": 1}}
    first, second = (start(server, mine)["run_id"] for _ in range(2))
    foreign = start(server, experiment(server, BOB, "other"), BOB)["run_id"]
    server.report_task(ANN, first, done)
    assert server.cached(ANN, second, "f") == {"outputs": {"a": 1}}
    assert server.cached(BOB, foreign, "f") == {}


def test_a_schedule_s_run_is_of_its_own_namespace(
    module: ModuleType, server: Any, cluster: Cluster, mine: str
):
    trigger = {"periodic_schedule": {"interval_second": "60"}}
    body = {"experiment_id": mine, "pipeline_spec": PIPELINE, "trigger": trigger}
    made = server.create_recurring_run(ANN, body)["recurring_run_id"]
    run = start(server, mine, pipeline_spec=None, recurring_run_id=made)
    assert run["recurring_run_id"] == made
    foreign = experiment(server, BOB, "other")
    with pytest.raises(module.CallError, match="not found"):
        start(server, foreign, BOB, pipeline_spec=None, recurring_run_id=made)
    server.do_recurring_run(ANN, made, "disable")
    assert server.recurring_run(ANN, made)["status"] == "DISABLED"
    (schedule,) = [each for path, each in cluster.objects.items() if "scheduled" in path]
    assert schedule["spec"]["enabled"] is False


# Lists and packages -----------------------------------------------------------------------------


def test_a_list_comes_in_pages(server: Any, mine: str):
    made = {start(server, mine, display_name=f"run-{n}")["run_id"] for n in range(3)}
    asked = {"namespace": "team", "page_size": "2", "sort_by": "name"}
    first = server.list_runs(ANN, asked)
    rest = server.list_runs(ANN, {**asked, "page_token": first["next_page_token"]})
    names = [each["display_name"] for each in (*first["runs"], *rest["runs"])]
    assert names == ["run-0", "run-1", "run-2"]
    assert {each["run_id"] for each in (*first["runs"], *rest["runs"])} == made
    assert "next_page_token" not in rest


@pytest.mark.parametrize(
    "asked", [{"filter": "{"}, {"page_size": "x"}, {"page_token": "!"}, {"filter": "[]"}]
)
def test_a_malformed_list_is_refused(module: ModuleType, server: Any, asked: dict[str, str]):
    with pytest.raises(module.CallError, match="not valid") as refused:
        server.list_runs(ANN, {"namespace": "team", **asked})
    assert refused.value.status == 400


def test_an_uploaded_package_is_run_by_its_name(server: Any, mine: str):
    content = json.dumps(PIPELINE).encode()
    made = server.upload_pipeline(ANN, {"name": "p", "namespace": "team"}, content, "p.yaml")
    run = start(
        server, mine, pipeline_spec=None,
        pipeline_version_reference={"pipeline_id": made["pipeline_id"]},
    )  # fmt: skip
    versions = server.list_versions(ANN, made["pipeline_id"], {})["pipeline_versions"]
    reference = run["pipeline_version_reference"]
    assert reference["pipeline_version_id"] == versions[0]["pipeline_version_id"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"kind: Something", "the package is no pipeline specification"),
        (b"\xff\xfe", "the package is no pipeline specification"),
        (b"a: [", "the package is no YAML: "),
        (b"", "the package is no pipeline specification"),
    ],
)
def test_a_package_that_is_no_pipeline_is_not_kept(
    module: ModuleType, server: Any, content: bytes, reason: str
):
    with pytest.raises(module.PipelineError, match=reason):
        server.upload_pipeline(ANN, {"name": "p", "namespace": "team"}, content, "p.yaml")
    assert server.list_pipelines(ANN, {"namespace": "team"})["pipelines"] == []


def test_a_name_is_taken_once_in_a_namespace(module: ModuleType, server: Any, mine: str):
    with pytest.raises(module.CallError, match="is there already") as taken:
        experiment(server)
    assert taken.value.status == 409
    assert experiment(server, BOB, "other")
