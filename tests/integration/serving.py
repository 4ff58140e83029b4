"""How a test serves a registered model with KServe."""

from __future__ import annotations

import subprocess

import jubilant
import pytest
import yaml
from reach import Reach


def artifact_in_bucket(juju: jubilant.Juju, artifact_uri: str) -> str:
    """Where a model lies in the object store: the registry's path below MLflow's bucket."""
    path = artifact_uri.removeprefix("mlflow-artifacts:/").lstrip("/")
    location = juju.run("mlflow/0", "get-artifact-location").results["uri"]
    return f"{location.rstrip('/')}/{path}"


def serve(reach: Reach, namespace: str, document: dict, uri: str) -> str:
    """Makes an InferenceService of the model at a URI; its name, when it is ready to answer."""
    document["spec"]["predictor"]["model"]["storageUri"] = uri
    reach.kubectl("-n", namespace, "apply", "-f", "-", stdin=yaml.safe_dump(document))
    name = document["metadata"]["name"]
    wait_ready(reach, namespace, name)
    return name


def wait_ready(reach: Reach, namespace: str, name: str) -> None:
    """Returns when the InferenceService is ready; fails with what its pods say."""
    try:
        reach.kubectl(
            "-n", namespace, "wait", "--for=condition=Ready", f"inferenceservice/{name}",
            "--timeout=300s",
        )  # fmt: skip
    except subprocess.CalledProcessError as error:
        pods = reach.kubectl("-n", namespace, "get", "pods,events,inferenceservice", "-o", "wide")
        pytest.fail(f"{error.stderr}\n{pods}")
