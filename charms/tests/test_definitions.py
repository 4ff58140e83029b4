"""The charms' definitions take what upstream's take, and merge it alike.

What stands here are facts of upstream's definitions, at the versions that the charms name: KServe
v0.16.0, Katib v0.19.0, Trainer v2.1.0, JobSet v0.10.1, Training Operator v1.9.2, Spark operator
v2.5.0, Argo Workflows v3.7.3, Kubeflow v1.10.0, Pipelines 2.16.0, Knative v1.21.1. In a path, `*`
is each member of a list or a map.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from charmed_mlops.testing import ROOT, loaded
from charms.kubernetes_server import Client

Schema = dict[str, Any]
DEFINITION = "CustomResourceDefinition"
OPEN = "x-kubernetes-preserve-unknown-fields"
FOLDERS = sorted(
    {
        file.parents[2]
        for file in (ROOT / "charms").glob("*/src/manifests/*.j2")
        if "crd(" in file.read_text() or DEFINITION in file.read_text()
    }
)

# fields of users and of controllers that are easily missed
KEPT = {
    "InferenceGraph": [
        "spec.nodes.*.steps.*.mapPredictionsToInstances",
        "spec.routerTimeouts.serviceClient",
    ],
    "InferenceService": [
        "spec.predictor.autoScaling.metrics.*.podmetric.metric.backend",
        "spec.predictor.model.volumeDevices.*.name",
        "spec.predictor.triton.env.*.valueFrom.secretKeyRef.key",
        "spec.predictor.workerSpec.containers.*.image",
        "status.modelStatus.lastFailureInfo.exitCode",
    ],
    "Service": ["spec.template.spec.volumes.*.projected.sources", "spec.traffic.*.tag"],
    "JobSet": ["spec.coordinator.podIndex", "spec.replicatedJobs.*.template.spec.template.spec"],
    "TrainJob": [
        "spec.initializer.model.env.*.valueFrom",
        "spec.podTemplateOverrides.*.spec.volumes",
        "spec.trainer.env.*.valueFrom.secretKeyRef.name",
    ],
    "TrainingRuntime": ["spec.podGroupPolicy.volcano.networkTopology.highestTierAllowed"],
    "PyTorchJob": ["spec.elasticPolicy.rdzvConf.*.key", "spec.runPolicy.schedulingPolicy.queue"],
    "SparkApplication": ["spec.driver.template.spec", "spec.monitoring.prometheus.portName"],
    "SparkConnect": ["spec.server.service.spec", "status.executors.*"],
    "Experiment": ["spec.metricsCollectorSpec.source", "status.currentOptimalTrial"],
    "Workflow": ["spec.templates", "status.nodes"],
}
# lists of which server-side apply merges the members of one key
KEYED = {
    "InferenceService": {
        **{
            f"spec.predictor.{name}.{field}": keys
            for name in ("huggingface", "model", "sklearn")
            for field, keys in (
                ("env", ["name"]),
                ("ports", ["containerPort", "protocol"]),
                ("volumeDevices", ["devicePath"]),
                ("volumeMounts", ["mountPath"]),
            )
        },
        "spec.transformer.topologySpreadConstraints": ["topologyKey", "whenUnsatisfiable"],
        "spec.explainer.resourceClaims": ["name"],
        "spec.predictor.schedulingGates": ["name"],
    },
    "Service": {"spec.template.spec.volumes": ["name"]},
    "Configuration": {"spec.template.spec.volumes": ["name"]},
    "Revision": {"spec.volumes": ["name"]},
    "JobSet": {"spec.replicatedJobs": ["name"], "status.conditions": ["type"]},
    "TrainJob": {
        "spec.initializer.dataset.env": ["name"],
        "spec.initializer.model.env": ["name"],
        "spec.trainer.env": ["name"],
        "status.conditions": ["type"],
        "status.jobsStatus": ["name"],
    },
    "SparkConnect": {"status.conditions": ["type"]},
}
# maps that it replaces as a whole
WHOLE = {
    "InferenceService": ["spec.predictor.nodeSelector", "spec.predictor.workerSpec.nodeSelector"],
    "Workflow": ["spec", "status"],
    "WorkflowTemplate": ["spec"],
    "CronWorkflow": ["spec", "status"],
    "ClusterWorkflowTemplate": ["spec"],
    "WorkflowTaskSet": ["spec", "status"],
    "ScheduledWorkflow": ["spec", "status"],
    "Viewer": ["spec"],
}
DEFAULTS = {
    "InferenceService": {
        "spec.predictor.model.ports.*.protocol": "TCP",
        "spec.predictor.storageUris.*.mountPath": "/mnt/models",
    },
    "ClusterTrainingRuntime": {
        "spec.mlPolicy.mpi.mpiImplementation": "OpenMPI",
        "spec.mlPolicy.torch.numProcPerNode": "auto",
        "spec.podGroupPolicy.volcano.networkTopology.highestTierAllowed": 1,
        "spec.podGroupPolicy.volcano.networkTopology.mode": "hard",
    },
    "JobSet": {"spec.replicatedJobs.*.groupName": "default", "spec.replicatedJobs.*.replicas": 1},
    "TrainJob": {"spec.runtimeRef.kind": "ClusterTrainingRuntime", "spec.suspend": False},
}
REQUIRED: dict[str, dict[str, list[str]]] = {
    "Notebook": {"spec.template.spec.containers.*": ["name", "image"]},
    "InferenceService": {"spec.predictor.autoScaling.metrics.*": ["type"]},
    "Profile": {"status.conditions.*": []},  # the controller's have no status
    "PVCViewer": {"spec": ["pvc", "rwoScheduling"]},
}


@pytest.fixture(scope="module")
def definitions() -> list[dict[str, Any]]:
    """All that the charms declare."""
    found: dict[str, dict[str, Any]] = {}
    for folder in FOLDERS:
        with loaded(folder) as charm:
            for each in charm.manifests(charm.settled()):
                if each["kind"] == DEFINITION:
                    found[each["metadata"]["name"]] = each
    return list(found.values())


@pytest.fixture(scope="module")
def schemas(definitions) -> dict[str, Schema]:
    """Of each kind's stored version."""
    return {
        each["spec"]["names"]["kind"]: version["schema"]["openAPIV3Schema"]
        for each in definitions
        for version in each["spec"]["versions"]
        if version["storage"]
    }


def at(schema: Schema, path: str) -> Schema:
    """The schema of a field: an empty one below an object that is open.

    Raises:
        AssertionError: The field would be dropped.
    """
    for name in path.split("."):
        members = schema.get("items") or schema.get("additionalProperties")
        below = members if name == "*" else schema.get("properties", {}).get(name)
        if below is None:
            assert schema.get(OPEN), f"{path}: {name} is dropped"
            return {}
        schema = below
    return schema


def cases(table: dict[str, Any]) -> list[tuple[str, Any]]:
    """A case for each kind and path."""
    return [
        (kind, each)
        for kind, paths in table.items()
        for each in (paths.items() if isinstance(paths, dict) else paths)
    ]


@pytest.mark.parametrize(("kind", "path"), cases(KEPT))
def test_a_field_that_upstream_takes_is_kept(schemas, kind, path):
    at(schemas[kind], path)


@pytest.mark.parametrize(("kind", "fact"), cases(KEYED))
def test_appliers_share_a_list_by_the_keys_that_upstream_names(schemas, kind, fact):
    found = at(schemas[kind], fact[0])
    assert found["x-kubernetes-list-type"] == "map"
    assert found["x-kubernetes-list-map-keys"] == fact[1]
    # else the API server refuses the definition
    for key in fact[1]:
        here = found["items"]["properties"][key]
        assert key in found["items"]["required"] or "default" in here


@pytest.mark.parametrize(("kind", "path"), cases(WHOLE))
def test_an_applier_replaces_what_upstream_s_does_not_merge(schemas, kind, path):
    assert at(schemas[kind], path)["x-kubernetes-map-type"] == "atomic"


@pytest.mark.parametrize(("kind", "fact"), cases(DEFAULTS))
def test_a_default_is_upstream_s(schemas, kind, fact):
    assert at(schemas[kind], fact[0])["default"] == fact[1]


@pytest.mark.parametrize(("kind", "fact"), cases(REQUIRED))
def test_what_must_be_there_is_what_upstream_asks_for(schemas, kind, fact):
    assert at(schemas[kind], fact[0]).get("required", []) == fact[1]


POD_TYPES = "kubernetes-json-schema/v1.35.0-local/_definitions.json"
# newer than the controllers, which would leave them out, and so do upstream's definitions
NEWER = {"fileKeyRef", "seLinuxChangePolicy", "stopSignal"}


def test_a_pod_is_typed_as_kubernetes_types_it(schemas):
    known = json.loads((resources.files("kubernetes_validate") / POD_TYPES).read_text())["$defs"]
    notebook = at(schemas["Notebook"], "spec.template.spec")
    mpi = at(schemas["MPIJob"], "spec.mpiReplicaSpecs.*.template.spec")
    for pod in (notebook, mpi):
        assert _typed(pod, known["io.k8s.api.core.v1.PodSpec"], known, "spec") > 1000


def _typed(ours: Schema, theirs: Schema, known: dict[str, Schema], where: str) -> int:
    """How many fields are typed alike, all of them; `theirs` names parts of `known`."""
    theirs = known[theirs["$ref"].rpartition("/")[2]] if "$ref" in theirs else theirs
    if ours.get("x-kubernetes-int-or-string"):
        assert "oneOf" in theirs or theirs.get("format") == "int-or-string", where
        return 1
    types = theirs["type"] if isinstance(theirs["type"], list) else [theirs["type"]]
    assert ours["type"] in types, where
    if ours["type"] == "integer":
        assert ours["format"] == theirs["format"], where
    count = 1
    if "properties" in ours:
        missing = theirs["properties"].keys() - ours["properties"].keys() - NEWER
        part = where.endswith(".metadata")  # users give its labels and annotations alone
        assert ours.get(OPEN) or part or not missing, f"{where}: {missing}"
        for name, each in ours["properties"].items():
            count += _typed(each, theirs["properties"][name], known, f"{where}.{name}")
    for members in ("items", "additionalProperties"):
        assert (members in ours) is (members in theirs), where
        if members in ours:
            count += _typed(ours[members], theirs[members], known, f"{where}.*")
    return count


# on a real API server, which alone reads rules


@pytest.fixture(scope="module")
def server(kubeconfig: Path, definitions) -> Iterator[Client]:
    """An API server that has the definitions with rules, and those that type whole pods."""
    client = Client(kubeconfig)
    groups = ("trainer.kubeflow.org", "jobset.x-k8s.io")
    kinds = ("MPIJob", "Notebook", "PyTorchJob")
    made = [
        client.define(each)
        for each in definitions
        if each["spec"]["group"] in groups or each["spec"]["names"]["kind"] in kinds
    ]
    yield client
    for path in made:
        client("DELETE", path)


@pytest.mark.engine
def test_an_api_server_takes_each_definition(server, definitions):
    """Its rules too, of which it reckons the cost."""
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    assert len(definitions) > 50
    for each in definitions:
        code, answer = server("POST", f"{path}?fieldValidation=Strict&dryRun=All", each)
        assert code in (201, 409), answer


def made(group: str, kind: str, spec: dict[str, Any], name: str = "a") -> dict[str, Any]:
    return {"apiVersion": group, "kind": kind, "metadata": {"name": name}, "spec": spec}


def post(server: Client, item: dict[str, Any], query: str = "dryRun=All") -> tuple[int, Any]:
    plural = f"{item['kind'].lower()}s"
    path = f"/apis/{item['apiVersion']}/namespaces/default/{plural}"
    return server("POST", f"{path}?fieldValidation=Strict&{query}", item)


TRAINER, JOBSET = "trainer.kubeflow.org/v1alpha1", "jobset.x-k8s.io/v1alpha2"
TORCH = {"runtimeRef": {"name": "torch"}}
JOB = {"name": "a", "template": {"spec": {}}}
IN_ORDER = {"startupPolicy": {"startupPolicyOrder": "InOrder"}}
POD = {
    "tolerations": [{"key": "gpu", "operator": "Exists"}],
    "volumes": [
        {"name": "a", "emptyDir": {"medium": "Memory", "sizeLimit": "1.5Gi"}},
        {"name": "b", "projected": {"sources": [{"secret": {"name": "c", "items": []}}]}},
        {"name": "c", "persistentVolumeClaim": {"claimName": "c"}},
    ],
    "initContainers": [
        {
            "name": "a",
            "image": "b",
            "resources": {"limits": {"cpu": 1, "memory": "1e3", "nvidia.com/gpu": "1"}},
            "env": [{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}],
            "readinessProbe": {"httpGet": {"path": "/", "port": "web"}, "periodSeconds": 1},
        }
    ],
    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}]
    }}},
    "nodeSelector": {"a": "b"},
}  # fmt: skip
TWICE = [{"name": "A"}, {"name": "A"}]
AFTER = {"name": "b", "template": {}, "dependsOn": [{"name": "a", "status": "Ready"}]}


def notebook(**pod: Any) -> dict[str, Any]:
    spec = {"containers": [{"name": "a", "image": "b"}], **pod}
    return made("kubeflow.org/v1", "Notebook", {"template": {"spec": spec}})


def mpi(**pod: Any) -> dict[str, Any]:
    spec = {"containers": [{"name": "a"}], **pod}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": spec}
    return made(
        "kubeflow.org/v1", "MPIJob", {"mpiReplicaSpecs": {"Worker": {"template": template}}}
    )


def runtime(**spec: Any) -> dict[str, Any]:
    return made(TRAINER, "TrainingRuntime", spec)


@pytest.mark.engine
@pytest.mark.parametrize(
    "item",
    [
        made(TRAINER, "TrainJob", TORCH),
        made(TRAINER, "TrainJob", {**TORCH, "managedBy": "kueue.x-k8s.io/multikueue"}),
        made(TRAINER, "TrainJob", {**TORCH, "trainer": {"env": [{"name": "A", "value": "b"}]}}),
        runtime(mlPolicy={"torch": {"numProcPerNode": 2}}),
        runtime(mlPolicy={"torch": {"numProcPerNode": "gpu"}}),
        runtime(mlPolicy={"numNodes": 2, "torch": {}}),
        made(JOBSET, "JobSet", {"replicatedJobs": [JOB, AFTER]}),
        made(JOBSET, "JobSet", IN_ORDER),
        *(make(**POD) for make in (notebook, mpi)),
    ],
)
def test_what_upstream_takes_is_taken(server, item):
    code, answer = post(server, item)
    assert code == 201, answer
    assert "template" not in item["spec"] or answer["spec"] == item["spec"]


@pytest.mark.engine
@pytest.mark.parametrize(
    ("item", "text"),
    [
        (made(TRAINER, "TrainJob", TORCH, "1a"), "RFC 1035"),
        (made(TRAINER, "TrainJob", TORCH, "a.b"), "RFC 1035"),
        (made(TRAINER, "TrainJob", TORCH, "a" * 64), "63"),
        (made(TRAINER, "TrainJob", {**TORCH, "managedBy": "me"}), "multikueue"),
        (made(TRAINER, "TrainJob", {**TORCH, "trainer": {"env": TWICE}}), "Duplicate"),
        (runtime(mlPolicy={"torch": {"numProcPerNode": 0}}), "auto"),
        (runtime(mlPolicy={"torch": {"numProcPerNode": "many"}}), "auto"),
        (runtime(mlPolicy={"numNodes": 1, "torch": {"elasticPolicy": {}}}), "elasticPolicy"),
        (runtime(podGroupPolicy={"volcano": {"networkTopology": {"mode": "none"}}}), "hard"),
        (made(JOBSET, "JobSet", {**IN_ORDER, "replicatedJobs": [JOB, AFTER]}), "dependsOn"),
        (notebook(containers=[]), "at least 1"),
        (notebook(containers=[{"name": "a"}]), "image"),
        (mpi(containers=[{"image": "a"}]), "name"),
        # of which one would stop the controller for everybody, as it could read none
        *(
            (make(**{field: value}), field)
            for make in (notebook, mpi)
            for field, value in (
                ("tolerations", "all"),
                ("volumes", [{"name": "a", "emptyDir": {"sizeLimit": "much"}}]),
                ("initContainers", [{"name": "a", "env": [{"name": "A", "value": 1}]}]),
                ("affinity", {"nodeAffinity": []}),
                ("priority", 2**31),
            )
        ),
    ],
)
def test_what_upstream_refuses_is_refused(server, item, text):
    code, answer = post(server, item)
    assert code == 422, answer
    assert text in answer["message"]


def queued(name: str) -> dict[str, Any]:
    policy = {"schedulingPolicy": {"queue": name}}
    return {"pytorchReplicaSpecs": {}, "runPolicy": policy}


@pytest.mark.engine
@pytest.mark.parametrize(
    ("item", "changed"),
    [
        (made(TRAINER, "TrainJob", TORCH), {**TORCH, "managedBy": "kueue.x-k8s.io/multikueue"}),
        (made("kubeflow.org/v1", "PyTorchJob", queued("a")), queued("b")),
        (made(JOBSET, "JobSet", IN_ORDER), {"startupPolicy": {"startupPolicyOrder": "AnyOrder"}}),
        *(
            (made(JOBSET, "JobSet", {name: old}), {name: new})
            for name, old, new in (
                ("failurePolicy", {"maxRestarts": 1}, {"maxRestarts": 2}),
                ("network", {"subdomain": "a"}, {"subdomain": "b"}),
                ("successPolicy", {"operator": "All"}, {"operator": "Any"}),
            )
        ),
    ],
)
def test_what_upstream_keeps_from_changing_stays(server, item, changed):
    code, now = post(server, item, "fieldManager=test")
    assert code == 201, now
    path = f"/apis/{item['apiVersion']}/namespaces/default/{item['kind'].lower()}s/a"
    try:
        code, answer = server("PUT", path, {**now, "spec": changed})
        assert code == 422, answer
        assert "immutable" in answer["message"]
    finally:
        server("DELETE", path)
