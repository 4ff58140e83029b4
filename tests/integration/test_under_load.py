"""Requests go on while applications scale, and none fails."""

from __future__ import annotations

import json
import threading
from typing import Any

import jubilant
from browsers import namespace_of, settle
from intruders import Pod, pod
from reach import Reach

# Asks with several connections at once until its file is there and it asked often enough; every
# other request has a connection of its own. One that is closed with nothing answered is asked
# again, once, as browsers and HTTP libraries do.
ASKING = """
import collections, http.client, json, pathlib, ssl, sys, threading, time

host, path, token, stop, enough, ca = sys.argv[1:]
context = ssl.create_default_context(cadata=ca)
headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
count, times, again = collections.Counter(), [], []

def ask(connection):
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    return str(answer.status)

def work():
    kept = None
    while not pathlib.Path(stop).exists() or len(times) < int(enough):
        begin = time.monotonic()
        for attempt in (1, 2):
            fresh = kept is None
            connection = kept or http.client.HTTPSConnection(
                host, 8443, timeout=30, context=context
            )
            try:
                said = ask(connection)
                kept = connection if fresh else connection.close()
            except (ConnectionError, http.client.RemoteDisconnected) as error:
                kept, said = None, type(error).__name__
                again.append(said)
                continue
            except OSError as error:
                kept, said = None, f"{type(error).__name__}: {error}"
            break
        count[said] += 1
        times.append(time.monotonic() - begin)

workers = [threading.Thread(target=work) for _ in range(4)]
[each.start() for each in workers]
[each.join() for each in workers]
times.sort()
print(json.dumps({"answers": count, "again": len(again), "median": times[len(times) // 2],
                  "p99": times[len(times) * 99 // 100]}))
"""
STOP = "import pathlib, sys; pathlib.Path(sys.argv[1]).touch(); print('{}')"
ENOUGH = 2000


class Asking:
    """Requests to MLflow through the gateway, from a pod, until `stop`."""

    def __init__(self, client: Pod, *arguments: str):
        self._client, self._found = client, dict[str, Any]()
        self._stop = f"/tmp/stop-{id(self)}"
        host, path, token, ca = arguments

        def run() -> None:
            enough = str(ENOUGH)
            self._found = client.run(ASKING, host, path, token, self._stop, enough, ca)

        self._thread = threading.Thread(target=run)
        self._thread.start()

    def stop(self) -> dict[str, Any]:
        """What came of them."""
        self._client.run(STOP, self._stop)
        self._thread.join()
        return self._found


def test_no_request_fails_while_mlflow_scales_to_three_and_back(
    stack: jubilant.Juju, reach: Reach, team: str
):
    model = namespace_of(stack)
    ca = stack.run("gateway/0", "get-ca").results["ca"]
    audience = "--audience=charmed-mlops"
    token = reach.kubectl("-n", team, "create", "token", "default-editor", audience).strip()
    with pod(reach, team, "client") as client:
        asking = Asking(client, f"gateway.{model}.svc.cluster.local", "/mlflow/health", token, ca)
        try:
            for units in (3, 1):
                stack.cli("scale-application", "mlflow", str(units))
                stack.wait(lambda s, n=units: len(s.apps["mlflow"].units) == n, timeout=600)
                settle(stack)
        finally:
            found = asking.stop()
    print(json.dumps(found))
    assert found["answers"].keys() == {"200"}, found
    assert found["answers"]["200"] >= ENOUGH, found
