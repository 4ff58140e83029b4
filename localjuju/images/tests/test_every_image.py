"""Every image of the catalogue starts: as its user, with all that its programs need.

What is not in the cache is made first, which takes minutes for some.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any

import pytest

from localjuju.images import Catalogue, layers
from localjuju.images.entries import AgentEntry, Entry, GoEntry
from localkube.tests.clusters import Cluster, wait_until

pytestmark = [
    pytest.mark.localkube,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]

_CATALOGUE = Catalogue.load()
# Of images that have no entrypoint, or whose entrypoint takes no arguments of ours.
_COMMANDS = {
    "charm-base": ["python3", "-c", "import ssl"],
    "mariadb": ["mariadbd", "--version"],
    "python": ["python3", "-c", "import ssl, sqlite3"],
    "mlflow": ["mlflow", "--version"],
    "mlflow-integration": ["mlflow", "--version"],
    "mlserver": ["mlserver", "--version"],
    "spark": ["/opt/spark/bin/spark-submit", "--version"],
    "pytorch": ["python3", "-c", "import torch"],
    "caddy": ["caddy", "version"],
    "jupyter-scipy": ["jupyter-lab", "--version"],
    "jupyter-web-app": ["gunicorn", "--check-config", "entrypoint:app"],
    "tensorboards-web-app": ["gunicorn", "--check-config", "entrypoint:app"],
    "volumes-web-app": ["gunicorn", "--check-config", "entrypoint:app"],
    "tensorflow": ["tensorboard", "--version"],
    "kfp-api-server": ["/bin/apiserver", "--help"],
    "kfp-frontend": ["node", "--help"],
}
_LACKS = (
    ": not found", "executable file not found", "No module named", "ImportError",
    "cannot open shared object", "format error", "Permission denied",
)  # fmt: skip
_WITHOUT_SHELL = (AgentEntry, GoEntry)
_SERVES_SECONDS = 10  # after which a program that has not ended is one that serves


@pytest.mark.parametrize("reference", _CATALOGUE.references())
def test_an_image_starts_as_its_user_and_lacks_nothing(cluster: Cluster, reference: str):
    entry = _CATALOGUE.find(reference)
    layers.find(reference)  # made in no test's time
    cluster.create(_pod(entry))
    try:
        state = _ended(cluster)
        said = cluster.kubectl("logs", "image", "-c", "program")
        assert not [text for text in _LACKS if text in said], said
        assert state.get("reason") != "StartError", state
        assert state.get("exitCode") not in (126, 127), (state, said)
        if not isinstance(entry, _WITHOUT_SHELL):
            assert cluster.kubectl("logs", "image", "-c", "user") == f"{entry.ids()[0]}\n"
    finally:
        cluster.kubectl("delete", "pod/image", "--timeout=60s")


def _pod(entry: Entry) -> dict[str, Any]:
    """A pod whose program is asked something that it answers at once, or does not know."""
    name = entry.reference.rpartition("/")[2].partition(":")[0]
    program: dict[str, Any] = {"name": "program", "image": entry.reference}
    if name in _COMMANDS:
        program["command"] = _COMMANDS[name]
    else:
        program["args"] = ["--help"]
    containers = [program]
    if not isinstance(entry, _WITHOUT_SHELL):
        command = ["/bin/sh", "-c", "id -u"]
        containers.append({"name": "user", "image": entry.reference, "command": command})
    elif entry.ids()[0]:  # there is no shell: kubelet looks at the image's user
        program["securityContext"] = {"runAsNonRoot": True}
    spec = {
        "restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "containers": containers,
    }  # fmt: skip
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "image"}, "spec": spec}


def _ended(cluster: Cluster) -> dict[str, Any]:
    """How the program ended; empty where it goes on and serves."""

    def states() -> dict[str, dict[str, Any]]:
        status = json.loads(cluster.kubectl("get", "pod", "image", "-ojson"))["status"]
        return {one["name"]: one["state"] for one in status.get("containerStatuses", ())}

    def begun() -> bool:
        found = states()
        others = [state for name, state in found.items() if name != "program"]
        return (
            bool(found)
            and not any("waiting" in state for state in found.values())
            and all("terminated" in state for state in others)
        )

    wait_until(begun, 180)
    with contextlib.suppress(AssertionError):
        wait_until(lambda: "terminated" in states()["program"], _SERVES_SECONDS)
    return states()["program"].get("terminated", {})
