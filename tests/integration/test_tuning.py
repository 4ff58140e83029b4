"""Katib, Kubeflow Trainer and its forerunner, the real programs: experiments find parameters, the
best are trained again, registered and served in the tenant's namespace, a job has nodes, what goes
wrong says why, a job of the first training API runs to its end.

The tests of this file run in order on the shared model.
"""

from __future__ import annotations

import base64
import json
import math
import re
import socket
import ssl
import subprocess
import sys
import urllib.parse
from pathlib import Path
from typing import Any

import httpx2
import jubilant
import pytest
import yaml
from how_to import block, run
from pages import wait_for
from reach import Reach
from serving import wait_ready

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "tuning"
PAGE = ROOT / "docs" / "how-to" / "tune-train-serve.md"
API = "/mlflow/api/2.0/mlflow"
UNTRAINED = math.log(3)
"""The loss of a model that knows nothing of the wine data's three classes."""
TRIALS = 12
"""Of an experiment by each algorithm."""
TRAINED = 420
"""Seconds in which an experiment or a job of this file ends at the latest, on a busy machine."""

sys.path.insert(0, str(ROOT / "examples" / "first-model"))
from predict import predict  # noqa: E402 # pyright: ignore[reportMissingImports]


@pytest.fixture(scope="module")
def experiment(team: str, reach: Reach) -> dict[str, Any]:
    """The example's experiment, by CMA-ES, when it has ended."""
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
    assert experiment["spec"]["algorithm"]["algorithmName"] == "cmaes"
    assert status["trialsSucceeded"] == experiment["spec"]["maxTrialCount"] == TRIALS
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


@pytest.fixture(scope="module")
def model(
    stack: jubilant.Juju, team: str, reach: Reach, experiment: dict[str, Any]
) -> dict[str, Any]:
    """What the job printed that trained with the best parameters; its model is served."""
    bucket = stack.run("mlflow/0", "get-artifact-location").results["uri"]
    steps = block(PAGE, "3. Train with the best") + block(PAGE, "4. Serve")
    said = run(f'{steps}\necho "$model"', team=team, bucket=bucket)
    return json.loads(said.splitlines()[-1])


def test_the_best_parameters_are_trained_again_in_the_tenant_s_workspace(
    ann: httpx2.Client, bob: httpx2.Client, team: str, experiment: dict[str, Any],
    model: dict[str, Any],
):  # fmt: skip
    ann_s, bob_s = (client.headers | {"X-MLFLOW-WORKSPACE": team} for client in (ann, bob))
    path = f"{API}/model-versions/get?name=tuned-wine&version={model['version']}"
    version = ann.get(path, headers=ann_s)
    assert version.status_code == 200, version.text
    assert bob.get(path, headers=bob_s).status_code == 403
    run_id = version.json()["model_version"]["run_id"]
    data = ann.get(f"{API}/runs/get?run_id={run_id}", headers=ann_s).json()["run"]["data"]
    best = experiment["status"]["currentOptimalTrial"]
    logged = {each["key"]: float(each["value"]) for each in data["params"]}
    assert logged == {each["name"]: float(each["value"]) for each in best["parameterAssignments"]}
    (loss,) = (each["value"] for each in data["metrics"] if each["key"] == "loss")
    assert loss < UNTRAINED


def test_the_registered_model_answers_in_the_tenant_s_namespace(
    team: str, reach: Reach, model: dict[str, Any]
):
    name = "tuned-wine"
    wait_ready(reach, team, name)
    with reach.forward(team, f"{name}-predictor", 80) as url:
        assert predict(url, name, model["inputs"]) == model["expected"]
    reach.kubectl("-n", team, "delete", f"inferenceservice/{name}")


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


def create(reach: Reach, team: str, *documents: dict[str, Any]) -> None:
    """Makes objects in the team's namespace, or changes them."""
    reach.kubectl("-n", team, "apply", "-f", "-", stdin=yaml.safe_dump_all(documents))


def ended(reach: Reach, team: str, name: str, condition: str) -> dict[str, Any]:
    """An experiment, when it has the condition."""
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
    (listed,) = task.results["experiments"].values()
    assert (listed["name"], listed["state"]) == ("wine", "Succeeded")
    assert listed["trials-succeeded"] == str(experiment["status"]["trialsSucceeded"])


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
        create(reach, team, wrong)
    assert reason in getattr(failure.value, "stderr", "")


def pods_of(reach: Reach, team: str, experiment: str) -> list[dict[str, Any]]:
    """Every pod of an experiment's trials."""
    label = f"katib.kubeflow.org/experiment={experiment},katib.kubeflow.org/trial"
    found = reach.kubectl("-n", team, "get", "pods", "-l", label, "-o", "json")
    return json.loads(found)["items"]


def failed(reach: Reach, team: str, document: dict[str, Any]) -> tuple[dict, list[dict]]:
    """Makes an experiment and returns its status and its trials' conditions when it has failed."""
    create(reach, team, document)
    name = document["metadata"]["name"]
    status = ended(reach, team, name, "Failed")["status"]
    (last,) = (each for each in status["conditions"] if each["type"] == "Failed")
    assert "max failed count" in last["message"]
    return status, [trial["status"]["conditions"][-1] for trial in trials_of(reach, team, name)]


ONE = {"maxTrialCount": 1, "parallelTrialCount": 1, "maxFailedTrialCount": 1}


def test_a_metric_that_never_comes_fails_the_experiment(
    team: str, reach: Reach, experiment: dict[str, Any]
):
    objective = {"type": "minimize", "objectiveMetricName": "score"}
    status, (trial,) = failed(reach, team, variant("unmeasured", objective=objective, **ONE))
    assert status["trialMetricsUnavailable"] == 1
    assert (trial["type"], trial["status"]) == ("MetricsUnavailable", "True")
    assert trial["message"].startswith("Metrics are not available")


def test_trials_with_an_option_that_is_not_there_fail_until_there_are_too_many(
    team: str, reach: Reach, experiment: dict[str, Any]
):
    document = variant("mistyped", parallelTrialCount=2, maxFailedTrialCount=2)
    training(document)["command"].append("--epoch-count=4")
    status, trials = failed(reach, team, document)
    assert status["trialsFailed"] >= 2
    reasons = {(each["type"], each["message"].partition(".")[0]) for each in trials}
    assert ("Failed", "Trial has failed") in reasons
    # A trial that was to replace the first may still be about to start: it has no log yet.
    failures = [
        pod["metadata"]["name"]
        for pod in pods_of(reach, team, "mistyped")
        if pod["status"]["phase"] == "Failed"
    ]
    assert len(failures) >= 2
    for pod in failures:
        said = reach.kubectl("-n", team, "logs", pod, "-c", "metrics-logger-and-collector")
        assert "unrecognized arguments: --epoch-count=4" in said


def test_a_trial_that_goes_over_its_memory_says_so(
    team: str, reach: Reach, experiment: dict[str, Any]
):
    document = variant("greedy", **ONE)
    training(document)["resources"] = {"limits": {"memory": "32Mi"}}
    _, (trial,) = failed(reach, team, document)
    assert (trial["type"], trial["status"]) == ("Failed", "True")
    (pod,) = pods_of(reach, team, "greedy")
    (state,) = (
        each["state"]["terminated"]
        for each in pod["status"]["containerStatuses"]
        if each["name"] == "training"
    )
    assert (state["reason"], state["exitCode"]) == ("OOMKilled", 137)


def has(trial: dict[str, Any], condition: str) -> bool:
    """Whether a condition of a trial is true."""
    return any(
        (each["type"], each["status"]) == (condition, "True")
        for each in trial["status"]["conditions"]
    )


def logs_of(reach: Reach, team: str, trials: list[str]) -> str:
    """What the metrics collectors of trials have said."""
    return "\n".join(
        reach.kubectl("-n", team, "logs", f"-lkatib.kubeflow.org/trial={name}", "-c",
                      "metrics-logger-and-collector", "--tail=20", "--prefix")
        for name in trials
    )  # fmt: skip


@pytest.fixture(scope="module")
def later(team: str, reach: Reach, experiment: dict[str, Any]) -> None:
    """Two experiments that are made after others have failed, and run beside one another."""
    stopping = yaml.safe_load(block(PAGE, "2. Tune", "yaml"))
    stopped = variant("random", algorithm={"algorithmName": "random"}, **stopping)
    training(stopped)["command"].append("--pause=1")  # an epoch is over too soon to stop it
    create(reach, team, stopped, variant("tpe", algorithm={"algorithmName": "tpe"}))


@pytest.mark.parametrize("algorithm", ["random", "tpe"])
def test_after_failures_other_algorithms_find_parameters(
    team: str, reach: Reach, later: None, algorithm: str
):
    status = ended(reach, team, algorithm, "Succeeded")["status"]
    trials = trials_of(reach, team, algorithm)
    tried = {
        tuple(each["value"] for each in trial["spec"]["parameterAssignments"]) for trial in trials
    }
    assert len(tried) == len(trials) == TRIALS
    lost = [each["metadata"]["name"] for each in trials if has(each, "Failed")]
    said = logs_of(reach, team, lost)
    # Katib's collector fails a trial whose training ends by itself while it is about to stop it:
    # cmd/metricscollector/v1beta1/file-metricscollector/main.go
    assert len(lost) <= (algorithm == "random"), said
    assert not lost or re.search("children proc|terminate child process", said), said
    well = status["trialsSucceeded"] + status.get("trialsEarlyStopped", 0)
    assert well + len(lost) == TRIALS, status
    best = status["currentOptimalTrial"]
    assert float(metrics(best)["loss"]["min"]) < UNTRAINED


def test_a_trial_that_does_worse_than_the_median_is_stopped_early(
    team: str, reach: Reach, later: None
):
    status = ended(reach, team, "random", "Succeeded")["status"]
    assert status["trialsEarlyStopped"] >= 1
    assert status["trialsSucceeded"] >= 2
    name = status["earlyStoppedTrialList"][0]
    stopped = json.loads(reach.kubectl("-n", team, "get", "trial", name, "-o", "json"))["status"]
    best = status["currentOptimalTrial"]
    assert float(metrics(stopped)["loss"]["min"]) > float(metrics(best)["loss"]["min"])


def test_purge_names_what_it_would_delete_and_then_deletes(
    stack: jubilant.Juju, team: str, reach: Reach, experiment: dict[str, Any]
):
    where = {"namespace": team, "older-than-days": 0}
    first = stack.run("katib-controller/0", "purge", where)
    names = reach.kubectl("-n", team, "get", "experiments", "-o", "name").split()
    there = {name.replace("experiment.kubeflow.org", team) for name in names}
    assert f"{team}/wine" in there
    assert set(first.results["would-delete"].split(",")) == there
    stack.run("katib-controller/0", "purge", where | {"confirm": True})
    reach.kubectl("-n", team, "wait", "experiments", "--all", "--for=delete", "--timeout=300s")


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
    create(reach, team, data, job)
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
    jobs = task.results["jobs"].values()
    (listed,) = [each for each in jobs if each["name"] == "two-nodes"]
    assert (listed["nodes"], listed["state"]) == ("2", "Complete")


def test_a_job_whose_pod_is_killed_in_the_middle_ends_well(team: str, reach: Reach, alone: float):
    _, job = yaml.safe_load_all((EXAMPLES / "train-job.yaml").read_text())
    job["metadata"]["name"] = "killed"
    job["spec"]["trainer"]["command"].append("--pause=0.3")
    create(reach, team, job)
    second = "jobset.sigs.k8s.io/jobset-name=killed,batch.kubernetes.io/job-completion-index=1"
    wait_for(lambda: "node 1 of 2: step 20" in printed(reach, team, second))
    reach.kubectl("-n", team, "delete", "pod", "-l", second, "--force", "--grace-period=0")
    assert loss(reach, team, "killed") == pytest.approx(alone, abs=1e-5)
    jobset = json.loads(reach.kubectl("-n", team, "get", "jobset/killed", "-o", "json"))
    assert jobset["status"]["restarts"] == 1


def printed(reach: Reach, team: str, label: str) -> str:
    """What pods have printed so far; empty before they run."""
    try:
        return reach.kubectl("-n", team, "logs", "-l", label, "--tail=-1")
    except subprocess.CalledProcessError:
        return ""


def test_a_job_of_a_runtime_that_is_not_there_is_refused(team: str, reach: Reach):
    _, job = yaml.safe_load_all((EXAMPLES / "train-job.yaml").read_text())
    job["metadata"]["name"] = "no-runtime"
    job["spec"]["runtimeRef"]["name"] = "nowhere"
    with pytest.raises(Exception, match="returned non-zero") as failure:
        create(reach, team, job)
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
    (listed,) = task.results["jobs"].values()
    assert listed == {
        "kind": "TFJob",
        "namespace": team,
        "name": first_job,
        "replicas": "PS=1, Worker=1",
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
