"""What the stand-ins of the pipelines make of a compiled pipeline and of a step of its run."""

from __future__ import annotations

import datetime
import importlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from localjuju import images

SCRIPTS = Path(images.__file__).parent / "scripts"
LOOP = "root/for-loop-1"
SETTINGS = {
    "driver": "driver:1",
    "launcher": "launcher:1",
    "address": "a",
    "port": 1,
    "metadata": "mlmd:8080",
    "cache": True,
}


def load(monkeypatch: pytest.MonkeyPatch, name: str) -> ModuleType:
    """A script, found as in its image: beside the modules that it needs."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module(name)


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """What makes a Workflow of a pipeline."""
    return load(monkeypatch, "kfp_compiler")


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The driver."""
    return load(monkeypatch, "kfp_driver")


@pytest.fixture
def launcher(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The launcher."""
    return load(monkeypatch, "kfp_launcher")


def inputs(**kinds: str) -> dict[str, Any]:
    return {"parameters": {name: {"parameterType": kind} for name, kind in kinds.items()}}


def constant(value: Any) -> dict[str, Any]:
    return {"runtimeValue": {"constant": value}}


def from_task(task: str, key: str = "Output") -> dict[str, Any]:
    return {"taskOutputParameter": {"producerTask": task, "outputParameterKey": key}}


def from_group(key: str, **more: Any) -> dict[str, Any]:
    return {"componentInputParameter": key, **more}


def task(component: str, **more: Any) -> dict[str, Any]:
    given = more.pop("given", {})
    found = {"componentRef": {"name": component}, "taskInfo": {"name": component}, **more}
    return {**found, "inputs": {"parameters": given, **found.get("inputs", {})}}


def group(tasks: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"dag": {"tasks": tasks, **more.pop("dag", {})}, **more}


def pipeline(tasks: dict[str, Any], parameters: Any = None, **components: Any) -> dict[str, Any]:
    """A pipeline of these tasks; `step` is a component that runs a container."""
    step = {
        "executorLabel": "exec-step",
        "inputDefinitions": inputs(x="NUMBER_INTEGER"),
        "outputDefinitions": {
            **inputs(Output="NUMBER_INTEGER"),
            "artifacts": {"data": {"artifactType": {"schemaTitle": "system.Dataset"}}},
        },
    }
    container = {"image": "python:3.11", "command": ["run"], "args": ["{{$}}"]}
    return {
        "schemaVersion": "2.1.0",
        "pipelineInfo": {"name": "train"},
        "deploymentSpec": {"executors": {"exec-step": {"container": container}}},
        "components": {"step": step, **components},
        "root": group(tasks, inputDefinitions={"parameters": parameters or {}}),
    }


LOOPED = {
    "for-loop-1": task(
        "body",
        given={"items": from_group("items")},
        parameterIterator={"itemInput": "item", "items": {"inputParameter": "items"}},
    ),
    "after": task("step", given={"x": constant(1.0)}, dependentTasks=["for-loop-1"]),
}


def looped() -> dict[str, Any]:
    """A pipeline with a loop over its parameter, whose body takes a part of each item."""
    part = from_group("item", parameterExpressionSelector='parseJson(string_value)["a"]')
    outputs = {"parameters": {"all": {"valueFromParameter": {
        "producerSubtask": "work", "outputParameterKey": "Output"}}}}  # fmt: skip
    body = group({"work": task("step", given={"x": part})}, dag={"outputs": outputs})
    body["inputDefinitions"] = inputs(items="LIST", item="STRUCT")
    return pipeline(LOOPED, {"items": {"parameterType": "LIST"}}, body=body)


def branched() -> dict[str, Any]:
    """A pipeline of which one branch runs, after a first step."""
    value = {"value": from_task("first")}
    small = "int(inputs.parameter_values['value']) < 5"
    branch = group(
        {"work": task("step", given={"x": from_group("value")})},
        inputDefinitions=inputs(value="NUMBER_INTEGER"),
    )
    return pipeline(
        {
            "first": task("step", given={"x": constant(2.0)}),
            "small": task("branch", given=value, triggerPolicy={"condition": small}),
            "large": task("branch", given=value, triggerPolicy={"condition": f"!({small})"}),
        },
        branch=branch,
    )


def templates(compiler: ModuleType, spec: dict[str, Any], **platforms: Any) -> dict[str, Any]:
    made = compiler.Compiler(spec, platforms, SETTINGS, "mine").templates()
    return {each["name"]: each for each in made}


def tasks_of(template: dict[str, Any]) -> dict[str, Any]:
    return {each["name"]: each for each in template["dag"]["tasks"]}


def value_of(found: dict[str, Any], name: str) -> str:
    return {each["name"]: each["value"] for each in found["arguments"]["parameters"]}[name]


# Workflows --------------------------------------------------------------------------------------


def test_each_step_has_a_driver_s_pod_before_its_own(compiler: ModuleType):
    spec = pipeline(
        {
            "first": task("step", given={"x": constant(1.0)}),
            "second": task("step", given={"x": from_task("first")}),
        }
    )
    made = templates(compiler, spec)
    found = tasks_of(made["root"])
    assert found["second-driver"]["depends"] == "first.Succeeded"
    assert found["second"]["depends"] == "second-driver.Succeeded"
    assert value_of(found["second-driver"], "task").endswith("/second")
    patch = value_of(found["second"], "pod-spec-patch")
    assert patch == "{{tasks.second-driver.outputs.parameters.pod-spec-patch}}"
    assert made["system-container-driver"]["container"]["image"] == "driver:1"
    pod = made["system-container-impl"]
    assert pod["initContainers"][0]["image"] == "launcher:1"
    assert pod["podSpecPatch"] == "{{inputs.parameters.pod-spec-patch}}"


def test_a_workflow_is_the_tenant_s_and_names_its_run(compiler: ModuleType):
    run = {
        "run_id": "7", "name": "train-1", "display_name": "mine", "namespace": "team",
        "service_account": "default-editor", "platforms": {},
        "spec": pipeline({"first": task("step", given={"x": constant(1.0)})}),
    }  # fmt: skip
    made = compiler.workflow(run, SETTINGS)
    assert made["metadata"]["labels"] == {"pipeline/runid": "7"}
    assert made["metadata"]["namespace"] == "team"
    assert made["spec"]["serviceAccountName"] == "default-editor"
    assert made["spec"]["podMetadata"]["labels"]["pipeline/runid"] == "7"


def test_a_branch_runs_as_its_driver_says(compiler: ModuleType):
    found = tasks_of(templates(compiler, branched())["root"])
    assert found["small"]["when"] == "{{tasks.small-driver.outputs.parameters.condition}} != false"
    assert found["small-driver"]["depends"] == "first.Succeeded"


def test_a_loop_starts_its_body_for_each_item(compiler: ModuleType):
    made = templates(compiler, looped())
    iteration = tasks_of(made["root-for-loop-1-iterator"])["iteration"]
    assert iteration["withSequence"] == {
        "count": "{{tasks.iteration-driver.outputs.parameters.iteration-count}}"
    }
    assert value_of(iteration, "parent-dag-id").endswith("/{{item}}")


def test_what_runs_in_any_case_is_a_hook_of_what_it_waits_for(compiler: ModuleType):
    last = task(
        "step",
        given={"x": constant(1.0)},
        dependentTasks=["first"],
        triggerPolicy={"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"},
    )
    spec = pipeline({"first": task("step", given={"x": constant(1.0)}), "last": last})
    made = templates(compiler, spec)
    assert set(tasks_of(made["root"])) == {"first-driver", "first"}
    hook = tasks_of(made["root"])["first"]["hooks"]["exit"]["template"]
    assert set(tasks_of(made[hook])) == {"last-driver", "last"}


def test_a_step_that_is_tried_again_has_templates_of_its_own(compiler: ModuleType):
    policy = {"maxRetryCount": 2, "backoffDuration": "5s", "backoffFactor": 2.0}
    tried = task("step", given={"x": constant(1.0)}, retryPolicy=policy)
    spec = pipeline({"one": task("step", given={"x": constant(1.0)}), "two": tried})
    made = templates(compiler, spec)
    found = tasks_of(made["root"])
    assert found["one"]["template"] == "system-container-executor"
    (inner,) = tasks_of(made[found["two"]["template"]]).values()
    assert made[inner["template"]]["retryStrategy"]["limit"] == "2"
    assert made[inner["template"]]["retryStrategy"]["backoff"]["duration"] == "5"
    assert "retryStrategy" not in made["system-container-impl"]


@pytest.mark.parametrize(
    ("spec", "platforms", "part"),
    [
        (pipeline({"a": task("step", artifactIterator={"itemInput": "x"})}), {}, "over artifacts"),
        (
            pipeline({"a": task("step")}),
            {"kubernetes": {"deploymentSpec": {"executors": {"exec-step": {"pvcMount": []}}}}},
            "pvcMount of kfp-kubernetes",
        ),
        (
            pipeline({"a": task("step")}),
            {"kubernetes": {"pipelineConfig": {"workspace": {}}}},
            "workspace of the pipeline's configuration",
        ),
    ],
)
def test_a_part_that_is_not_played_is_refused_by_name(
    compiler: ModuleType, spec: dict[str, Any], platforms: dict[str, Any], part: str
):
    with pytest.raises(compiler.PipelineError, match=f"{part}.*limit of the local engine"):
        templates(compiler, spec, platforms=platforms)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("just text", "no pipeline specification"),
        ("", "no pipeline specification"),
        ("a: 1", "no pipeline specification: no 'pipelineInfo'"),
        ("{kind: Workflow, metadata: {}}", "a pipeline of version 1"),
        ("{schemaVersion: x, deploymentSpec: {executors: {}}, pipelineInfo: {name: ''}, "
         "root: {dag: {tasks: {}}}}", "no name or no tasks"),
    ],
)  # fmt: skip
def test_a_package_that_is_no_pipeline_is_refused(compiler: ModuleType, text: str, why: str):
    with pytest.raises(compiler.PipelineError, match=why):
        compiler.package(list(yaml.safe_load_all(text)))


def test_a_pipeline_that_names_what_it_does_not_have_is_refused(compiler: ModuleType):
    with pytest.raises(compiler.PipelineError, match="component gone is not in the pipeline"):
        templates(compiler, pipeline({"a": task("gone")}))
    spec = pipeline({"a": task("step")})
    spec["deploymentSpec"]["executors"] = {}
    with pytest.raises(compiler.PipelineError, match="executor exec-step is not"):
        templates(compiler, spec)


DECLARED = {
    "n": {"parameterType": "NUMBER_INTEGER", "defaultValue": 5.0},
    "text": {"parameterType": "STRING"},
    "may": {"parameterType": "BOOLEAN", "isOptional": True},
}


def test_a_run_begins_with_given_values_and_defaults(compiler: ModuleType):
    found = compiler.parameters(pipeline({}, DECLARED), {"text": "a"})
    assert found == {"n": 5, "text": "a"}
    assert isinstance(found["n"], int)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, "parameter text has no value"),
        ({"text": 1}, "parameter text has to be of type STRING"),
        ({"text": "a", "n": True}, "parameter n has to be of type NUMBER_INTEGER"),
        ({"text": "a", "other": 1}, "the pipeline has no parameter other"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(
    compiler: ModuleType, given: dict[str, Any], why: str
):
    with pytest.raises(compiler.PipelineError, match=why):
        compiler.parameters(pipeline({}, DECLARED), given)


# Steps ------------------------------------------------------------------------------------------


def seen(driver: ModuleType, spec: dict[str, Any], tasks: Any = None, **parameters: Any) -> Any:
    return driver.Run({"spec": spec, "parameters": parameters, "tasks": tasks or {}})


def ended(state: str = "SUCCEEDED", **parameters: Any) -> dict[str, Any]:
    return {"state": state, "outputs": {"parameters": parameters}, "error": "it broke"}


@pytest.mark.parametrize(("value", "branch"), [(3, "small"), (7, "large")])
def test_one_branch_of_a_condition_runs(driver: ModuleType, value: int, branch: str):
    run = seen(driver, branched(), {"root/first": ended(Output=value)})
    holding = [each for each in ("small", "large") if run.holds(f"root/{each}")]
    assert holding == [branch]
    assert run.parameters(f"root/{branch}/work") == {"x": value}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("inputs.parameter_values['a'] == 'x && !y'", True),
        ("inputs.parameter_values['a'] != 'x && !y'", False),
        ("double(inputs.parameter_values['b']) >= 0.5 && inputs.parameter_values['c'] == true",
         True),
        ("!(inputs.parameter_values['c'] == true) || int(inputs.parameter_values['b']) > 1",
         False),
    ],
)  # fmt: skip
def test_a_condition_is_read_as_the_sdk_writes_it(driver: ModuleType, text: str, holds: bool):
    values = {"a": "x && !y", "b": 0.5, "c": True}
    assert driver.evaluated(text, {"inputs": {"parameter_values": values}}) is holds


@pytest.mark.parametrize("text", ["__import__('os')", "().__class__", "size(1)", "1 +", "a.b"])
def test_a_condition_can_do_nothing_else(driver: ModuleType, text: str):
    with pytest.raises(driver.RefusedError, match="cannot evaluate"):
        driver.evaluated(text, {})


def test_a_turn_of_a_loop_sees_its_item(driver: ModuleType):
    run = seen(driver, looped(), items=[{"a": 4.0}, {"a": 9.0}])
    assert len(run.items(LOOP)) == 2
    assert run.parameters(f"{LOOP}/1/work") == {"x": 9}


def test_what_comes_after_a_loop_gets_a_list(driver: ModuleType):
    done = {f"{LOOP}/{turn}/work": ended(Output=turn * 10) for turn in range(2)}
    run = seen(driver, looped(), done, items=[{"a": 1}, {"a": 2}])
    assert run.output_parameter(LOOP, "all") == [0, 10]


def test_items_that_are_no_list_are_refused(driver: ModuleType):
    run = seen(driver, looped(), items='{"a": 1}')
    with pytest.raises(driver.RefusedError, match="items are no list"):
        run.items(LOOP)


def test_the_end_of_a_group_is_known_to_what_follows_it(driver: ModuleType):
    done = {"root/small/work": ended("FAILED"), "root/smaller": ended()}
    status = seen(driver, branched(), done).final_status("root/small")
    assert (status["state"], status["error"]["message"]) == ("FAILED", "it broke")
    assert seen(driver, branched(), done).final_status("root/large")["state"] == "SUCCEEDED"


def test_a_component_is_told_its_inputs_and_where_its_outputs_go(driver: ModuleType):
    run = seen(driver, pipeline({"first": task("step", given={"x": constant(3.0)})}))
    given = driver.executor_input(run, "root/first", "minio://bucket/place")
    assert given["inputs"]["parameterValues"] == {"x": 3}
    (artifact,) = given["outputs"]["artifacts"]["data"]["artifacts"]
    assert artifact["uri"] == "minio://bucket/place/data"
    assert artifact["type"] == {"schemaTitle": "system.Dataset"}


def test_the_same_step_with_the_same_inputs_has_the_same_fingerprint(driver: ModuleType):
    container = {"image": "i", "command": ["c"]}

    def mark(value: float, place: str, **more: Any) -> str:
        run = seen(driver, pipeline({"first": task("step", given={"x": constant(value)})}))
        given = driver.executor_input(run, "root/first", place)
        return driver.fingerprint("train", {**container, **more}, given)

    assert mark(3.0, "minio://b/1") == mark(3.0, "minio://b/2")
    assert mark(4.0, "minio://b/1") != mark(3.0, "minio://b/1")
    assert mark(3.0, "minio://b/1", image="j") != mark(3.0, "minio://b/1")


def test_a_step_s_pod_has_the_resources_that_it_asks_for(driver: ModuleType):
    resources = {"cpuLimit": 2.0, "resourceMemoryRequest": "1Gi", "memoryRequest": 1.5}
    patch = driver.pod_patch({"image": "i", "resources": resources}, ["c"], [])
    (main,) = json.loads(patch)["containers"]
    assert main["resources"] == {"limits": {"cpu": "2.0"}, "requests": {"memory": "1Gi"}}


# Components -------------------------------------------------------------------------------------


GIVEN = {
    "inputs": {
        "parameterValues": {"x": 3, "name": "a b"},
        "artifacts": {"data": {"artifacts": [{"uri": "minio://b/k", "metadata": {}}]}},
    },
    "outputs": {
        "parameters": {"Output": {"outputFile": "/tmp/out/Output"}},
        "artifacts": {"model": {"artifacts": [{"uri": "s3://b/m", "metadata": {"v": 1}}]}},
        "outputFile": "/tmp/out/all.json",
    },
}


@pytest.mark.parametrize(
    ("word", "becomes"),
    [
        ("plain", "plain"),
        ("--x={{$.inputs.parameters['x']}}", "--x=3"),
        ("{{$.inputs.parameters['name']}}", "a b"),
        ("{{$.inputs.artifacts['data'].path}}", "/minio/b/k"),
        ("{{$.inputs.artifacts['data'].uri}}", "minio://b/k"),
        ("{{$.outputs.artifacts['model'].path}}", "/s3/b/m"),
        ("{{$.outputs.parameters['Output'].output_file}}", "/tmp/out/Output"),
        ("{{$.outputs.output_file}}", "{{$.outputs.output_file}}"),
        ("{{$.pipeline_job_uuid}}", "7"),
    ],
)
def test_a_command_is_given_the_values_that_it_names(
    launcher: ModuleType, word: str, becomes: str
):
    assert launcher.filled(word, GIVEN, {"pipeline_job_uuid": "7"}) == becomes


def test_the_sdk_s_own_executor_is_given_everything(launcher: ModuleType):
    assert json.loads(launcher.filled("{{$}}", GIVEN, {})) == GIVEN


def test_parts_of_a_command_may_be_left_out(launcher: ModuleType):
    there = {"IfPresent": {"InputName": "x", "Then": ["--x", "{{$.inputs.parameters['x']}}"]}}
    gone = {"IfPresent": {"InputName": "z", "Then": ["--z"], "Else": ["--no-z"]}}
    both = {"Concat": ["a=", "{{$.inputs.parameters['x']}}"]}
    command = [json.dumps(each) for each in (there, gone, both)]
    assert launcher.words(["run", *command], GIVEN, {}) == ["run", "--x", "3", "--no-z", "a=3"]


@pytest.mark.parametrize(
    ("content", "kind", "value"),
    [
        ("7", "NUMBER_INTEGER", 7),
        ("0.5", "NUMBER_DOUBLE", 0.5),
        ("True", "BOOLEAN", True),
        ("[1]", "LIST", [1]),
        ("7", "STRING", "7"),
    ],
)
def test_an_output_has_its_type(launcher: ModuleType, content: str, kind: str, value: Any):
    assert launcher.read(content, kind) == value


@pytest.mark.parametrize(
    ("content", "kind"), [("a", "NUMBER_INTEGER"), ("2", "BOOLEAN"), ("{", "STRUCT")]
)
def test_an_output_of_another_type_is_refused(launcher: ModuleType, content: str, kind: str):
    with pytest.raises(launcher.RefusedError, match=f"an output of type {kind} cannot be"):
        launcher.read(content, kind)


def test_outputs_are_read_from_files_and_from_what_the_sdk_writes(
    launcher: ModuleType, tmp_path: Path
):
    given = json.loads(json.dumps(GIVEN).replace("/tmp/out", str(tmp_path)))
    (tmp_path / "Output").write_text("4")
    said = {"artifacts": {"model": {"artifacts": [{"metadata": {"accuracy": 0.9}}]}}}
    (tmp_path / "all.json").write_text(json.dumps(said))
    made = launcher.outputs(given, {"Output": "NUMBER_INTEGER"})
    assert made["parameters"] == {"Output": 4}
    assert made["artifacts"]["model"] == [
        {"uri": "s3://b/m", "metadata": {"v": 1, "accuracy": 0.9}}
    ]


def test_a_component_that_fails_says_why(launcher: ModuleType, capfd: pytest.CaptureFixture[str]):
    script = "import sys; print('first', file=sys.stderr); sys.exit('no data')"
    assert launcher.run([sys.executable, "-c", script]) == (1, "no data")
    assert capfd.readouterr().err == "first\nno data\n"


def test_a_copied_launcher_runs_with_any_python(launcher: ModuleType, tmp_path: Path):
    target = tmp_path / "launch"
    launcher.copy(str(target))
    command = ["/bin/sh", target, "--no-such"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 2
    assert done.stderr == "flag provided but not defined: --no-such\n"


def test_an_image_without_python_is_told_so(launcher: ModuleType, tmp_path: Path):
    target = tmp_path / "launch"
    launcher.copy(str(target))
    text = target.read_text().replace("/usr/bin/python3", "/none").replace(
        "/usr/local/bin/python3", "/none"
    )  # fmt: skip
    target.write_text(text)
    done = subprocess.run(
        ["/bin/sh", str(target)],
        capture_output=True, text=True, check=False, env={"PATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 1
    assert "image has no python3" in done.stderr


@pytest.mark.parametrize("uri", ["file:///etc/passwd", "http://x/y", "minio://b/../../etc"])
def test_an_artifact_is_nowhere_but_in_its_folder(monkeypatch: pytest.MonkeyPatch, uri: str):
    client = load(monkeypatch, "kfp_client")
    with pytest.raises(client.RefusedError, match="only minio, s3, gs"):
        client.local(uri)


# Reports ----------------------------------------------------------------------------------------


@pytest.fixture
def api_server() -> Iterator[tuple[str, list[tuple[str, Any]], dict[str, int]]]:
    """An API server's address, what it was told, and what it answers by path."""
    told: list[tuple[str, Any]] = []
    codes: dict[str, int] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            length = int(self.headers["Content-Length"])
            told.append((self.path, json.loads(self.rfile.read(length))))
            self.send_response(codes.get(self.path, 200))
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}", told, codes
    server.shutdown()
    thread.join()
    server.server_close()


def reported(version: str, **more: Any) -> dict[str, Any]:
    labels = {"pipeline/persistedFinalState": "true"} if more.pop("kept", False) else {}
    metadata = {"uid": "1", "name": "w", "namespace": "team", "labels": labels}
    return {"metadata": {**metadata, "resourceVersion": version}, "status": more}


def test_a_workflow_is_reported_once_for_each_change(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, api_server: Any
):
    address, told, codes = api_server
    (tmp_path / "token").write_text("t")
    server = load(monkeypatch, "kfp_client").Server(address, str(tmp_path / "token"))
    agent = load(monkeypatch, "kfp_persistence").Agent(server, 60)
    now = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.timezone.utc)
    path = "/apis/v2beta1/workflows"
    for version in ("1", "1", "2"):
        agent.report("workflows", path, [reported(version)], now)
    assert [json.loads(body)["metadata"]["resourceVersion"] for _, body in told] == ["1", "2"]
    codes[path] = 500  # it is told again once the server can hear it
    agent.report("workflows", path, [reported("3")], now)
    del codes[path]
    agent.report("workflows", path, [reported("3")], now)
    assert len(told) == 4
    old = reported("4", kept=True, finishedAt="2026-01-01T11:58:00Z")
    agent.report("workflows", path, [old], now)
    assert len(told) == 4


@pytest.mark.parametrize("script", ["kfp_driver", "kfp_launcher", "kfp_persistence"])
def test_a_flag_that_is_not_known_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], script: str
):
    monkeypatch.setattr("sys.argv", [script, "--no-such=1"])
    with pytest.raises(SystemExit, match="2"):
        load(monkeypatch, script).main()
    assert "flag provided but not defined: --no-such" in capsys.readouterr().err
