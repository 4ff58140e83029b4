"""Katib, Kubeflow Trainer and its forerunner, the real programs: an experiment finds parameters, a
job has nodes, a job of the first training API runs to its end.

The tests of this file run in order on one model.
"""

from __future__ import annotations

import base64
import json
import math
import secrets
import socket
import ssl
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jubilant
import pytest
import yaml
from bundles import deploy_part
from how_to import block, run
from reach import Reach
from serving import artifact_in_bucket, serve

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "tuning"
PAGE = ROOT / "docs" / "how-to" / "tune-train-serve.md"
FIRST_MODEL = ROOT / "examples" / "first-model"
UNTRAINED = math.log(3)
"""The loss of a model that knows nothing of the wine data's three classes."""
TRAINED = 420
"""Seconds in which an experiment or a job of this file ends at the latest, on a busy machine."""

sys.path.insert(0, str(FIRST_MODEL))
from predict import predict  # noqa: E402 # pyright: ignore[reportMissingImports]


@pytest.fixture(scope="module")
def stack(juju: jubilant.Juju, charms: Path, tmp_path_factory: pytest.TempPathFactory):
    """What the two need of the bundle, with their overlays, deployed and settled."""
    folder = tmp_path_factory.mktemp("bundle")
    return deploy_part(
        juju,
        charms,
        folder,
        ("tuning", "training", "training-v1"),
        lambda name: True,
    )


@pytest.fixture(scope="module")
def team(stack: jubilant.Juju, reach: Reach) -> Iterator[str]:
    """A namespace of users, whose pods may have metrics collected and reach MLflow."""
    name = f"team-{secrets.token_hex(3)}"
    run(block(PAGE, "1. A namespace"), team=name)
    yield name
    reach.kubectl("delete", "namespace", name, "--timeout=300s")


@pytest.fixture(scope="module")
def experiment(team: str, reach: Reach) -> dict[str, Any]:
    """The example's experiment, when it has ended."""
    run(block(PAGE, "2. Tune"), team=team)
    return json.loads(reach.kubectl("-n", team, "get", "experiment/wine", "-o", "json"))


def metrics(found: dict[str, Any]) -> dict[str, dict[str, str]]:
    """What was observed of a trial, by the metric's name."""
    return {each["name"]: each for each in found["observation"]["metrics"]}


def trials_of(reach: Reach, team: str, experiment: str) -> list[dict[str, Any]]:
    """Every trial of an experiment."""
    label = f"katib.kubeflow.org/experiment={experiment}"
    return json.loads(reach.kubectl("-n", team, "get", "trials", "-l", label, "-o", "json"))[
        "items"
    ]


def test_an_experiment_finds_parameters_by_real_trials(
    team: str, reach: Reach, experiment: dict[str, Any]
):
    status = experiment["status"]
    assert status["trialsSucceeded"] == experiment["spec"]["maxTrialCount"]
    best = status["currentOptimalTrial"]
    losses = [
        float(metrics(trial["status"])["loss"]["min"]) for trial in trials_of(reach, team, "wine")
    ]
    assert float(metrics(best)["loss"]["min"]) == min(losses) < UNTRAINED
    assert len(set(losses)) == len(losses) == status["trialsSucceeded"]
    assert 0.9 < float(metrics(best)["accuracy"]["latest"]) <= 1
    assert {each["name"] for each in best["parameterAssignments"]} == {"rate", "alpha"}


def complete(reach: Reach, team: str, name: str) -> None:
    """Returns when a TrainJob has ended well; fails with what is there in its place."""
    try:
        reach.kubectl(
            "-n", team, "wait", f"trainjob/{name}", "--for=condition=Complete",
            f"--timeout={TRAINED}s",
        )  # fmt: skip
    except subprocess.CalledProcessError as error:
        there = reach.kubectl("-n", team, "get", "trainjobs,jobsets,pods", "-o", "wide")
        pytest.fail(f"{error.stderr}\n{there}")


def test_the_best_parameters_are_trained_again_registered_and_served(
    stack: jubilant.Juju, team: str, reach: Reach, experiment: dict[str, Any]
):
    namespace = stack.show_model().short_name
    said = run(block(PAGE, "3. Train with the best"), team=team, model=namespace)
    model = json.loads(said.splitlines()[-1])
    assert model["version"] == "1"
    document = yaml.safe_load((FIRST_MODEL / "inference-service.yaml").read_text())
    document["metadata"]["name"] = "tuned-wine"
    uri = artifact_in_bucket(stack, model["artifact_uri"])
    name = serve(reach, namespace, document, uri)
    with reach.forward(namespace, f"{name}-predictor", 80) as url:
        assert predict(url, name, model["inputs"]) == model["expected"]
    reach.kubectl("-n", namespace, "delete", f"inferenceservice/{name}")


def variant(name: str, **changes: Any) -> dict[str, Any]:
    """The example's experiment under another name, with changes of its spec."""
    *_, document = yaml.safe_load_all((EXAMPLES / "experiment.yaml").read_text())
    document["metadata"]["name"] = name
    document["spec"] |= changes
    return document


def training(document: dict[str, Any]) -> dict[str, Any]:
    """The container that trains in each trial of an experiment."""
    return document["spec"]["trialTemplate"]["trialSpec"]["spec"]["template"]["spec"][
        "containers"
    ][0]


def ended(reach: Reach, team: str, document: dict[str, Any], condition: str) -> dict[str, Any]:
    """Makes an experiment and returns it when it has the condition."""
    name = document["metadata"]["name"]
    reach.kubectl("-n", team, "apply", "-f", "-", stdin=yaml.safe_dump(document))
    try:
        reach.kubectl(
            "-n", team, "wait", f"experiment/{name}", f"--for=condition={condition}",
            f"--timeout={TRAINED}s",
        )  # fmt: skip
    except subprocess.CalledProcessError as error:
        there = reach.kubectl("-n", team, "get", "experiments,trials,pods", "-o", "wide")
        pytest.fail(f"{error.stderr}\n{there}")
    return json.loads(reach.kubectl("-n", team, "get", f"experiment/{name}", "-o", "json"))


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
    wrong = variant("wrong", **change)
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


@pytest.mark.parametrize("algorithm", ["random", "tpe"])
def test_other_algorithms_find_parameters(
    team: str, reach: Reach, experiment: dict[str, Any], algorithm: str
):
    found = ended(
        reach,
        team,
        variant(algorithm, algorithm={"algorithmName": algorithm}, maxTrialCount=3),
        "Succeeded",
    )
    tried = {
        tuple(each["value"] for each in trial["spec"]["parameterAssignments"])
        for trial in trials_of(reach, team, algorithm)
    }
    assert len(tried) == found["spec"]["maxTrialCount"]
    assert found["status"]["currentOptimalTrial"]["observation"]["metrics"]


def test_a_trial_that_does_worse_than_the_median_is_stopped_early(
    team: str, reach: Reach, experiment: dict[str, Any]
):
    document = variant(
        "median",
        algorithm={"algorithmName": "sobol"},  # spreads the trials evenly: some are worse
        maxTrialCount=6,
        **yaml.safe_load(block(PAGE, "2. Tune", "yaml")),
    )
    training(document)["command"].append("--pause=0.5")  # an epoch is over too soon to stop it
    found = ended(reach, team, document, "Succeeded")
    counts = found["status"]
    assert counts["trialsEarlyStopped"] >= 1
    assert counts["trialsSucceeded"] >= 2
    assert counts["trialsEarlyStopped"] + counts["trialsSucceeded"] == 6
    name = counts["earlyStoppedTrialList"][0]
    stopped = json.loads(reach.kubectl("-n", team, "get", "trial", name, "-o", "json"))["status"]
    best = counts["currentOptimalTrial"]
    assert float(metrics(stopped)["loss"]["min"]) > float(metrics(best)["loss"]["min"])


def loss(reach: Reach, team: str, name: str) -> float:
    """What the first node of a job printed, when all have ended."""
    complete(reach, team, name)
    pods = f"jobset.sigs.k8s.io/jobset-name={name},batch.kubernetes.io/job-completion-index=0"
    said = reach.kubectl("-n", team, "logs", "-l", pods, "--tail=-1", "--prefix=false")
    (line,) = [line for line in said.splitlines() if line.startswith("loss=")]
    return float(line.removeprefix("loss="))


@pytest.fixture(scope="module")
def alone(team: str, reach: Reach) -> float:
    """The loss that one node reaches."""
    data, job = yaml.safe_load_all((EXAMPLES / "train-job.yaml").read_text())
    job["metadata"]["name"] = "one-node"
    job["spec"]["trainer"]["numNodes"] = 1
    reach.kubectl("-n", team, "apply", "-f", "-", stdin=yaml.safe_dump_all([data, job]))
    return loss(reach, team, "one-node")


def test_two_nodes_reach_the_loss_of_one(
    stack: jubilant.Juju, team: str, reach: Reach, alone: float
):
    run(block(PAGE, "On several nodes"), team=team)
    assert loss(reach, team, "two-nodes") == pytest.approx(alone, abs=1e-5)
    selector = "jobset.sigs.k8s.io/jobset-name=two-nodes"
    logs = reach.kubectl("-n", team, "logs", "-l", selector, "--prefix=false", "--tail=-1")
    assert {line for line in logs.splitlines() if line.endswith("step 0")} == {
        "node 0 of 2: step 0",
        "node 1 of 2: step 0",
    }
    task = stack.run("trainer/0", "list-jobs", {"namespace": team})
    (listed,) = [each for each in json.loads(task.results["jobs"]) if each["name"] == "two-nodes"]
    assert (listed["nodes"], listed["state"]) == (2, "Complete")


def test_a_job_of_a_runtime_that_is_not_there_is_refused(team: str, reach: Reach):
    _, job = yaml.safe_load_all((EXAMPLES / "train-job.yaml").read_text())
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
