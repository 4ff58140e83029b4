"""KServe's kinds on a real API server: what is good passes whole, what is mistyped is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from charmed_mlops.testing import loaded
from charms.kubernetes_server import Client

PATH = "/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices"
EXAMPLE = Path(__file__).parents[4] / "examples/first-model/inference-service.yaml"
pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def server(kubeconfig: Path) -> Iterator[Client]:
    """An API server that has the charm's definitions."""
    client = Client(kubeconfig)
    with loaded(Path(__file__).parents[2]) as charm:
        declared = charm.manifests(charm.settled())
    made = [client.define(each) for each in declared if each["kind"] == "CustomResourceDefinition"]
    yield client
    for path in made:
        client("DELETE", path)


def service(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "wine"},
        "spec": spec,
    }


MODEL = {"modelFormat": {"name": "sklearn"}, "storageUri": "s3://models/wine"}
GOOD = {
    "a model": service(predictor={"model": MODEL}),
    "all of KServe's own": service(
        predictor={
            "minReplicas": 1,
            "maxReplicas": 3,
            "scaleMetric": "cpu",
            "scaleMetricType": "Utilization",
            "scaleTarget": 80,
            "autoScaling": {
                "metrics": [
                    {
                        "type": "Resource",
                        "resource": {
                            "name": "memory",
                            "target": {"type": "Utilization", "averageUtilization": 50},
                        },
                    }
                ],
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}},
            },
            "canaryTrafficPercent": 10,
            "containerConcurrency": 4,
            "timeout": 60,
            "batcher": {"maxBatchSize": 32, "maxLatency": 500},
            "logger": {
                "mode": "all",
                "url": "http://sink",
                "storage": {"path": "logs", "parameters": {"type": "s3"}, "key": "store"},
            },
            "deploymentStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}},
            "labels": {"team": "a"},
            "annotations": {"note": "b"},
            "model": {
                **MODEL,
                "runtime": "kserve-mlserver",
                "protocolVersion": "v2",
                "runtimeVersion": "1.7.1",
                "storage": {"key": "store", "path": "wine", "parameters": {"bucket": "models"}},
            },
        },
        transformer={
            "minReplicas": 0,
            "storageUris": [{"uri": "s3://models/vocabulary", "mountPath": "/mnt/vocabulary"}],
            "containers": [{"name": "kserve-container", "image": "t:1"}],
        },
        explainer={"art": {"type": "SquareAttack", "config": {"nb_classes": "10"}}},
    ),
    "all of a pod's": service(
        predictor={
            "model": {
                **MODEL,
                "args": ["--x"],
                "command": ["/serve"],
                "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
                "image": "own:1",
                "ports": [{"containerPort": 8080, "name": "h2c", "protocol": "TCP"}],
                "resources": {"limits": {"cpu": 1, "nvidia.com/gpu": "1"}},
                "readinessProbe": {"httpGet": {"path": "/", "port": "h2c"}},
                "volumeMounts": [{"name": "v", "mountPath": "/v"}],
            },
            "affinity": {"nodeAffinity": {}},
            "tolerations": [{"key": "gpu", "operator": "Exists"}],
            "nodeSelector": {"kubernetes.io/arch": "amd64"},
            "volumes": [{"name": "v", "emptyDir": {"medium": "Memory"}}],
            "serviceAccountName": "reader",
            "imagePullSecrets": [{"name": "pull"}],
            "securityContext": {"runAsUser": 1000},
            "initContainers": [{"name": "i", "image": "i:1"}],
            "terminationGracePeriodSeconds": 30,
            "priorityClassName": "high",
            "overhead": {"cpu": 1, "memory": "1Mi"},
            "workerSpec": {
                "pipelineParallelSize": 2,
                "tensorParallelSize": 1,
                "containers": [{"name": "worker", "image": "w:1"}],
            },
        }
    ),
    "the example": yaml.safe_load(EXAMPLE.read_text()),
    "an old framework's field": service(predictor={"sklearn": {"storageUri": "gs://a/b"}}),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_kserve_knows_is_taken_whole(server, name):
    code, made = server("POST", f"{PATH}?fieldValidation=Strict&dryRun=All", GOOD[name])
    assert code == 201, made
    assert made["spec"] == GOOD[name]["spec"]


@pytest.mark.parametrize(
    ("field", "spec"),
    [
        ("spec.predictor.minReplica", {"predictor": {"minReplica": 1, "model": MODEL}}),
        ("spec.predictor.model.storageURI", {"predictor": {"model": {"storageURI": "s3://a"}}}),
        ("spec.predictor.model.storage.keys", {"predictor": {"model": {"storage": {"keys": ""}}}}),
        (
            "spec.predictor.model.modelFormat.title",
            {"predictor": {"model": {"modelFormat": {"name": "a", "title": "b"}}}},
        ),
        ("spec.predictor.sklear", {"predictor": {"sklear": {}}}),
        ("spec.transformer.maxReplica", {"predictor": {}, "transformer": {"maxReplica": 1}}),
        ("spec.explainer.arts", {"predictor": {"model": MODEL}, "explainer": {"arts": {}}}),
        ("spec.predictors", {"predictor": {"model": MODEL}, "predictors": {}}),
        ("spec.predictor.batcher.size", {"predictor": {"model": MODEL, "batcher": {"size": 1}}}),
        ("spec.predictor.toleration", {"predictor": {"model": MODEL, "toleration": []}}),
    ],
)  # fmt: skip
def test_a_mistyped_field_is_refused_by_name(server, field, spec):
    """As `kubectl apply` asks for it; other clients get a warning."""
    code, answer = server("POST", f"{PATH}?fieldValidation=Strict&dryRun=All", service(**spec))
    assert code == 400
    assert f'unknown field "{field}"' in answer["message"]


@pytest.mark.parametrize(
    ("predictor", "text"),
    [
        ({"minReplicas": "many"}, "minReplicas"),
        ({"scaleMetric": "mood"}, "scaleMetric"),
        ({"storageUris": []}, "storageUris"),
        ({"model": {"modelFormat": {"version": "1"}}}, "modelFormat.name"),
        ({"logger": {"mode": "some"}}, "logger.mode"),
    ],
)
def test_a_wrong_value_is_refused(server, predictor, text):
    code, answer = server("POST", f"{PATH}?dryRun=All", service(predictor=predictor))
    assert code == 422
    assert text in answer["message"]


def test_the_runtimes_and_containers_that_the_charm_declares_fit_their_definitions(server):
    with loaded(Path(__file__).parents[2]) as charm:
        declared = charm.manifests(charm.settled())
    found = [each for each in declared if each["apiVersion"].startswith("serving.kserve.io/")]
    assert len(found) > 8
    for each in found:
        path = f"/apis/{each['apiVersion']}/{each['kind'].lower()}s"
        code, answer = server("POST", f"{path}?fieldValidation=Strict&dryRun=All", each)
        assert code == 201, answer
        assert answer["spec"].items() >= each["spec"].items()


def test_the_table_shows_what_upstream_s_shows(server):
    code, _ = server("POST", PATH, GOOD["a model"])
    assert code == 201
    traffic = [
        {"tag": "prev", "percent": 90, "revisionName": "wine-1"},
        {"latestRevision": True, "percent": 10, "revisionName": "wine-2"},
    ]
    _, made = server("GET", f"{PATH}/wine")
    status = {
        "url": "http://wine",
        "conditions": [{"type": "Ready", "status": "True"}],
        "components": {"predictor": {"traffic": traffic}},
    }
    code, answer = server("PUT", f"{PATH}/wine/status", {**made, "status": status})
    assert code == 200, answer
    code, table = server.table(PATH)
    assert code == 200
    names = [column["name"] for column in table["columnDefinitions"]]
    (row,) = table["rows"]
    shown = dict(zip(names, row["cells"], strict=True))
    shown.pop("Age")
    assert shown == {
        "Name": "wine",
        "URL": "http://wine",
        "Ready": "True",
        "Prev": 90,
        "Latest": 10,
        "PrevRolledoutRevision": "wine-1",
        "LatestReadyRevision": "wine-2",
    }
