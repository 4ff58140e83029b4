"""A pod in a user's namespace, from which a test tries what it should not reach."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import yaml
from reach import Reach

IMAGE = "docker.io/library/python:3.12.12-slim"
_WAIT = ("/usr/local/bin/python3", "-c", "import time; time.sleep(1e6)")
# Prints whether each host and port takes a connection.
_TRY = """
import json, socket, sys

def answer(host, port):
    try:
        socket.create_connection((host, port), timeout=3).close()
        return "open"
    except OSError:
        return "closed"

print(json.dumps([answer(*each) for each in json.loads(sys.argv[1])]))
"""
# Prints the status and the text of what an address answers.
_ASK = """
import json, sys, urllib.error, urllib.request

request = urllib.request.Request(sys.argv[1], headers=json.loads(sys.argv[2]))
try:
    with urllib.request.urlopen(request, timeout=5) as answer:
        found = answer.status, answer.read().decode(errors="replace")
except urllib.error.HTTPError as error:
    found = error.code, ""
except OSError as error:
    found = 0, str(error)
print(json.dumps(found))
"""


class Pod:
    """A pod with Python in it."""

    def __init__(self, reach: Reach, namespace: str, name: str):
        self._reach, self._place, self._name = reach, ("-n", namespace), name
        self._where = (*self._place, "exec", name, "--")

    def address(self) -> str:
        """Its IP address."""
        path = "jsonpath={.status.podIP}"
        return self._reach.kubectl(*self._place, "get", "pod", self._name, "-o", path)

    def run(self, script: str, *arguments: str) -> Any:
        """What a script prints, read as JSON."""
        said = self._reach.kubectl(
            *self._where, "/usr/local/bin/python3", "-c", script, *arguments
        )
        return json.loads(said)

    def reachable(self, *targets: tuple[str, int]) -> set[tuple[str, int]]:
        """Those of the hosts and ports that take a connection."""
        answers = self.run(_TRY, json.dumps(targets))
        return {each for each, said in zip(targets, answers, strict=True) if said == "open"}

    def ask(self, url: str, **headers: str) -> tuple[int, str]:
        """The status of what is answered, 0 for nothing, and its text; `_` in a header is `-`."""
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        status, text = self.run(_ASK, url, json.dumps(named))
        return status, text


@contextmanager
def pod(
    reach: Reach,
    namespace: str,
    name: str = "intruder",
    account: str = "default",
    run: Sequence[str] = _WAIT,
    **labels: str,
) -> Iterator[Pod]:
    """A pod that waits for what it is told, until the context ends.

    Args:
        reach: the cluster.
        namespace: where it is.
        name: the pod's.
        account: its service account.
        run: what it runs.
        labels: of the pod; `_` in a key is `-`.
    """
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {key.replace("_", "-"): value for key, value in labels.items()},
        },
        "spec": {
            "containers": [{"name": "python", "image": IMAGE, "command": list(run)}],
            "serviceAccountName": account,
            "terminationGracePeriodSeconds": 0,
        },
    }
    reach.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(manifest))
    reach.kubectl(
        "-n", namespace, "wait", f"pod/{name}", "--for=condition=Ready", "--timeout=300s"
    )
    yield Pod(reach, namespace, name)
    reach.kubectl("-n", namespace, "delete", f"pod/{name}", "--timeout=300s")
