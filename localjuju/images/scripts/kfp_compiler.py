"""A compiled pipeline as an Argo Workflow: for each step a driver's pod and a component's pod.

Upstream puts every component's specification into the Workflow. Here the Workflow names a step by
its path, such as `root/condition-1/train`; the driver asks the API server for the rest.
"""

ROOT = "root"
PATH = "parent-dag-id"
RUN_ID = "pipeline/runid"
LAUNCHER_FOLDER = "/kfp-launcher"
SCRATCH = {
    "gcs-scratch": "/gcs", "s3-scratch": "/s3", "minio-scratch": "/minio",
    "dot-local-scratch": "/.local", "dot-cache-scratch": "/.cache",
    "dot-config-scratch": "/.config",
}  # fmt: skip
POD = {"KFP_POD_NAME": "metadata.name", "KFP_POD_UID": "metadata.uid"}
EXIT = "ALL_UPSTREAM_TASKS_COMPLETED"
RESOURCES = {"limits": {"cpu": "500m", "memory": "512Mi"}, "requests": {"cpu": "100m",
             "memory": "64Mi"}}  # fmt: skip
KINDS = {
    "NUMBER_INTEGER": (int, float), "NUMBER_DOUBLE": (int, float), "STRING": (str,),
    "BOOLEAN": (bool,), "LIST": (list,), "STRUCT": (dict,),
}  # fmt: skip


class PipelineError(ValueError):
    """The pipeline is none, or has a part that this stand-in does not play."""


def limit(part):
    """The error for what upstream does and this does not."""
    return PipelineError(f"{part}: this is a limit of the local engine's stand-in")


def package(documents):
    """The pipeline and its platforms' part, of a package's YAML documents or of an inline spec."""
    found = [each for each in documents if each is not None]
    if len(found) == 1 and isinstance(found[0], dict) and "pipeline_spec" in found[0]:
        found = [found[0]["pipeline_spec"], found[0].get("platform_spec")]
    if not found or not all(isinstance(each, dict) for each in found if each):
        raise PipelineError("the package is no pipeline specification")
    spec, platforms = found[0], (found[1] if len(found) > 1 else None) or {}
    if spec.get("kind") == "Workflow":
        raise limit("a pipeline of version 1, an Argo Workflow")
    try:
        name, tasks = spec["pipelineInfo"]["name"], spec["root"]["dag"]["tasks"]
        _ = spec["schemaVersion"], spec["deploymentSpec"]["executors"]
    except (KeyError, TypeError) as error:
        raise PipelineError(f"the package is no pipeline specification: no {error}") from None
    if not name or not tasks:
        raise PipelineError("the pipeline has no name or no tasks")
    return spec, platforms


def component(spec, name):
    """A component by its name. Raises PipelineError."""
    try:
        return spec["root"] if name == ROOT else spec["components"][name]
    except (KeyError, TypeError):
        raise PipelineError(f"component {name} is not in the pipeline") from None


def executor(spec, found):
    """A component's executor: (kind, specification). Raises PipelineError."""
    label = found.get("executorLabel")
    try:
        ((kind, body),) = spec["deploymentSpec"]["executors"][label].items()
    except (KeyError, ValueError, AttributeError):
        raise PipelineError(f"executor {label} is not in the pipeline") from None
    return kind, body


def converted(value, kind):
    """A JSON number as the integer that it is declared to be."""
    is_whole = kind == "NUMBER_INTEGER" and isinstance(value, float) and value.is_integer()
    return int(value) if is_whole else value


def parameters(spec, given):
    """The values that a run begins with: given ones and defaults. Raises PipelineError."""
    declared = (spec["root"].get("inputDefinitions") or {}).get("parameters") or {}
    unknown = sorted(set(given) - set(declared))
    if unknown:
        raise PipelineError(f"the pipeline has no parameter {', '.join(unknown)}")
    found = {}
    for name, definition in declared.items():
        kind = definition.get("parameterType", "STRING")
        if name in given:
            value = converted(given[name], kind)
            is_bool = isinstance(value, bool) and kind != "BOOLEAN"
            if value is not None and (is_bool or not isinstance(value, KINDS.get(kind, object))):
                raise PipelineError(f"parameter {name} has to be of type {kind}")
        elif "defaultValue" in definition:
            value = converted(definition["defaultValue"], kind)
        elif definition.get("isOptional"):
            continue
        else:
            raise PipelineError(f"parameter {name} has no value and no default one")
        found[name] = value
    return found


def producers(task):
    """The tasks that a task takes something from."""
    found = set()
    inputs = task.get("inputs") or {}
    for each in (inputs.get("parameters") or {}).values():
        found.add((each.get("taskOutputParameter") or {}).get("producerTask"))
    for each in (inputs.get("artifacts") or {}).values():
        found.add((each.get("taskOutputArtifact") or {}).get("producerTask"))
    return found - {None}


class Compiler:
    """Makes the templates of one Workflow.

    Args:
        spec: the pipeline.
        settings: driver, launcher: images; address, port: the API server's; metadata: HOST:PORT of
            ML Metadata; cache: whether on.
        name: the run's.
    """

    def __init__(self, spec, platforms, settings, name):
        self._spec, self._settings, self._name = spec, settings, name
        self._templates = {}
        self._check_platforms(platforms)

    def templates(self):
        """All of them; the entry is `entrypoint`. Raises PipelineError."""
        self._dag(ROOT)
        root = {"name": ROOT, "template": ROOT, "arguments": arguments({PATH: ROOT})}
        self._templates["entrypoint"] = {"name": "entrypoint", "dag": {"tasks": [root]}}
        return list(self._templates.values())

    @staticmethod
    def _check_platforms(platforms):
        kubernetes = (platforms.get("platforms") or {}).get("kubernetes") or {}
        for each in ((kubernetes.get("deploymentSpec") or {}).get("executors") or {}).values():
            for part in each or ():
                raise limit(f"{part} of kfp-kubernetes")
        for part in kubernetes.get("pipelineConfig") or ():
            raise limit(f"{part} of the pipeline's configuration")

    def _dag(self, name):
        """The template of a component that has tasks."""
        if name in self._templates:
            return
        self._templates[name] = {}  # a place: a component cannot contain itself
        tasks = component(self._spec, name)["dag"].get("tasks") or {}
        hooks, made = {}, []
        for key, task in sorted(tasks.items()):
            if (task.get("triggerPolicy") or {}).get("strategy") == EXIT:
                template = f"exit-hook-{name}-{key}"
                self._templates[template] = dag(
                    template, self._task(name, key, task, is_exit=True)
                )
                hooks |= dict.fromkeys(task.get("dependentTasks") or (), template)
        for key, task in sorted(tasks.items()):
            if (task.get("triggerPolicy") or {}).get("strategy") != EXIT:
                made += self._task(name, key, task, hook=hooks.get(key))
        if not made:
            raise PipelineError(f"component {name} has no task that is no exit task")
        self._templates[name] = dag(name, made)

    def _task(self, parent, key, task, hook=None, is_exit=False):
        """The Argo tasks of a task."""
        name = (task.get("componentRef") or {}).get("name")
        found = component(self._spec, name)
        before = set() if is_exit else producers(task) | set(task.get("dependentTasks") or ())
        depends = {"depends": " && ".join(f"{each}.Succeeded" for each in sorted(before))}
        depends = depends if before else {}
        if task.get("artifactIterator"):
            raise limit("a loop over artifacts")
        condition = (task.get("triggerPolicy") or {}).get("condition")
        after: dict = {"depends": f"{key}-driver.Succeeded"}
        own = f"{{{{inputs.parameters.{PATH}}}}}/{key}"
        if hook:
            above = arguments({PATH: f"{{{{inputs.parameters.{PATH}}}}}"})
            after["hooks"] = {"exit": {"template": hook, "arguments": above}}
        if condition:
            after["when"] = f"{output(f'{key}-driver', 'condition')} != false"
        driver = {"name": f"{key}-driver", **depends}
        if "dag" in found:
            kind = "DAG"
            if task.get("parameterIterator"):
                template = self._loop(parent, key, task, name)
            else:
                self._dag(name)
                template = name
            given = {PATH: own}
        else:
            if task.get("parameterIterator"):
                raise limit("a loop over a task that is no group")
            executed, body = executor(self._spec, found)
            kind = "CONTAINER"
            if executed == "importer":
                driver = {**driver, "name": key}
                return [{**driver, **self._driver("IMPORTER", own)}]
            if executed != "container":
                raise limit(f"an executor of kind {executed}")
            if (body.get("lifecycle") or {}).get("preCacheCheck"):
                raise limit("a check before the cache")
            template = self._executor(task.get("retryPolicy"))
            given = {
                "pod-spec-patch": output(f"{key}-driver", "pod-spec-patch"),
                "cached-decision": output(f"{key}-driver", "cached-decision"),
            }
        return [
            {**driver, **self._driver(kind, own)},
            {"name": key, "template": template, "arguments": arguments(given), **after},
        ]

    def _loop(self, parent, key, task, name):
        """The template that starts a group of tasks for each item."""
        template = f"{parent}-{key}-iterator"
        self._dag(name)
        own = f"{{{{inputs.parameters.{PATH}}}}}"
        made = dag(
            template,
            [
                {"name": "iteration-driver", **self._driver("LOOP", own)},
                {
                    "name": "iteration",
                    "template": name,
                    "depends": "iteration-driver.Succeeded",
                    "arguments": arguments({PATH: f"{own}/{{{{item}}}}"}),
                    "withSequence": {"count": output("iteration-driver", "iteration-count")},
                },
            ],
        )
        most = (task.get("iteratorPolicy") or {}).get("parallelismLimit")
        if most:
            made["parallelism"] = int(most)
        self._templates[template] = made
        return template

    def _driver(self, kind, path):
        """A task that runs the driver for a step."""
        name = "system-container-driver"
        outputs = {
            "pod-spec-patch": "", "cached-decision": "false", "condition": "true",
            "iteration-count": "0",
        }  # fmt: skip
        self._templates[name] = {
            "name": name,
            "inputs": {"parameters": [{"name": "type"}, {"name": "task"}]},
            "outputs": {
                "parameters": [
                    {
                        "name": each,
                        "valueFrom": {"path": f"/tmp/outputs/{each}", "default": default},
                    }
                    for each, default in outputs.items()
                ]
            },
            "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
            "container": {
                "image": self._settings["driver"],
                "command": ["driver"],
                "args": [
                    "--type", "{{inputs.parameters.type}}",
                    "--pipeline_name", self._spec["pipelineInfo"]["name"],
                    "--run_id", f"{{{{workflow.labels.{RUN_ID}}}}}",
                    "--run_name", "{{workflow.name}}",
                    "--run_display_name", self._name,
                    "--task", "{{inputs.parameters.task}}",
                    "--ml_pipeline_server_address", self._settings["address"],
                    "--ml_pipeline_server_port", str(self._settings["port"]),
                    *metadata_flags(self._settings["metadata"]),
                    *([] if self._settings["cache"] else ["--cache_disabled"]),
                ],
                "env": pod_environment(),
                "resources": RESOURCES,
                "securityContext": restricted(),
            },
        }  # fmt: skip
        return {"template": name, "arguments": arguments({"type": kind, "task": path})}

    def _executor(self, retry):
        """The templates that run a component; with a retry policy, another pair."""
        name, inner = "system-container-executor", "system-container-impl"
        strategy = {}
        if retry:
            strategy = retry_strategy(retry)
            mark = "-".join(
                str(each) for each in (strategy["limit"], *strategy["backoff"].values())
            )
            name, inner = f"retry-{mark}-{name}", f"retry-{mark}-{inner}"
        passed = {"pod-spec-patch": "{{inputs.parameters.pod-spec-patch}}"}
        self._templates[name] = {
            "name": name,
            "inputs": {"parameters": [{"name": "pod-spec-patch"}, {"name": "cached-decision"}]},
            # a step that is skipped for its result still counts as one that succeeded
            "dag": {
                "tasks": [
                    {
                        "name": "executor",
                        "template": inner,
                        "arguments": arguments(passed),
                        "when": "{{inputs.parameters.cached-decision}} != true",
                    }
                ]
            },
        }
        launcher = {"name": "kfp-launcher", "mountPath": LAUNCHER_FOLDER}
        placeholder = "should-be-overridden-during-runtime"
        optional = {"name": "metadata-grpc-configmap", "optional": True}
        self._templates[inner] = {
            "name": inner,
            "inputs": {"parameters": [{"name": "pod-spec-patch"}]},
            "podSpecPatch": passed["pod-spec-patch"],
            "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
            "volumes": [{"name": each, "emptyDir": {}} for each in ("kfp-launcher", *SCRATCH)],
            "initContainers": [
                {
                    "name": "kfp-launcher",
                    "image": self._settings["launcher"],
                    "command": ["launcher-v2"],
                    "args": ["--copy", f"{LAUNCHER_FOLDER}/launch"],
                    "volumeMounts": [launcher],
                    "resources": RESOURCES,
                    "securityContext": restricted(),
                }
            ],
            "container": {
                "image": f"gcr.io/ml-pipeline/{placeholder}",
                "command": [placeholder],
                "volumeMounts": [
                    launcher,
                    *({"name": each, "mountPath": path} for each, path in SCRATCH.items()),
                ],
                "envFrom": [{"configMapRef": optional}],
                "env": pod_environment(),
                "securityContext": {
                    key: value for key, value in restricted().items() if key != "runAsNonRoot"
                },
            },
            **({"retryStrategy": strategy} if strategy else {}),
        }
        return name


def workflow(run, settings):
    """The Argo Workflow of a run. Raises PipelineError.

    Args:
        run: run_id, name (the Workflow's), display_name, namespace, service_account, spec,
            platforms.
        settings: as Compiler's.
    """
    compiler = Compiler(run["spec"], run["platforms"], settings, run["display_name"])
    templates = compiler.templates()
    for each in templates:
        each["metadata"] = {"annotations": {"sidecar.istio.io/inject": "false"}}
    labels = {"pipelines.kubeflow.org/v2_component": "true", RUN_ID: run["run_id"]}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {
            "name": run["name"],
            "namespace": run["namespace"],
            "labels": {RUN_ID: run["run_id"]},
            "annotations": {"pipelines.kubeflow.org/run_name": run["display_name"]},
        },
        "spec": {
            "entrypoint": "entrypoint",
            "serviceAccountName": run["service_account"],
            "podMetadata": {
                "labels": labels,
                "annotations": {"pipelines.kubeflow.org/v2_component": "true"},
            },
            "templates": templates,
        },
    }


def arguments(values):
    """Argo's form of them."""
    return {"parameters": [{"name": name, "value": value} for name, value in values.items()]}


def output(task, name):
    """Argo's placeholder for what a task gave."""
    return f"{{{{tasks.{task}.outputs.parameters.{name}}}}}"


def dag(name, tasks):
    """A template of tasks below one path."""
    return {"name": name, "inputs": {"parameters": [{"name": PATH}]}, "dag": {"tasks": tasks}}


def metadata_flags(address):
    """How the driver and the launcher are told where ML Metadata is, `HOST:PORT`."""
    host, _, port = address.rpartition(":")
    return ["--mlmd_server_address", host, "--mlmd_server_port", port]


def pod_environment():
    """What the driver and the launcher know of their pod."""
    return [
        {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}
        for name, path in POD.items()
    ]


def restricted():
    """The security context of upstream's own images."""
    return {
        "allowPrivilegeEscalation": False,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def retry_strategy(policy):
    """Argo's form of a retry policy."""
    found = {
        "duration": whole(policy.get("backoffDuration", "0s")),
        "factor": str(int(float(policy.get("backoffFactor") or 0))),
        "maxDuration": whole(policy.get("backoffMaxDuration", "3600s")),
    }
    return {
        "limit": str(int(policy.get("maxRetryCount") or 0)),
        "retryPolicy": "OnFailure",
        "backoff": found,
    }


def whole(duration):
    """Seconds of a duration, such as `3600s`, as Argo reads them."""
    return str(int(float(str(duration).rstrip("s") or 0)))
