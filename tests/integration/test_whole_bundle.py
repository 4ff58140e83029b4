"""Day two of the whole bundle: all is refreshed, a part goes and returns, all goes for good.

What users made is there after each step, and at the end there is nothing else. Last on the shared
model, which it destroys.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jubilant
import pytest
import yaml
from audit import refused
from browsers import namespace_of, settle
from people import Accounts, gone, new_profile
from reach import EngineReach, Reach, cluster_objects

pytestmark = pytest.mark.last
ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "bundle" / "overlays" / "notebooks.yaml"
REMOVAL_SECONDS = 900.0
KEPT = "charmed-mlops.io/kept=true"
IMAGE = "docker.io/jujusolutions/charm-base:ubuntu-24.04"
"""An image that is there already: of the charms."""
# One thing of each kind that a charm defines and users make; the jobs wait to be resumed.
MADE = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: home}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 100Mi}}}
---
apiVersion: kubeflow.org/v1
kind: Notebook
metadata: {name: lab}
spec:
  template:
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: lab
        image: IMAGE
        command: [/bin/sleep, infinity]
        volumeMounts: [{name: home, mountPath: /home/jovyan}]
      volumes:
      - {name: home, persistentVolumeClaim: {claimName: home}}
---
apiVersion: kubeflow.org/v1alpha1
kind: PodDefault
metadata: {name: own}
spec:
  desc: a user's own
  selector: {matchLabels: {own: "true"}}
  env: [{name: OWN, value: "1"}]
---
apiVersion: trainer.kubeflow.org/v1alpha1
kind: TrainJob
metadata: {name: train}
spec:
  suspend: true
  runtimeRef: {name: torch-distributed}
  trainer: {image: IMAGE, command: [/bin/true]}
---
apiVersion: kubeflow.org/v1
kind: TFJob
metadata: {name: train}
spec:
  runPolicy: {suspend: true}
  tfReplicaSpecs:
    Worker:
      replicas: 1
      template:
        spec:
          containers: [{name: tensorflow, image: IMAGE, command: [/bin/true]}]
---
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {name: flow}
spec:
  suspend: true
  entrypoint: main
  templates:
  - {name: main, container: {image: IMAGE, command: [/bin/true]}}
""".replace("IMAGE", IMAGE)
EXEC = ("exec", "lab-0", "--", "sh", "-c")


class Tenant(NamedTuple):
    """A namespace with what its owner made.

    Attributes:
        name: of the namespace.
        uids: what she made, by `kind/name`: the notebook's pod, too.
    """

    name: str
    uids: dict[str, str]


def uids(reach: Reach, namespace: str) -> dict[str, str]:
    """What MADE is now, the pod of its notebook, its namespace and profile."""
    found = json.loads(reach.kubectl("-n", namespace, "get", "-f", "-", "-o", "json", stdin=MADE))[
        "items"
    ]
    found.append(json.loads(reach.kubectl("-n", namespace, "get", "pod/lab-0", "-o", "json")))
    for kind in ("namespace", "profile"):
        found.append(json.loads(reach.kubectl("get", kind, namespace, "-o", "json")))
    return {
        f"{each['kind']}/{each['metadata']['name']}": each["metadata"]["uid"] for each in found
    }


@pytest.fixture(scope="module")
def tenant(
    stack: jubilant.Juju, reach: Reach, accounts: Accounts, leaving: list[str]
) -> Iterator[Tenant]:
    """Ann's namespace, the only one; what is left of it is removed without any charm."""
    gone(reach, leaving)
    name = new_profile(stack, reach, accounts.ann.email)
    reach.kubectl("-n", name, "create", "-f", "-", stdin=MADE)
    ready = "--for=jsonpath={.status.readyReplicas}=1"
    reach.kubectl("-n", name, "wait", "notebook/lab", ready, "--timeout=300s")
    reach.kubectl("-n", name, *EXEC, "echo mine >/home/jovyan/kept")
    yield Tenant(name, uids(reach, name))
    # its finalizer is the controller's, which has gone: docs/how-to/remove.md
    reach.kubectl("patch", "profile", name, "--type=merge", "-p", '{"metadata":{"finalizers":[]}}')
    reach.kubectl("delete", "profile", name, "--timeout=300s")
    reach.kubectl("delete", "namespace", name, "--ignore-not-found", "--timeout=300s")
    reach.kubectl("delete", "crd", "-l", KEPT, "--timeout=300s")


def notebooks() -> list[str]:
    """The applications of the overlay of notebooks."""
    document = yaml.safe_load(NOTEBOOKS.read_text())["applications"]
    return [name for name, spec in document.items() if "charm" in spec]


def remove(juju: jubilant.Juju, *applications: str) -> None:
    """Removes applications and waits until they have gone."""
    for name in applications:
        juju.remove_application(name, destroy_storage=True)
    juju.wait(
        lambda status: not set(applications) & set(status.apps),
        error=jubilant.any_error,
        timeout=REMOVAL_SECONDS,
    )


def charm_pods(stack: jubilant.Juju, reach: Reach) -> dict[str, str]:
    """The uid of each unit's pod."""
    names = [unit.replace("/", "-") for app in stack.status().apps.values() for unit in app.units]
    found = reach.kubectl("-n", namespace_of(stack), "get", "pods", *names, "-o", "json")
    return {
        each["metadata"]["name"]: each["metadata"]["uid"] for each in json.loads(found)["items"]
    }


@pytest.mark.localjuju
def test_no_application_has_been_refused_what_it_needs_of_kubernetes(
    stack: jubilant.Juju, reach: EngineReach
):
    """By the tests of the same engine; `test_roles.py` asks the same of the others."""
    assert refused(reach.audit_log, stack) == set()


def test_a_refresh_of_every_application_keeps_what_users_made(
    stack: jubilant.Juju, reach: Reach, charms: Path, tenant: Tenant
):
    before = charm_pods(stack, reach)
    for name in stack.status().apps:
        stack.refresh(name, path=charms / f"{name}.charm")
    settle(stack)
    after = charm_pods(stack, reach)
    assert [name for name, uid in before.items() if after[name] == uid] == []
    assert uids(reach, tenant.name) == tenant.uids


def test_notebooks_and_volumes_outlive_the_charms_and_are_theirs_again_when_they_return(
    stack: jubilant.Juju, reach: Reach, whole_bundle: Path, tenant: Tenant
):
    remove(stack, *notebooks())
    assert uids(reach, tenant.name) == tenant.uids
    stack.deploy(whole_bundle, trust=True)
    stack.wait(lambda status: set(notebooks()) <= set(status.apps))
    settle(stack)
    assert uids(reach, tenant.name) == tenant.uids
    # who returned is in charge: it stops the notebook and starts it with its home
    named = {"namespace": tenant.name, "name": "lab"}
    stack.run("notebook-controller/leader", "stop", named)
    reach.kubectl("-n", tenant.name, "wait", "pod/lab-0", "--for=delete", "--timeout=120s")
    stack.run("notebook-controller/leader", "start", named)
    reach.kubectl("-n", tenant.name, "wait", "pod/lab-0", "--for=create", "--timeout=120s")
    reach.kubectl("-n", tenant.name, "wait", "pod/lab-0", "--for=condition=Ready")
    assert reach.kubectl("-n", tenant.name, *EXEC, "cat /home/jovyan/kept") == "mine\n"


@pytest.mark.juju_teardown
def test_when_all_is_removed_only_what_users_made_is_left(
    stack: jubilant.Juju, reach: Reach, cluster_before: set[str], tenant: Tenant
):
    here = uids(reach, tenant.name)
    applications = set(stack.status().apps)
    remove(stack, *applications - {"resource-broker"})
    remove(stack, "resource-broker")
    assert uids(reach, tenant.name) == here
    model = stack.model
    assert model
    stack.destroy_model(model, destroy_storage=True, force=True)
    left = cluster_objects(reach) - cluster_before
    claim = json.loads(reach.kubectl("-n", tenant.name, "get", "pvc/home", "-o", "json"))
    kept = set(reach.kubectl("get", "crd", "-l", KEPT, "-o", "name").split()) - cluster_before
    assert left == kept | {
        f"namespace/{tenant.name}", f"persistentvolume/{claim['spec']['volumeName']}"
    }  # fmt: skip
    for each in kept:
        kind = each.partition("/")[2]
        assert reach.kubectl("get", kind, "--all-namespaces", "-o", "name").split(), kind
