"""Katib and Kubeflow Trainer, the real programs: an experiment finds parameters, a job has nodes.

The tests of this file run in order on one model.
"""

from __future__ import annotations

import json
import secrets
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
        juju, charms, folder, ("tuning", "training"), lambda name: name not in LEFT_OUT
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
    reach.kubectl("delete", "namespace", name, "--timeout=120s")


@pytest.fixture(scope="module")
def experiment(team: str, reach: Reach) -> dict[str, Any]:
    """The example's experiment, when it has ended."""
    reach.kubectl("-n", team, "apply", "-f", str(EXAMPLES / "experiment.yaml"))
    reach.kubectl(
        "-n", team, "wait", "experiment/wine", "--for=condition=Succeeded", "--timeout=400s"
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
    reach.kubectl("-n", team, "wait", "experiment/wine", "--for=delete", "--timeout=120s")


def test_a_train_job_has_the_nodes_that_it_asks_for(stack: jubilant.Juju, team: str, reach: Reach):
    reach.kubectl("-n", team, "apply", "-f", str(EXAMPLES / "train-job.yaml"))
    reach.kubectl(
        "-n", team, "wait", "trainjob/two-nodes", "--for=condition=Complete", "--timeout=300s"
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
