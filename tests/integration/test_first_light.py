"""The slice from `juju deploy` to a prediction, with the real programs; then without a trace.

The tests of this file run in order on one model: each builds on what the one before has shown.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jubilant
import pytest
import yaml
from models import model_names
from reach import EngineReach, Reach, cluster_objects
from serving import artifact_in_bucket, serve

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "first-model"
BUNDLE = ROOT / "bundle" / "core.yaml"
APPLICATIONS = set(yaml.safe_load(BUNDLE.read_text())["applications"])
SETTLE_SECONDS = 900.0

sys.path.insert(0, str(EXAMPLE))
from predict import predict  # noqa: E402 # pyright: ignore[reportMissingImports]


@pytest.fixture(scope="module")
def juju() -> Iterator[jubilant.Juju]:
    """A model that the last test of this file destroys itself, to look at what is left."""
    name = f"first-light-{secrets.token_hex(3)}"
    juju = jubilant.Juju()
    juju.add_model(name)
    yield juju
    if name in model_names(juju):
        juju.destroy_model(name, destroy_storage=True, force=True)


@pytest.fixture(scope="module")
def before(reach: Reach, charms: Path) -> set[str]:
    """The cluster's objects before the model exists."""
    return cluster_objects(reach)


@pytest.fixture(scope="module")
def stack(before: set[str], juju: jubilant.Juju) -> jubilant.Juju:
    """The model with the core bundle deployed and settled."""
    juju.deploy(BUNDLE, trust=True)
    juju.wait(jubilant.all_active, error=jubilant.any_error, timeout=SETTLE_SECONDS)
    juju.wait(jubilant.all_agents_idle, error=jubilant.any_error, timeout=SETTLE_SECONDS)
    return juju


@pytest.fixture(scope="module")
def namespace(stack: jubilant.Juju) -> str:
    """The Kubernetes namespace of the model."""
    return stack.show_model().short_name


@pytest.fixture(scope="module")
def trained(stack: jubilant.Juju, reach: Reach, namespace: str) -> dict:
    """What the example's training script printed: the registered model and its own answers."""
    with reach.forward(namespace, "mlflow", 5000) as url:
        done = subprocess.run(
            [training_python(), str(EXAMPLE / "train.py"), url],
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def training_python() -> str:
    """A Python with the training client's libraries, kept in the cache."""
    from localjuju.images.training import python

    return str(python())


@pytest.fixture(scope="module")
def served(stack: jubilant.Juju, reach: Reach, namespace: str, trained: dict) -> str:
    """The name of an InferenceService made from the registry's artifact, ready to answer."""
    document = yaml.safe_load((EXAMPLE / "inference-service.yaml").read_text())
    uri = artifact_in_bucket(stack, trained["artifact_uri"])
    return serve(reach, namespace, document, uri)


def answers(reach: Reach, namespace: str, name: str, trained: dict) -> list[int]:
    """The served model's predictions for the held-out rows."""
    with reach.forward(namespace, f"{name}-predictor", 80) as url:
        return predict(url, name, trained["inputs"])


def test_every_unit_settles_without_an_error_on_the_way(stack: jubilant.Juju):
    status = stack.status()
    assert set(status.apps) == APPLICATIONS
    for application in status.apps.values():
        assert application.app_status.current == "active"
        for name, unit in application.units.items():
            assert (unit.workload_status.current, unit.juju_status.current) == ("active", "idle")
            history = json.loads(
                stack.cli("show-status-log", name, "--format", "json", "-n", "1000")
            )
            assert history, f"{name} has no history"
            assert not [entry for entry in history if entry["status"] == "error"]


def test_only_the_broker_is_trusted(stack: jubilant.Juju):
    trusted = {
        name
        for name in APPLICATIONS
        if json.loads(stack.cli("config", name, "--format", "json"))
        .get("application-config", {})
        .get("trust", {})
        .get("value")
        is True
    }
    assert trusted == {"resource-broker"}


@pytest.mark.parametrize("application", sorted(APPLICATIONS - {"resource-broker"}))
@pytest.mark.parametrize("container", ["charm", "watcher"])
def test_no_application_reaches_into_the_broker_s_pod(
    stack: jubilant.Juju, reach: Reach, namespace: str, application: str, container: str
):
    """Juju's own role lets every application of the model exec into every pod of it."""
    who = f"system:serviceaccount:{namespace}:{application}"
    with pytest.raises(subprocess.CalledProcessError) as refused:
        reach.kubectl(
            "-n", namespace, "exec", "resource-broker-0", "-c", container, f"--as={who}",
            "--", "true",
        )  # fmt: skip
    assert "nobody may reach into the broker's pod" in refused.value.stderr


def test_a_cluster_object_that_somebody_deletes_comes_back_at_once(
    stack: jubilant.Juju, reach: Reach, namespace: str
):
    name = "configmap/inferenceservice-config"
    reach.kubectl("-n", namespace, "delete", name)
    reach.kubectl("-n", namespace, "wait", "--for=create", name, "--timeout=60s")


@pytest.mark.parametrize(
    ("allowed", "verb", "resource", "everywhere"),
    [
        (True, "list", "inferenceservices.serving.kserve.io", True),
        (True, "update", "inferenceservices.serving.kserve.io/status", True),
        (True, "create", "deployments.apps", True),
        (True, "watch", "clusterservingruntimes.serving.kserve.io", True),
        (False, "create", "secrets", True),
        (False, "update", "secrets", True),
        (False, "delete", "secrets", True),
        (False, "*", "*", True),
        (False, "create", "clusterrolebindings.rbac.authorization.k8s.io", True),
        (False, "escalate", "clusterroles.rbac.authorization.k8s.io", True),
        (False, "delete", "customresourcedefinitions.apiextensions.k8s.io", True),
        (False, "delete", "namespaces", True),
    ],
)
def test_kserve_controller_has_the_rights_it_needs_and_no_more(
    stack: jubilant.Juju,
    reach: Reach,
    namespace: str,
    allowed: bool,
    verb: str,
    resource: str,
    everywhere: bool,
):
    account = f"system:serviceaccount:{namespace}:kserve-controller"
    scope = ["--all-namespaces"] if everywhere else ["-n", namespace]
    try:
        answer = reach.kubectl("auth", "can-i", verb, resource, "--as", account, *scope).strip()
    except subprocess.CalledProcessError as error:
        answer = error.stdout.strip()
    assert answer == ("yes" if allowed else "no")


def test_the_better_of_two_models_is_the_champion(trained: dict):
    assert trained["best"] == min(trained["losses"], key=trained["losses"].get)
    assert len(trained["losses"]) == 2


def test_predictions_equal_the_model_s_own(
    reach: Reach, namespace: str, served: str, trained: dict
):
    assert answers(reach, namespace, served, trained) == trained["expected"]


@pytest.mark.localjuju
def test_predictions_are_the_same_after_the_engine_was_killed(
    stack: jubilant.Juju, reach: EngineReach, namespace: str, served: str, trained: dict
):
    reach.kill()
    reach.start()
    stack.wait(jubilant.all_active, error=jubilant.any_error, timeout=SETTLE_SECONDS)
    # The InferenceService's own condition is from before, until its controller runs again.
    reach.kubectl(
        "-n", namespace, "rollout", "status", f"deployment/{served}-predictor", "--timeout=180s"
    )
    assert answers(reach, namespace, served, trained) == trained["expected"]


def test_removal_leaves_nothing(stack: jubilant.Juju, reach: Reach, before: set[str], served: str):
    # else the broker keeps what users made: here an InferenceService, and so its definition
    stack.config("resource-broker", {"remove-custom-resources": True})
    for application in ("kserve-controller", "mlflow", "object-store", "mariadb"):
        stack.remove_application(application, destroy_storage=True)
    stack.wait(lambda status: set(status.apps) == {"resource-broker"}, timeout=SETTLE_SECONDS)
    stack.remove_application("resource-broker")
    stack.wait(lambda status: not status.apps, timeout=SETTLE_SECONDS)
    ours = {name for name in cluster_objects(reach) - before if not name.startswith("namespace")}
    # Juju keeps the namespace, and on a real controller its own roles, until the model goes.
    assert not {name for name in ours if "kserve" in name or "resource-broker" in name}


@pytest.mark.juju_teardown
def test_the_destroyed_model_leaves_nothing(stack: jubilant.Juju, reach: Reach, before: set[str]):
    model = stack.model
    assert model
    stack.destroy_model(model, destroy_storage=True, force=True)
    assert cluster_objects(reach) - before == set()
