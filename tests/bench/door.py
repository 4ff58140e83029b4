"""What the gateway adds to a request: time, as a ratio to a direct one, and processor time."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from localkube.host.errors import EngineError

GATEWAY, TARGET = "gateway", "mlflow"
REQUESTS = 2000
# Asks the target directly and through the gateway in turn, on a connection each, as a program
# does that keeps it; prints each way's seconds and its own processor seconds meanwhile.
_ASK = """
import http.client, json, ssl, sys, time

direct, host, path, token, count = sys.argv[1:]
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
ways = {
    "direct": (http.client.HTTPConnection(direct, 5000, timeout=30), "/health", {}),
    "through the gateway": (
        http.client.HTTPSConnection(host, 8443, timeout=30, context=context),
        path, {"Authorization": f"Bearer {token}"},
    ),
}
seconds = {name: [] for name in ways}
begin = time.process_time()
for _ in range(int(count)):
    for name, (connection, path, headers) in ways.items():
        start = time.perf_counter()
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        answer.read()
        seconds[name].append(time.perf_counter() - start)
        assert answer.status == 200, (name, answer.status)
print(json.dumps({"seconds": seconds, "own": time.process_time() - begin}))
"""


def measure(model: str, look: Callable[[], dict[str, float]]) -> list[tuple[str, str]]:
    """Rows of what it costs, and of what that is measured by.

    The client runs in the gateway's pod, which may reach the target: all other ways are closed.

    Args:
        model: with a gateway and MLflow behind it.
        look: processor seconds so far, by application.

    Raises:
        EngineError: a command failed.
    """
    token = _kubectl("-n", model, "create", "token", "default", "--audience=charmed-mlops").strip()
    hosts = [f"{name}.{model}.svc.cluster.local" for name in (TARGET, GATEWAY)]
    before = look()[GATEWAY]
    said = _kubectl(
        "-n", model, "exec", f"{GATEWAY}-0", "-c", "authorizer", "--",
        "/usr/local/bin/python3", "-c", _ASK, *hosts, f"/{TARGET}/health", token, str(REQUESTS),
    )  # fmt: skip
    after = look()[GATEWAY]
    found: dict[str, Any] = json.loads(said)
    direct, through = (sorted(each) for each in found["seconds"].values())
    each = (after - before - found["own"]) / REQUESTS
    rows = []
    for name, share in (("median", 0.5), ("99 of 100", 0.99)):
        one, other = (times[int(len(times) * share)] for times in (direct, through))
        rows.append((f"{name}: through the gateway / direct", f"{other / one:.2f}"))
    return [
        *rows,
        ("requests per second and core of the gateway", f"{1 / each:.0f}"),
        ("measured by", f"{REQUESTS} requests each way, one at a time, with a token"),
    ]


def _kubectl(*arguments: str) -> str:
    command = [sys.executable, "-m", "installer", "kubectl", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise EngineError(f"kubectl {arguments[2]}: {done.stderr.strip()}")
    return done.stdout
