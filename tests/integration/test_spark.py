"""A Spark application runs in a tenant's namespace; one that is wrong says why."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jubilant
import pytest
from audit import asked
from reach import EngineReach, Reach

SETTLE_SECONDS = 600.0
END_SECONDS = 300.0
IMAGES = {
    "resource-broker": ("python-image", "docker.io/library/python:3.12.12-slim"),
    "spark-operator": ("oci-image", "ghcr.io/kubeflow/spark-operator/controller:2.5.0"),
}
# The area below 4/(1+x²) from 0 to 1, in parts that executors add up.
SCRIPT = """
from pyspark import SparkContext

context, parts = SparkContext(), 10000
area = lambda number: 4 / (1 + ((number + 0.5) / parts) ** 2) / parts
print(f"pi={context.parallelize(range(parts), 2).map(area).sum():.6f}")
context.stop()
"""


@pytest.fixture(scope="module")
def juju(charms: Path, all_images: None) -> Iterator[jubilant.Juju]:
    """A model with the Spark operator and its broker."""
    juju = jubilant.Juju()
    name = f"spark-{secrets.token_hex(3)}"
    juju.add_model(name)
    for charm, (resource, image) in IMAGES.items():
        trust = charm == "resource-broker"
        juju.deploy(charms / f"{charm}.charm", charm, resources={resource: image}, trust=trust)
    juju.integrate("spark-operator:manifests", "resource-broker:manifests")
    juju.wait(jubilant.all_active, error=jubilant.any_error, timeout=SETTLE_SECONDS)
    yield juju
    juju.destroy_model(name, destroy_storage=True, force=True)


@pytest.fixture(scope="module")
def team(juju: jubilant.Juju, reach: Reach) -> Iterator[str]:
    """A tenant's namespace, whose `default-editor` may do what kubeflow-edit gives."""
    name = f"{juju.show_model().short_name}-team"
    labels = {"app.kubernetes.io/part-of": "kubeflow-profile"}
    objects = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}},
        thing(name, "v1", "ServiceAccount", "default-editor"),
        {
            **thing(name, "rbac.authorization.k8s.io/v1", "RoleBinding", "default-editor"),
            # Kubernetes' own, which has no less than a profile's: there are no profiles here
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": "edit",
            },
            "subjects": [{"kind": "ServiceAccount", "name": "default-editor", "namespace": name}],
        },
        {**thing(name, "v1", "ConfigMap", "script"), "data": {"pi.py": SCRIPT}},
    ]
    apply(reach, *objects)
    yield name
    # while the model is there: definitions whose objects are gone go with it
    reach.kubectl("delete", "namespace", name, "--timeout=300s")


def thing(namespace: str, api: str, kind: str, name: str) -> dict[str, Any]:
    return {
        "apiVersion": api,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
    }


def apply(reach: Reach, *objects: dict[str, Any]) -> None:
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    reach.kubectl("apply", "-f", "-", stdin=text)


def application(namespace: str, name: str, file: str = "pi.py") -> dict[str, Any]:
    """One driver and one executor; the operator's webhook lays the script into the driver."""
    small = {"cores": 1, "coreRequest": "100m", "memory": "512m"}
    return {
        **thing(namespace, "sparkoperator.k8s.io/v1beta2", "SparkApplication", name),
        "spec": {
            "type": "Python",
            "mode": "cluster",
            "image": "docker.io/library/spark:4.0.1",
            "sparkVersion": "4.0.1",
            "mainApplicationFile": f"local:///opt/spark/work-dir/script/{file}",
            "driver": {
                **small,
                "serviceAccount": "default-editor",
                "configMaps": [{"name": "script", "path": "/opt/spark/work-dir/script"}],
            },
            "executor": {**small, "instances": 1},
        },
    }


def ended(reach: Reach, namespace: str, name: str, state: str) -> None:
    """Waits until the application is in that state."""
    path = "jsonpath={.status.applicationState.state}"
    try:
        reach.kubectl(
            "-n", namespace, "wait", f"sparkapplication/{name}", f"--for={path}={state}",
            f"--timeout={END_SECONDS:.0f}s",
        )  # fmt: skip
    except subprocess.CalledProcessError as error:
        there = reach.kubectl("-n", namespace, "get", "pods,events", "-o", "wide")
        found = reach.kubectl("-n", namespace, "get", f"sparkapplication/{name}", "-o", "yaml")
        pytest.fail(f"{error.stderr}\n{there}\n{found}")


@pytest.fixture(scope="module")
def both(juju: jubilant.Juju, reach: Reach, team: str) -> str:
    """The namespace of two applications that have ended; one names a script that is not there."""
    apply(reach, application(team, "pi"), application(team, "lost", "lost.py"))
    ended(reach, team, "pi", "COMPLETED")
    ended(reach, team, "lost", "FAILED")
    return team


def test_an_application_runs_in_its_driver_and_executor(
    juju: jubilant.Juju, reach: Reach, both: str
):
    assert "pi=3.141593" in reach.kubectl("-n", both, "logs", "pi-driver").splitlines()
    task = juju.run("spark-operator/0", "driver-log", {"namespace": both, "name": "pi"})
    assert task.results["pod"] == "pi-driver"
    found = json.loads(reach.kubectl("-n", both, "get", "sparkapplication/pi", "-o", "json"))
    # how it ended is left open: the driver has it deleted while it stops
    assert len(found["status"]["executorState"]) == 1


def test_applications_are_listed_with_their_state_and_why_one_failed(
    juju: jubilant.Juju, both: str
):
    task = juju.run("spark-operator/0", "list-applications", {"namespace": both})
    lost, pi = task.results["applications"].values()
    assert (lost["name"], lost["state"]) == ("lost", "FAILED")
    assert "driver container failed" in lost["reason"]
    assert (pi["name"], pi["state"], pi["attempts"]) == ("pi", "COMPLETED", "1")
    assert "reason" not in pi
    task = juju.run("spark-operator/0", "driver-log", {"namespace": both, "name": "lost"})
    assert "lost.py" in task.results["log"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        # by the operator's webhook
        ({"metadata": {"name": "9lives"}}, 'invalid SparkApplication name "9lives"'),
        # by the definition
        ({"spec": {"type": "Rust"}}, 'Unsupported value: "Rust"'),
    ],
)
def test_a_mistyped_application_is_refused_with_the_reason(
    reach: Reach, team: str, change: dict[str, dict[str, str]], said: str
):
    wrong = application(team, "wrong")
    for part, values in change.items():
        wrong[part] |= values
    with pytest.raises(subprocess.CalledProcessError) as refused:
        apply(reach, wrong)
    assert said in refused.value.stderr


def test_the_operator_leaves_the_webhook_configurations_as_the_broker_made_them(
    juju: jubilant.Juju, reach: Reach
):
    name = f"validatingwebhookconfiguration/{juju.show_model().short_name}-spark-operator"
    found = json.loads(reach.kubectl("get", name, "-o", "json", "--show-managed-fields"))
    managers = {each["manager"] for each in found["metadata"]["managedFields"]}
    assert len(managers) == 1, managers


@pytest.mark.localjuju  # reads the API server's audit log
def test_the_operator_is_refused_nothing_that_it_asks_of_kubernetes(
    juju: jubilant.Juju, reach: EngineReach, both: str
):
    found = asked(reach.audit_log, juju.show_model().short_name)["spark-operator"]
    assert found.allowed
    assert found.refused == set()
