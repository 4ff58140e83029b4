"""Katib, Kubeflow Trainer and its forerunner, the real programs: an experiment finds parameters, a
job has nodes, a job of the first training API runs to its end.

The tests of this file run in order on one model.
"""

from __future__ import annotations

import base64
import json
import secrets
import socket
import ssl
import subprocess
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jubilant
import pytest
import yaml
from bundles import deploy_part
from reach import Reach

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "tuning"
LEFT_OUT = ("mlflow", "object-store", "kserve-controller")


@pytest.fixture(scope="module")
def stack(juju: jubilant.Juju, charms: Path, tmp_path_factory: pytest.TempPathFactory):
    """What the two need of the bundle, with their overlays, deployed and settled."""
    folder = tmp_path_factory.mktemp("bundle")
    return deploy_part(
        juju,
        charms,
        folder,
        ("tuning", "training", "training-v1"),
        lambda name: name not in LEFT_OUT,
    )


@pytest.fixture(scope="module")
def team(stack: jubilant.Juju, reach: Reach) -> Iterator[str]:
    """A namespace of users, whose pods may have metrics collected."""
    name = f"team-{secrets.token_hex(3)}"
    labels = {"katib.kubeflow.org/metrics-collector-injection": "enabled"}
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": labels},
    }
    reach.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(namespace))
    yield name
    reach.kubectl("delete", "namespace", name, "--timeout=300s")


@pytest.fixture(scope="module")
def experiment(team: str, reach: Reach) -> dict[str, Any]:
    """The example's experiment, when it has ended."""
    reach.kubectl("-n", team, "apply", "-f", str(EXAMPLES / "experiment.yaml"))
    reach.kubectl(
        "-n", team, "wait", "experiment/wine", "--for=condition=Succeeded", "--timeout=540s"
    )
    return json.loads(reach.kubectl("-n", team, "get", "experiment/wine", "-o", "json"))


def test_an_experiment_finds_parameters_by_real_trials(experiment: dict[str, Any]):
    status = experiment["status"]
    assert status["trialsSucceeded"] == experiment["spec"]["maxTrialCount"]
    best = status["currentOptimalTrial"]
    (metric,) = best["observation"]["metrics"]
    assert metric["name"] == "accuracy"
    assert 0.9 < float(metric["latest"]) <= 1  # scikit-learn's wine data, cross-validated
    assert {each["name"] for each in best["parameterAssignments"]} == {"c", "tol"}


def test_the_action_lists_what_katib_says(
    stack: jubilant.Juju, team: str, experiment: dict[str, Any]
):
    task = stack.run("katib-controller/0", "list-experiments", {"namespace": team})
    (listed,) = json.loads(task.results["experiments"])
    assert (listed["name"], listed["state"]) == ("wine", "Succeeded")
    assert listed["trials-succeeded"] == experiment["status"]["trialsSucceeded"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"algorithm": {"algorithmName": "guessing"}}, "guessing"),
        ({"maxTrialCount": 1, "parallelTrialCount": 3}, "parallelTrialCount"),
        ({"parameters": []}, "parameters"),
    ],
)
def test_a_malformed_experiment_is_refused_with_the_reason(
    team: str, reach: Reach, experiment: dict[str, Any], change: dict[str, Any], reason: str
):
    documents = list(yaml.safe_load_all((EXAMPLES / "experiment.yaml").read_text()))
    wrong = documents[-1]
    wrong["metadata"]["name"] = "wrong"
    wrong["spec"] |= change
    with pytest.raises(Exception, match="returned non-zero") as failure:
        reach.kubectl("-n", team, "apply", "-f", "-", stdin=yaml.safe_dump(wrong))
    assert reason in getattr(failure.value, "stderr", "")


def test_purge_names_what_it_would_delete_and_then_deletes(
    stack: jubilant.Juju, team: str, reach: Reach, experiment: dict[str, Any]
):
    where = {"namespace": team, "older-than-days": 0}
    first = stack.run("katib-controller/0", "purge", where)
    assert first.results["would-delete"] == f"{team}/wine"
    reach.kubectl("-n", team, "get", "experiment/wine")
    stack.run("katib-controller/0", "purge", where | {"confirm": True})
    reach.kubectl("-n", team, "wait", "experiment/wine", "--for=delete", "--timeout=300s")


def test_a_train_job_has_the_nodes_that_it_asks_for(stack: jubilant.Juju, team: str, reach: Reach):
    reach.kubectl("-n", team, "apply", "-f", str(EXAMPLES / "train-job.yaml"))
    reach.kubectl(
        "-n", team, "wait", "trainjob/two-nodes", "--for=condition=Complete", "--timeout=540s"
    )
    selector = "jobset.sigs.k8s.io/jobset-name=two-nodes"
    logs = reach.kubectl("-n", team, "logs", "-l", selector, "--prefix=false")
    assert sorted(line for line in logs.splitlines() if line.startswith("node")) == [
        "node 0 of 2",
        "node 1 of 2",
    ]
    task = stack.run("trainer/0", "list-jobs", {"namespace": team})
    (listed,) = json.loads(task.results["jobs"])
    assert (listed["name"], listed["nodes"], listed["state"]) == ("two-nodes", 2, "Complete")


def test_a_job_of_a_runtime_that_is_not_there_is_refused(team: str, reach: Reach):
    job = yaml.safe_load((EXAMPLES / "train-job.yaml").read_text())
    job["metadata"]["name"] = "no-runtime"
    job["spec"]["runtimeRef"]["name"] = "nowhere"
    with pytest.raises(Exception, match="returned non-zero") as failure:
        reach.kubectl("-n", team, "apply", "-f", "-", stdin=yaml.safe_dump(job))
    assert "nowhere" in getattr(failure.value, "stderr", "")


def tf_job(name: str, script: str) -> dict[str, Any]:
    """A TFJob of one worker that runs a Python script; any image with Python does."""
    container = {
        "name": "tensorflow",
        "image": "docker.io/library/python:3.12.12-slim",
        "command": ["/usr/local/bin/python3", "-c", script],
    }
    worker = {
        "replicas": 1,
        "restartPolicy": "Never",
        "template": {"spec": {"containers": [container]}},
    }
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "TFJob",
        "metadata": {"name": name},
        "spec": {"tfReplicaSpecs": {"Worker": worker}},
    }


def create_job(reach: Reach, team: str, job: dict[str, Any]) -> None:
    """Creates a job in the team's namespace."""
    reach.kubectl("-n", team, "create", "-f", "-", stdin=yaml.safe_dump(job))


def wait_job(reach: Reach, team: str, name: str, condition: str) -> None:
    """Returns when a TFJob has the condition; fails with what is there in its place."""
    try:
        reach.kubectl(
            "-n", team, "wait", f"tfjob/{name}", f"--for=condition={condition}", "--timeout=540s"
        )
    except subprocess.CalledProcessError as error:
        there = reach.kubectl("-n", team, "get", "tfjobs,pods,events", "-o", "wide")
        pytest.fail(f"{error.stderr}\n{there}")


@pytest.fixture(scope="module")
def first_job(stack: jubilant.Juju, team: str, reach: Reach) -> str:
    """A TFJob that has succeeded; its pods printed what the operator tells them of themselves."""
    script = "import json, os; print(json.loads(os.environ['TF_CONFIG'])['task'])"
    job = tf_job("first", script)
    # a job of one pod is told nothing
    job["spec"]["tfReplicaSpecs"]["PS"] = tf_job("ps", script)["spec"]["tfReplicaSpecs"]["Worker"]
    create_job(reach, team, job)
    wait_job(reach, team, "first", "Succeeded")
    return "first"


def test_a_job_of_the_first_training_api_runs_in_the_team_s_namespace(
    stack: jubilant.Juju, team: str, reach: Reach, first_job: str
):
    logs = reach.kubectl("-n", team, "logs", f"{first_job}-worker-0")
    assert logs.strip() == "{'type': 'worker', 'index': 0}"
    task = stack.run("training-operator/0", "list-jobs", {"namespace": team})
    (listed,) = json.loads(task.results["jobs"])
    assert listed == {
        "kind": "TFJob",
        "namespace": team,
        "name": first_job,
        "replicas": {"PS": 1, "Worker": 1},
        "state": "Succeeded",
    }


def test_a_malformed_job_of_the_first_api_is_refused_with_the_reason(
    team: str, reach: Reach, first_job: str
):
    wrong = tf_job("wrong", "pass")
    worker = wrong["spec"]["tfReplicaSpecs"]["Worker"]
    worker["template"]["spec"]["containers"][0]["name"] = "something"
    with pytest.raises(subprocess.CalledProcessError) as refused:
        create_job(reach, team, wrong)
    assert "must have at least one container with name tensorflow" in refused.value.stderr


def test_a_suspended_job_has_no_pods_until_it_is_resumed(
    stack: jubilant.Juju, team: str, reach: Reach, first_job: str
):
    create_job(reach, team, tf_job("long", "import time; time.sleep(3600)"))
    wait_job(reach, team, "long", "Running")
    which = {"kind": "TFJob", "namespace": team, "name": "long"}
    stack.run("training-operator/0", "suspend", which)
    wait_job(reach, team, "long", "Suspended")
    reach.kubectl("-n", team, "wait", "pod/long-worker-0", "--for=delete", "--timeout=300s")
    stack.run("training-operator/0", "resume", which)
    wait_job(reach, team, "long", "Running")
    reach.kubectl("-n", team, "get", "pod/long-worker-0")
    with pytest.raises(jubilant.TaskError, match="has ended: Succeeded"):
        stack.run("training-operator/0", "suspend", which | {"name": first_job})


def test_the_webhook_of_the_first_api_serves_the_charm_s_certificate(
    stack: jubilant.Juju, reach: Reach, first_job: str
):
    """The operator makes a certificate of its own too; nothing may trust or serve it."""
    namespace = stack.show_model().short_name
    webhooks = json.loads(
        reach.kubectl(
            "get", "validatingwebhookconfiguration", f"{namespace}-training-operator", "-o", "json"
        )
    )["webhooks"]
    (trusted,) = {each["clientConfig"]["caBundle"] for each in webhooks}
    secret = "secret/training-operator-own-certificate"
    own = json.loads(reach.kubectl("-n", namespace, "get", secret, "-o", "json"))["data"]
    assert own["ca.crt"] != trusted
    context = ssl.create_default_context(cadata=base64.b64decode(trusted).decode())
    name = f"training-operator.{namespace}.svc"
    with (
        reach.forward(namespace, "training-operator", 9443) as url,
        socket.create_connection(("127.0.0.1", urllib.parse.urlsplit(url).port or 0)) as plain,
        context.wrap_socket(plain, server_hostname=name) as secured,
    ):
        assert secured.getpeercert()
