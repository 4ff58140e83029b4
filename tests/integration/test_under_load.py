"""Requests and admissions go on while applications scale and are refreshed, and none fails.

REQUESTS in the environment is another number of requests. They go on until all that is done.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jubilant
import pytest
from browsers import namespace_of, settle
from intruders import IMAGE, Pod, pod
from reach import Reach

pytestmark = pytest.mark.load

# Asks with several connections at once until its file is there and it asked often enough; every
# other request has a connection of its own. One that is closed with nothing answered is asked
# again, once, as browsers and HTTP libraries do.
ASKING = """
import collections, http.client, itertools, json, pathlib, socket, ssl, sys, threading, time

stop, enough, host, address, paths, token, ca = sys.argv[1:]
context = ssl.create_default_context(cadata=ca)
headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
count, times, again = collections.Counter(), [], []
turn = itertools.cycle(json.loads(paths))

def connect():
    made = http.client.HTTPSConnection(host, 8443, timeout=30, context=context)
    # the certificate has the host's name, whatever Service leads there
    made._create_connection = lambda _, *rest: socket.create_connection((address, 443), *rest)
    return made

def ask(connection, path):
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    return str(answer.status)

def work():
    kept = None
    while not pathlib.Path(stop).exists() or len(times) < int(enough):
        begin, path = time.monotonic(), next(turn)
        for attempt in (1, 2):
            fresh = kept is None
            connection = kept or connect()
            try:
                said = ask(connection, path)
                kept = connection if fresh else connection.close()
            except (ConnectionError, http.client.RemoteDisconnected) as error:
                kept, said = None, type(error).__name__
                again.append(said)
                continue
            except OSError as error:
                kept, said = None, f"{type(error).__name__}: {error}"
            break
        count[f"{path} {said}"] += 1
        times.append(time.monotonic() - begin)

workers = [threading.Thread(target=work) for _ in range(4)]
[each.start() for each in workers]
[each.join() for each in workers]
times.sort()
print(json.dumps({"answers": count, "again": len(again), "median": times[len(times) // 2],
                  "p99": times[len(times) * 99 // 100]}))
"""
# Has pods admitted, without making them, until its file is there and there were enough of them.
ADMITTING = """
import collections, http.client, json, pathlib, ssl, sys, threading, time

stop, enough, namespace, token, pod = sys.argv[1:]
context = ssl.create_default_context(
    cafile="/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
)
headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
count = collections.Counter()

def work():
    kept = http.client.HTTPSConnection("kubernetes.default.svc", timeout=30, context=context)
    while not pathlib.Path(stop).exists() or sum(count.values()) < int(enough):
        kept.request("POST", f"/api/v1/namespaces/{namespace}/pods?dryRun=All", pod, headers)
        answer = kept.getresponse()
        found = json.loads(answer.read())
        if answer.status == 201:
            environment = found["spec"]["containers"][0].get("env") or []
            given = any(each["name"] == "GREETING" for each in environment)
            count["given" if given else "not given"] += 1
        else:
            count[f"{answer.status} {found['message']}"] += 1
        time.sleep(0.1)

workers = [threading.Thread(target=work) for _ in range(2)]
[each.start() for each in workers]
[each.join() for each in workers]
print(json.dumps({"answers": count}))
"""
# Runs a script on its own, as scaling may take longer than a command in a pod may: its file has
# what it prints.
BEGIN = """
import subprocess, sys

with open(f"{sys.argv[1]}.out", "w") as out:
    subprocess.Popen([sys.executable, "-c", sys.argv[2], *sys.argv[1:2], *sys.argv[3:]],
                     stdout=out, stderr=out, start_new_session=True)
print("{}")
"""
END = """
import pathlib, sys, time

pathlib.Path(sys.argv[1]).touch()
while not (said := pathlib.Path(f"{sys.argv[1]}.out").read_text()).endswith("\\n"):
    time.sleep(0.1)
print(said)
"""
REQUESTS = int(os.environ.get("REQUESTS", "2000"))
ADMISSIONS = 500
GREETING = {"greet": "true"}


@contextlib.contextmanager
def asking(client: Pod, script: str, enough: int, *arguments: str) -> Iterator[dict[str, Any]]:
    """Runs a script while the context lasts; what came of it, when that has ended.

    Args:
        client: where it runs.
        script: takes a file that is there when it shall stop, `enough`, and the arguments.
        enough: how often it asks at least.
    """
    found: dict[str, Any] = {}
    stop = f"/tmp/stop-{time.monotonic_ns()}"
    client.run(BEGIN, stop, script, str(enough), *arguments)
    try:
        yield found
    finally:
        found.update(client.run(END, stop))
    print(json.dumps(found))


@pytest.fixture
def client(reach: Reach, team: str) -> Iterator[Pod]:
    """A pod of Ann's."""
    with pod(reach, team, "client") as made:
        yield made


@pytest.fixture
def token(reach: Reach, team: str) -> Callable[..., str]:
    """Makes tokens of her service account, for the gateway or for Kubernetes."""

    def make(*audience: str) -> str:
        return reach.kubectl("-n", team, "create", "token", "default-editor", *audience).strip()

    return make


def scale(juju: jubilant.Juju, units: int, *applications: str) -> None:
    """Scales and waits until all is quiet."""
    for name in applications:
        juju.cli("scale-application", name, str(units))
    juju.wait(
        lambda status: all(len(status.apps[name].units) == units for name in applications),
        timeout=600,
    )
    settle(juju)


def pods(juju: jubilant.Juju, reach: Reach, application: str) -> set[str]:
    """The uids of its pods."""
    selector = f"app.kubernetes.io/name={application}"
    found = reach.kubectl("-n", namespace_of(juju), "get", "pods", "-l", selector, "-o", "json")
    return {each["metadata"]["uid"] for each in json.loads(found)["items"]}


def refresh(juju: jubilant.Juju, reach: Reach, charms: Path, *applications: str) -> None:
    """Refreshes, and waits until every pod is another one and all is quiet."""
    before = {name: pods(juju, reach, name) for name in applications}
    for name in applications:
        juju.refresh(name, path=charms / f"{name}.charm")
    juju.wait(
        lambda _: not any(before[name] & pods(juju, reach, name) for name in applications),
        error=jubilant.any_error,
        delay=3,
        timeout=900,
    )
    settle(juju)


@pytest.fixture
def entrance(stack: jubilant.Juju) -> Iterator[str]:
    """The gateway's Service that leads only to units that serve."""
    stack.config("gateway", {"service-type": "NodePort"})
    settle(stack)
    yield f"gateway-external.{namespace_of(stack)}.svc.cluster.local"
    stack.config("gateway", reset="service-type")
    settle(stack)


@pytest.fixture
def load(
    stack: jubilant.Juju, client: Pod, token: Callable[..., str], entrance: str
) -> Callable[..., contextlib.AbstractContextManager[dict[str, Any]]]:
    """Has the client ask for paths through the gateway, with a token of Ann's."""
    host = f"gateway.{namespace_of(stack)}.svc.cluster.local"
    ca = stack.run("gateway/0", "get-ca").results["ca"]

    def asked(enough: int, *paths: str) -> contextlib.AbstractContextManager[dict[str, Any]]:
        machine = token("--audience=charmed-mlops")
        return asking(client, ASKING, enough, host, entrance, json.dumps(paths), machine, ca)

    return asked


def all_answered(found: dict[str, Any], enough: int) -> None:
    """Fails unless every request was answered by 200."""
    assert all(said.endswith(" 200") for said in found["answers"]), found
    assert sum(found["answers"].values()) >= enough, found


def test_no_request_fails_while_mlflow_and_the_gateway_scale_and_change(
    stack: jubilant.Juju, reach: Reach, charms: Path, load: Any
):
    """Three units of each are refreshed, and the certificate is another."""
    with load(REQUESTS, "/mlflow/health") as found:
        scale(stack, 3, "mlflow", "gateway")
        stack.run("gateway/leader", "renew-certificate")
        settle(stack)
        refresh(stack, reach, charms, "mlflow", "gateway")
        scale(stack, 1, "mlflow", "gateway")
    all_answered(found, REQUESTS)


def test_no_call_of_one_application_to_another_fails_while_the_other_scales(
    stack: jubilant.Juju, load: Any
):
    """The page's program passes calls on to the API server, and asks it once."""
    with load(REQUESTS, "/pipeline/apis/v2beta1/healthz") as found:
        scale(stack, 3, "kfp-api")
        scale(stack, 1, "kfp-api")
    all_answered(found, REQUESTS)


@pytest.fixture
def greeted(reach: Reach, team: str) -> Iterator[dict[str, Any]]:
    """A pod that a PodDefault of Ann's gives a variable to."""
    default = {
        "apiVersion": "kubeflow.org/v1alpha1",
        "kind": "PodDefault",
        "metadata": {"name": "greeting"},
        "spec": {
            "desc": "a greeting",
            "selector": {"matchLabels": GREETING},
            "env": [{"name": "GREETING", "value": "hello"}],
        },
    }
    reach.kubectl("-n", team, "create", "-f", "-", stdin=json.dumps(default))
    yield {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "greeted", "labels": GREETING},
        "spec": {"containers": [{"name": "main", "image": IMAGE}]},
    }
    reach.kubectl("-n", team, "delete", "poddefault/greeting")


def test_every_pod_gets_its_settings_while_the_webhook_scales_and_changes(
    stack: jubilant.Juju, reach: Reach, charms: Path, client: Pod, team: str,
    token: Callable[..., str], greeted: dict[str, Any],
):  # fmt: skip
    """Its leader is killed, its key is another, and its three units are refreshed."""
    name = "admission-webhook"
    arguments = (team, token(), json.dumps(greeted))
    with asking(client, ADMITTING, ADMISSIONS, *arguments) as found:
        scale(stack, 3, name)
        units = stack.status().apps[name].units
        (leader,) = [unit for unit, status in units.items() if status.leader]
        gone = f"pod/{leader.replace('/', '-')}"
        reach.kubectl("-n", namespace_of(stack), "delete", gone, "--timeout=120s")
        settle(stack)
        stack.run(f"{name}/leader", "renew-certificate")
        settle(stack)
        refresh(stack, reach, charms, name)
        scale(stack, 1, name)
    assert found["answers"].keys() == {"given"}, found
    assert found["answers"]["given"] >= ADMISSIONS


def test_without_the_webhook_a_tenant_s_pod_is_refused_and_others_are_not(
    stack: jubilant.Juju, reach: Reach, team: str, greeted: dict[str, Any]
):
    create = ("create", "--dry-run=server", "-o", "name", "-f", "-")
    pod = json.dumps(greeted)
    stack.cli("scale-application", "admission-webhook", "0")
    stack.wait(lambda status: not status.apps["admission-webhook"].units, timeout=300)
    try:
        with pytest.raises(subprocess.CalledProcessError) as refused:
            reach.kubectl("-n", team, *create, stdin=pod)
        assert "failed calling webhook" in refused.value.stderr
        assert reach.kubectl("-n", "default", *create, stdin=pod) == "pod/greeted\n"
    finally:
        scale(stack, 1, "admission-webhook")
    assert reach.kubectl("-n", team, *create, stdin=pod) == "pod/greeted\n"
