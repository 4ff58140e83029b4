"""Stand-in for Kubeflow Pipelines' driver 2.16: it decides on a step of a run before its pod.

It finds the step's inputs, evaluates its condition and looks for the same step's earlier result.
What it knows comes from the API server: upstream keeps it in ML Metadata. There it writes what
upstream's does.
"""

import ast
import functools
import hashlib
import json
import operator
import os
import re
import sys
import uuid
from typing import Any

import stand_in
from kfp_client import RefusedError, Server, Tenant, own_namespace
from kfp_compiler import LAUNCHER_FOLDER, component, converted, executor, metadata_flags
from kfp_metadata import CONTAINER, DAG, IMPORTER, Lineage, Store

OUTPUTS = "/tmp/outputs"
OPERATORS = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le,
    ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip
FUNCTIONS = {
    "int": int, "double": float, "string": str, "bool": bool, "parseJson": json.loads,
    "size": len,
}  # fmt: skip
RESOURCE_FIELDS = {
    ("cpuLimit", "resourceCpuLimit"): ("limits", "cpu"),
    ("memoryLimit", "resourceMemoryLimit"): ("limits", "memory"),
    ("cpuRequest", "resourceCpuRequest"): ("requests", "cpu"),
    ("memoryRequest", "resourceMemoryRequest"): ("requests", "memory"),
}
UNDECIDED = {
    "pod-spec-patch": "", "cached-decision": "false", "condition": "true", "iteration-count": "0",
}  # fmt: skip
DONE = ("SUCCEEDED", "CACHED")
UNITS = {"cpu": "", "memory": "G"}


class NoValueError(Exception):
    """An input that may be left out has been."""


# Expressions ------------------------------------------------------------------------------------


def evaluated(text, names):
    """What a condition or a selector gives; both look like Python. Raises RefusedError."""
    pieces = re.split(r"""('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""", text)
    for number in range(0, len(pieces), 2):
        piece = re.sub(r"!(?!=)", " not ", pieces[number])
        piece = piece.replace("&&", " and ").replace("||", " or ")
        piece = re.sub(r"\btrue\b", "True", re.sub(r"\bfalse\b", "False", piece))
        pieces[number] = re.sub(r"\bnull\b", "None", piece)
    try:
        tree = ast.parse(" ".join("".join(pieces).split("\n")).strip(), mode="eval")
        return _value(tree.body, names)
    except (SyntaxError, TypeError, ValueError, KeyError, IndexError) as error:
        raise RefusedError(f"cannot evaluate {text}: {error}") from None


def _value(node, names) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return names[node.id]
    if isinstance(node, ast.Attribute):
        return _value(node.value, names)[node.attr]
    if isinstance(node, ast.Subscript):
        return _value(node.value, names)[_value(node.slice, names)]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        found = _value(node.operand, names)
        return not found if isinstance(node.op, ast.Not) else -found
    if isinstance(node, ast.BoolOp):
        decide = all if isinstance(node.op, ast.And) else any
        return decide(_value(each, names) for each in node.values)
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in OPERATORS:
        left, right = _value(node.left, names), _value(node.comparators[0], names)
        return OPERATORS[type(node.ops[0])](left, right)
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.ops[0], ast.In):
        return _value(node.left, names) in _value(node.comparators[0], names)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) == 1:
        return FUNCTIONS[node.func.id](_value(node.args[0], names))
    raise ValueError(f"{type(node).__name__} is not known to this stand-in")


# Values -----------------------------------------------------------------------------------------


class Run:
    """What a step can see of its run.

    Args:
        known: what the API server says: spec, parameters, tasks (path to record), and the rest.
    """

    def __init__(self, known):
        self._spec, self._tasks = known["spec"], known["tasks"]
        self._given = known["parameters"]

    def component(self, path):
        """The component at a path."""
        found = component(self._spec, "root")
        for key in path.split("/")[1:]:
            if not key.isdigit():
                found = component(self._spec, found["dag"]["tasks"][key]["componentRef"]["name"])
        return found

    def task(self, path):
        """The task at a path."""
        return self.component(parent(path))["dag"]["tasks"][name(path)]

    def parameters(self, path):
        """A step's input parameters."""
        found = {}
        for key, definition in declared(self.component(path), "inputDefinitions", "parameters"):
            try:
                value = self.parameter(path, key)
            except NoValueError:
                continue
            found[key] = converted(value, definition.get("parameterType"))
        return found

    def parameter(self, path, key):
        """An input parameter of the step or group at a path. Raises NoValueError, RefusedError."""
        if path == "root":
            if key in self._given:
                return self._given[key]
            raise NoValueError(key)
        above = parent(path)
        if name(path).isdigit():  # a turn of a loop
            iterator = self.task(above).get("parameterIterator") or {}
            if iterator.get("itemInput") == key:
                return self.items(above)[int(name(path))]
            return self.parameter(above, key)
        inputs = self.task(path).get("inputs") or {}
        source = (inputs.get("parameters") or {}).get(key)
        definition = dict(declared(self.component(path), "inputDefinitions", "parameters"))
        if source is not None:
            try:
                value = self._parameter_from(above, source)
                if value is not None:
                    return value
            except NoValueError:
                pass
        if "defaultValue" in definition.get(key, {}):
            return definition[key]["defaultValue"]
        if definition.get(key, {}).get("isOptional"):
            raise NoValueError(key)
        raise RefusedError(f"{path}: parameter {key} has no value")

    def _parameter_from(self, path, source):
        if "componentInputParameter" in source:
            value = self.parameter(path, source["componentInputParameter"])
        elif "taskOutputParameter" in source:
            wanted = source["taskOutputParameter"]
            value = self.output_parameter(
                f"{path}/{wanted['producerTask']}", wanted["outputParameterKey"]
            )
        elif "taskFinalStatus" in source:
            value = self.final_status(f"{path}/{source['taskFinalStatus']['producerTask']}")
        else:
            value = source["runtimeValue"]["constant"]
            if isinstance(value, str):
                value = self._filled(path, value)
        selector = source.get("parameterExpressionSelector")
        if selector:
            text = value if isinstance(value, str) else json.dumps(value)
            value = evaluated(selector, {"string_value": text})
        return value

    def _filled(self, path, text):
        """A constant with the names of other inputs in it."""

        def replace(match):
            value = self.parameter(path, match[1])
            return value if isinstance(value, str) else json.dumps(value)

        return re.sub(r"\{\{\$\.inputs\.parameters\['([^']+)'\]\}\}", replace, text)

    def items(self, path):
        """What a loop goes over. Raises RefusedError."""
        items = self.task(path)["parameterIterator"]["items"]
        found = items["raw"] if "raw" in items else self.parameter(path, items["inputParameter"])
        found = json.loads(found) if isinstance(found, str) else found
        if not isinstance(found, list):
            raise RefusedError(f"{path}: the loop's items are no list")
        return found

    def output_parameter(self, path, key):
        """An output parameter of a step or a group. Raises NoValueError, RefusedError."""
        found = self.component(path)
        if "dag" not in found:
            return self._of_record(path, "parameters", key)
        if self._is_loop(path):
            turns = range(len(self.items(path)))
            return [self._group_parameter(f"{path}/{each}", found, key) for each in turns]
        return self._group_parameter(path, found, key)

    def _group_parameter(self, path, found, key):
        source = found["dag"]["outputs"]["parameters"][key]
        one_of = source.get("valueFromOneof")
        choices = one_of["parameterSelectors"] if one_of else [source["valueFromParameter"]]
        for each in choices:
            try:
                return self.output_parameter(
                    f"{path}/{each['producerSubtask']}", each["outputParameterKey"]
                )
            except NoValueError:
                continue
        raise NoValueError(key)

    def artifacts(self, path):
        """A step's input artifacts: name to list."""
        found = {}
        for key, definition in declared(self.component(path), "inputDefinitions", "artifacts"):
            try:
                found[key] = self.artifact(path, key)
            except NoValueError:
                if not definition.get("isOptional"):
                    raise RefusedError(f"{path}: artifact {key} is not there") from None
        return found

    def artifact(self, path, key):
        """An input artifact of the step or group at a path, as a list. Raises NoValueError."""
        if path == "root":
            raise NoValueError(key)
        above = parent(path)
        if name(path).isdigit():
            return self.artifact(above, key)
        source = ((self.task(path).get("inputs") or {}).get("artifacts") or {}).get(key)
        if source is None:
            raise NoValueError(key)
        if "componentInputArtifact" in source:
            return self.artifact(above, source["componentInputArtifact"])
        wanted = source["taskOutputArtifact"]
        return self.output_artifact(
            f"{above}/{wanted['producerTask']}", wanted["outputArtifactKey"]
        )

    def output_artifact(self, path, key):
        """An output artifact of a step or a group, as a list. Raises NoValueError."""
        found = self.component(path)
        if "dag" not in found:
            return self._of_record(path, "artifacts", key)
        turns = [path]
        if self._is_loop(path):
            turns = [f"{path}/{each}" for each in range(len(self.items(path)))]
        return [each for turn in turns for each in self._group_artifact(turn, found, key)]

    def _group_artifact(self, path, found, key):
        for each in found["dag"]["outputs"]["artifacts"][key]["artifactSelectors"]:
            try:
                return self.output_artifact(
                    f"{path}/{each['producerSubtask']}", each["outputArtifactKey"]
                )
            except NoValueError:
                continue
        raise NoValueError(key)

    def _is_loop(self, path):
        return path != "root" and not name(path).isdigit() and bool(
            self.task(path).get("parameterIterator")
        )  # fmt: skip

    def _of_record(self, path, kind, key):
        outputs = (self._tasks.get(path) or {}).get("outputs") or {}
        if key not in (outputs.get(kind) or {}):
            raise NoValueError(key)
        return outputs[kind][key]

    def final_status(self, path):
        """How a task has ended, for one that runs in any case."""
        below = {
            each: task
            for each, task in self._tasks.items()
            if each == path or each.startswith(f"{path}/")
        }
        failed = sorted(each for each, task in below.items() if task["state"] == "FAILED")
        status = {"state": "FAILED" if failed else "SUCCEEDED", "pipelineTaskName": name(path)}
        if failed:
            status["error"] = {"message": below[failed[0]].get("error", ""), "code": 9}
        return status

    def holds(self, path):
        """Whether the condition of a step or a group is true."""
        condition = (self.task(path).get("triggerPolicy") or {}).get("condition")
        if not condition:
            return True
        inputs = (self.task(path).get("inputs") or {}).get("parameters") or {}
        values = {}
        for key in inputs:
            try:
                values[key] = self.parameter(path, key)
            except NoValueError:
                values[key] = None
        return bool(evaluated(condition, {"inputs": {"parameter_values": values}}))


def declared(found, kind, what):
    """What a component says of its inputs or outputs: pairs of name and definition."""
    return list(((found.get(kind) or {}).get(what) or {}).items())


def parent(path):
    """The path above."""
    return path.rpartition("/")[0]


def name(path):
    """The last part of a path."""
    return path.rpartition("/")[2]


# Decisions --------------------------------------------------------------------------------------


def executor_input(run, path, root):
    """What a component is given: its inputs, and where its outputs go."""
    found = run.component(path)
    outputs = {
        "parameters": {
            key: {"outputFile": f"/tmp/kfp/outputs/{key}"}
            for key, _ in declared(found, "outputDefinitions", "parameters")
        },
        "artifacts": {
            key: {
                "artifacts": [
                    {
                        "name": key,
                        "type": definition.get("artifactType") or {},
                        "uri": f"{root}/{key}",
                        "metadata": definition.get("metadata") or {},
                    }
                ]
            }
            for key, definition in declared(found, "outputDefinitions", "artifacts")
        },
        "outputFile": "/tmp/kfp_outputs/output_metadata.json",
    }
    artifacts = {key: {"artifacts": value} for key, value in run.artifacts(path).items()}
    inputs = {"parameterValues": run.parameters(path), "artifacts": artifacts}
    return {"inputs": inputs, "outputs": outputs}


def fingerprint(pipeline, container, given, own_key=""):
    """The same for a step that has the same program and inputs."""
    inputs = {
        "parameters": given["inputs"]["parameterValues"],
        "artifacts": {
            key: [each["uri"] for each in value["artifacts"]]
            for key, value in given["inputs"]["artifacts"].items()
        },
        "outputs": [sorted(given["outputs"]["parameters"]), sorted(given["outputs"]["artifacts"])],
        "container": [
            container.get(each) for each in ("image", "command", "args", "env", "resources")
        ],
    }
    text = json.dumps(own_key or [pipeline, inputs], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def pod_patch(container, command, environment):
    """What the step's pod has of its own."""
    resources = {}
    found = container.get("resources") or {}
    for names, (kind, what) in RESOURCE_FIELDS.items():
        value = next((found[each] for each in names[::-1] if found.get(each)), None)
        if value is not None:
            text = value if isinstance(value, str) else f"{value}{UNITS[what]}"
            resources.setdefault(kind, {})[what] = text
    main = {
        "name": "main",
        "image": container["image"],
        "command": command,
        "env": [*environment, *container.get("env", [])],
        **({"resources": resources} if resources else {}),
    }
    return json.dumps({"containers": [main]})


class Driver:
    """Decides on one step and writes what Argo goes by."""

    def __init__(self, given, server, tenant):
        self._given, self._server, self._tenant = given, server, tenant
        self._base = f"/apis/v2beta1/stand-in/runs/{given['run_id']}"
        self._path = given["task"]
        self._known = server.call("GET", self._base)
        self._run = Run(self._known)
        self._pipeline = self._known["spec"]["pipelineInfo"]["name"]
        self._metadata = f"{given['mlmd_server_address']}:{given['mlmd_server_port']}"
        root = (self._known["pipeline_root"] or tenant.root).rstrip("/")
        self._root = f"{root}/{self._pipeline}/{given['run_id']}"

    def decide(self):
        """What to write: name to text. Raises RefusedError."""
        kind = self._given["type"]
        if kind == "LOOP":
            return {"iteration-count": str(len(self._run.items(self._path)))}
        if not self._run.holds(self._path):
            self._begin(DAG if kind == "DAG" else CONTAINER, "CANCELED")
            self._tell(state="SKIPPED")
            return {"condition": "false"}
        if kind == "DAG":
            return {"condition": "true"}
        return self._import() if kind == "IMPORTER" else self._container()

    def fail(self, reason):
        """Tells why there will be no pod."""
        self._tell(state="FAILED", error=reason)

    def _tell(self, **what):
        self._server.call("POST", f"{self._base}/tasks", {"path": self._path, **what})

    @functools.cached_property
    def _lineage(self):
        about = {
            "namespace": own_namespace(), "resource_name": self._given["run_name"],
            "pipeline_root": self._root,
        }  # fmt: skip
        run = self._given["run_id"]
        return Lineage(Store(self._metadata), self._pipeline, run, about)

    def _begin(self, kind, state, inputs=None, **values):
        inputs = inputs or {"parameterValues": {}, "artifacts": {}}
        artifacts = {key: each["artifacts"] for key, each in inputs["artifacts"].items()}
        return self._lineage.begin(
            self._path, kind, state, values, inputs["parameterValues"], artifacts
        )

    def _import(self):
        _, body = executor(self._known["spec"], self._run.component(self._path))
        source = body["artifactUri"]
        uri = source.get("constant") or self._run.parameter(self._path, source["runtimeParameter"])
        metadata = json.dumps(body.get("metadata") or {})
        for key, value in self._run.parameters(self._path).items():
            metadata = metadata.replace(f"{{{{$.inputs.parameters['{key}']}}}}", str(value))
        made = {
            "name": "artifact", "uri": uri, "type": body.get("typeSchema") or {},
            "metadata": json.loads(metadata),
        }  # fmt: skip
        outputs = {"artifacts": {"artifact": [made]}}
        execution = self._begin(IMPORTER, "RUNNING")
        self._lineage.end(execution, "COMPLETE", outputs)
        self._tell(state="SUCCEEDED", outputs=outputs, execution_id=execution)
        return {}

    def _container(self):
        found = self._run.component(self._path)
        _, container = executor(self._known["spec"], found)
        place = "/".join((self._root, name(self._path), str(uuid.uuid4())))
        given = executor_input(self._run, self._path, place)
        inputs = given["inputs"]
        container = {**container, "image": self._filled(container["image"])}
        options = self._run.task(self._path).get("cachingOptions") or {}
        mark = fingerprint(self._pipeline, container, given, options.get("cacheKey", ""))
        asked = {"inputs": inputs, "display_name": name(self._path)}
        if (self._known["tasks"].get(self._path) or {}).get("state") in DONE:
            return {"cached-decision": "true"}  # before the run was retried
        if options.get("enableCache") and not self._given["cache_disabled"]:
            there = self._server.call("GET", f"{self._base}/cached/{mark}")
            earlier = there.get("outputs")
            if earlier is not None:
                of = str(there.get("execution_id") or "")
                execution = self._begin(CONTAINER, "CACHED", inputs, cached_execution_id=of)
                self._lineage.end(execution, "CACHED", earlier)
                self._tell(state="CACHED", outputs=earlier, execution_id=execution, **asked)
                return {"cached-decision": "true"}
        execution = self._begin(
            CONTAINER, "RUNNING", inputs, image=container["image"], cache_fingerprint=mark,
            namespace=own_namespace(),
        )  # fmt: skip
        self._tell(state="PENDING", fingerprint=mark, execution_id=execution, **asked)
        kinds = {
            key: definition.get("parameterType", "STRING")
            for key, definition in declared(found, "outputDefinitions", "parameters")
        }
        command = [
            f"{LAUNCHER_FOLDER}/launch",
            "--pipeline_name", self._pipeline,
            "--run_id", self._given["run_id"],
            "--task", self._path,
            "--execution_id", str(execution),
            "--executor_input", json.dumps(given),
            "--output_types", json.dumps(kinds),
            "--ml_pipeline_server_address", self._given["ml_pipeline_server_address"],
            "--ml_pipeline_server_port", self._given["ml_pipeline_server_port"],
            *metadata_flags(self._metadata),
            "--",
            *container.get("command", []),
            *container.get("args", []),
        ]  # fmt: skip
        return {"pod-spec-patch": pod_patch(container, command, [])}

    def _filled(self, text):
        """An image that a parameter names."""

        def replace(match):
            return str(self._run.parameter(self._path, match[1]))

        return re.sub(r"\{\{\$\.inputs\.parameters\['([^']+)'\]\}\}", replace, text)


def main():
    """Decides on the step that the flags name."""
    given = stand_in.flags(
        {
            "type": "", "pipeline_name": "", "run_id": "", "run_name": "", "run_display_name": "",
            "task": "", "ml_pipeline_server_address": "", "ml_pipeline_server_port": "",
            "mlmd_server_address": "", "mlmd_server_port": "", "cache_disabled": False,
        }
    )  # fmt: skip
    stand_in.log(f"stand-in for the driver: {given['type']} {given['task']}")
    address = f"{given['ml_pipeline_server_address']}:{given['ml_pipeline_server_port']}"
    server = Server(address)
    driver = None
    try:
        tenant = Tenant(stand_in.Kubernetes(), own_namespace())
        driver = Driver(given, server, tenant)
        decided = driver.decide()
    except (RefusedError, NoValueError, stand_in.ApiError, KeyError, ValueError) as error:
        reason = f"{given['task']}: {error}"
        if driver is not None:
            driver.fail(reason)
        sys.exit(f"driver: {reason}")
    os.makedirs(OUTPUTS, exist_ok=True)
    for each, text in {**UNDECIDED, **decided}.items():
        with open(f"{OUTPUTS}/{each}", "w") as file:
            file.write(text)
        stand_in.log(f"{each}: {text[:200]}")


if __name__ == "__main__":
    main()
