"""Ways to the broker's rights that Kubernetes' roles leave open, each closed by the guard.

Every attack runs twice against a real API server: it succeeds without the guard, and is refused
with it. The attackers have the rights that Juju and the policy give to applications.
"""

# ruff: noqa: E501 (one attack, one line)
from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

BROKER = "resource-broker"
RBAC = "rbac.authorization.k8s.io/v1"
JUJU = {"app.kubernetes.io/managed-by": "juju"}
# what Juju's webhook adds to what the application makes or changes
MADE = {**JUJU, "model.juju.is/name": "shop", "app.juju.is/created-by": "evil"}
ATTACKER = "system:serviceaccount:shop:evil"
TENANT = "system:serviceaccount:alice:default-editor"
SSH = "system:serviceaccount:shop:model-exec"
# Juju keeps the content of its secrets by these accounts, where the backend is Kubernetes
CONSUMER = "juju-secret-consumer-0b5d1c3e-8a4f-4c1d-9e55-3f1f0a7c2b66"
KEEPERS = [
    f"system:serviceaccount:shop:{name}" for name in ("unit-mariadb-0", "model-shop", CONSUMER)
]
CONTENT = "9m4e2mr0ui3e8a215n4g-1"
STATEFUL_SETS = "system:serviceaccount:kube-system:statefulset-controller"
# what a controller may have at most by the policy, and Juju's own rules
RIGHTS = [
    {"apiGroups": ["", "apps", "batch"], "resources": [
        "pods", "pods/status", "services", "statefulsets/scale", "deployments", "statefulsets", "jobs", "cronjobs",
        "configmaps", "serviceaccounts", "persistentvolumeclaims", "events", "replicasets",
    ], "verbs": ["get", "list", "create", "update", "patch", "delete"]},
    {"apiGroups": [""], "resources": ["pods/exec", "pods/attach", "pods/portforward"],
     "verbs": ["create", "get"]},
    {"apiGroups": [""], "resources": ["pods/ephemeralcontainers"], "verbs": ["patch", "update"]},
    {"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]},
    {"apiGroups": [""], "resources": ["secrets", "persistentvolumes", "namespaces"],
     "verbs": ["get", "create", "update", "patch", "delete"]},
    {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"],
     "verbs": ["get", "create", "update", "patch"]},
]  # fmt: skip


def pod(name: str, labels: Any = None, **spec: Any) -> dict[str, Any]:
    containers = spec.pop("containers", [{"name": "main", "image": "main"}])
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"containers": containers, **spec},
    }


def template(api: str, kind: str, name: str, **spec: Any) -> dict[str, Any]:
    inner = pod("x", {"a": name}, **spec)
    body: dict[str, Any] = {"metadata": inner["metadata"], "spec": inner["spec"]}
    del body["metadata"]["name"]
    if api == "batch/v1":
        body["spec"]["restartPolicy"] = "Never"
    content: dict[str, Any] = {"template": body}
    if kind == "CronJob":
        content = {"schedule": "* * * * *", "jobTemplate": {"spec": content}}
    if api == "apps/v1":
        content["selector"] = {"matchLabels": {"a": name}}
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}, "spec": content}


def units(application: str, body: dict[str, Any]) -> dict[str, Any]:
    """The workload, with pods that Juju takes for units of the application."""
    spec = body["spec"].get("jobTemplate", body)["spec"]
    spec["template"]["metadata"]["labels"] |= {"app.kubernetes.io/name": application}
    return body


class World:
    """The API server, seen by an administrator and by others."""

    def __init__(self, cluster: Any):
        self.cluster = cluster

    def __call__(self, method: str, path: str, body: Any = None, user: str = "") -> None:
        """Raises ApiError when it is refused; exec has nobody to answer it, which is no refusal."""
        kind = "merge-patch" if method == "PATCH" else "json"
        headers = {
            "Content-Type": f"application/{kind}+json" if kind != "json" else "application/json"
        }
        if user:
            headers["Impersonate-User"] = user
        content = json.dumps(body).encode() if body is not None else None
        self.cluster._call(method, path, content=content, headers=headers)


CONNECTING = {"exec", "attach", "portforward"}
SHOP = "/api/v1/namespaces/shop"
APPS = "/apis/apps/v1/namespaces/shop"
EXEC = "?container=main&command=cat&stdout=true"
SIDECAR = {
    "spec": {"ephemeralContainers": [{"name": "e", "image": "e", "targetContainerName": "main"}]}
}
MINTED = {
    "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
    "metadata": {"name": "evil-token", "annotations": {"kubernetes.io/service-account.name": BROKER}},
}  # fmt: skip
HOST = {"volumes": [{"name": "host", "hostPath": {"path": "/"}}]}
ROOT = [{"name": "main", "image": "main", "securityContext": {"privileged": True}}]
ADMIN = [
    {"name": "main", "image": "main", "securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}
]
VOLUME = {
    "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "evil"},
    "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
             "hostPath": {"path": "/"}},
}  # fmt: skip
TOKEN = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
GIVE = {
    "apiVersion": RBAC, "kind": "RoleBinding", "metadata": {"name": "evil"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "evil"},
    "subjects": [{"kind": "ServiceAccount", "name": "evil", "namespace": "shop"}],
}  # fmt: skip
IMAGE = {
    "spec": {
        "containers": [{"name": "main", "image": "evil"}, {"name": "watcher", "image": "main"}]
    }
}
MOUNT = {"volumes": [{"name": "s", "secret": {"secretName": "mariadb-application-config"}}]}
JUJU_SECRET = [{"name": "main", "image": "main", "envFrom": [
    {"secretRef": {"name": CONTENT}}]}]  # fmt: skip
SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "9m4e2mr0ui3e8a215n4g-2"}}
OF_REGISTRY = {
    "volumes": [
        {"name": "s", "projected": {"sources": [{"secret": {"name": "mariadb-mysql-secret"}}]}}
    ]
}
OF_MODEL_REGISTRY = [{"name": "main", "image": "main", "envFrom": [
    {"secretRef": {"name": "juju-image-pull-secret"}}]}]  # fmt: skip
JOBS = "/apis/batch/v1/namespaces/shop"
OF_MARIADB = {"app.kubernetes.io/name": "mariadb"}
OF_BROKER = {"serviceAccountName": BROKER}

ATTACKS: dict[str, tuple[str, str, Any]] = {
    "exec into the broker": ("POST", f"{SHOP}/pods/{BROKER}-0/exec{EXEC}", None),
    "exec into the broker's watcher": (
        "POST", f"{SHOP}/pods/{BROKER}-0/exec{EXEC.replace('main', 'watcher')}", None),
    "exec into the broker, GET": ("GET", f"{SHOP}/pods/{BROKER}-0/exec{EXEC}", None),
    "attach to the broker": ("POST", f"{SHOP}/pods/{BROKER}-0/attach?container=main&stdout=true", None),
    "forward a port of the broker": ("POST", f"{SHOP}/pods/{BROKER}-0/portforward?ports=1", None),
    "exec into a neighbour": ("POST", f"{SHOP}/pods/mariadb-0/exec{EXEC}", None),
    "the broker's image": ("PATCH", f"{SHOP}/pods/{BROKER}-0", IMAGE),
    "a neighbour's image": ("PATCH", f"{SHOP}/pods/mariadb-0", IMAGE),
    "the broker's labels": ("PATCH", f"{SHOP}/pods/{BROKER}-0", {"metadata": {"labels": {"a": "b"}}}),
    "the broker's pod deleted": ("DELETE", f"{SHOP}/pods/{BROKER}-0?dryRun=All", None),
    "a debug container in the broker": ("PATCH", f"{SHOP}/pods/{BROKER}-0/ephemeralcontainers", SIDECAR),
    "the broker's StatefulSet": ("PATCH", f"{APPS}/statefulsets/{BROKER}", {"spec": {"replicas": 2}}),
    "the StatefulSet's scale": ("PATCH", f"{APPS}/statefulsets/{BROKER}/scale", {"spec": {"replicas": 3}}),
    "a neighbour's Service that it has changed": ("PATCH", f"{SHOP}/services/pots", {"spec": {"selector": {"a": "b"}}}),
    "a neighbour's Service for each unit": ("PATCH", f"{SHOP}/services/pots-endpoints", {"spec": {"selector": {"a": "b"}}}),
    "a neighbour's Service": ("PATCH", f"{SHOP}/services/mariadb", {"spec": {"selector": {"a": "b"}}}),
    "a Service that a neighbour declares": ("PATCH", f"{SHOP}/services/mariadb--serving", {"spec": {"selector": {"a": "b"}}}),
    "the labels of one": ("PATCH", f"{SHOP}/services/mariadb--serving", {"metadata": {"labels": None}}),
    "one deleted": ("DELETE", f"{SHOP}/services/mariadb--serving?dryRun=All", None),
    "a token of the broker": ("POST", f"{SHOP}/serviceaccounts/{BROKER}/token", TOKEN),
    "a token of juju ssh": ("POST", f"{SHOP}/serviceaccounts/model-exec/token", TOKEN),
    "a Secret with the broker's token": ("POST", f"{SHOP}/secrets", MINTED),
    "the broker's inventory": ("PATCH", f"{SHOP}/secrets/{BROKER}.maker", {"data": {"objects": "W10="}}),
    "a token of a unit that keeps secrets": ("POST", f"{SHOP}/serviceaccounts/unit-mariadb-0/token", TOKEN),
    "a token of a consumer of secrets": ("POST", f"{SHOP}/serviceaccounts/{CONSUMER}/token", TOKEN),
    "a Juju secret's content": ("PATCH", f"{SHOP}/secrets/{CONTENT}", {"stringData": {"a": "b"}}),
    "a Juju secret deleted": ("DELETE", f"{SHOP}/secrets/{CONTENT}?dryRun=All", None),
    "a Juju secret made": ("POST", f"{SHOP}/secrets", SECRET),
    "a pod as a unit that keeps secrets": ("POST", f"{SHOP}/pods", pod("evil", serviceAccountName="unit-mariadb-0")),
    "a pod as the model that keeps secrets": ("POST", f"{SHOP}/pods", pod("evil", serviceAccountName="model-shop")),
    "a pod as the broker": ("POST", f"{SHOP}/pods", pod("evil", **OF_BROKER)),
    "a pod as the broker, old field": ("POST", f"{SHOP}/pods", pod("evil", serviceAccount=BROKER)),
    "a pod as juju ssh": ("POST", f"{SHOP}/pods", pod("evil", serviceAccountName="model-exec")),
    "a pod that is called the broker's": ("POST", f"{SHOP}/pods", pod(f"{BROKER}-7")),
    "a pod behind the broker's labels": ("POST", f"{SHOP}/pods", pod("evil", {"app.kubernetes.io/name": BROKER})),
    "a pod as a neighbour's unit": ("POST", f"{SHOP}/pods", pod("evil", OF_MARIADB)),
    "its own unit as a neighbour's": ("PATCH", f"{SHOP}/pods/evil-0", {"metadata": {"labels": OF_MARIADB}}),
    "a Deployment of a neighbour's units": ("POST", f"{APPS}/deployments", units("mariadb", template("apps/v1", "Deployment", "evil"))),
    "its own workload of a neighbour's units": ("PATCH", f"{APPS}/deployments/made", {"spec": {"template": {"metadata": {"labels": OF_MARIADB}}}}),
    "a Deployment of its own units": ("POST", f"{APPS}/deployments", units("evil", template("apps/v1", "Deployment", "evil"))),
    "a StatefulSet of a neighbour's units": ("POST", f"{APPS}/statefulsets", units("mariadb", template("apps/v1", "StatefulSet", "evil-set"))),
    "a Job of a neighbour's units": ("POST", f"{JOBS}/jobs", units("mariadb", template("batch/v1", "Job", "evil"))),
    "a CronJob of a neighbour's units": ("POST", f"{JOBS}/cronjobs", units("mariadb", template("batch/v1", "CronJob", "evil"))),
    "a pod with credentials of a registry": ("POST", f"{SHOP}/pods", pod("evil", **OF_REGISTRY)),
    "a pod with those of the model's registry": ("POST", f"{SHOP}/pods", pod("evil", containers=OF_MODEL_REGISTRY)),
    "credentials of a registry": ("PATCH", f"{SHOP}/secrets/mariadb-mysql-secret", {"stringData": {"a": "b"}}),
    "a Deployment as the broker": ("POST", f"{APPS}/deployments", template("apps/v1", "Deployment", "evil", **OF_BROKER)),
    "a StatefulSet as the broker": ("POST", f"{APPS}/statefulsets", template("apps/v1", "StatefulSet", "evil-set", **OF_BROKER)),
    "a Job as the broker": ("POST", "/apis/batch/v1/namespaces/shop/jobs", template("batch/v1", "Job", "evil", **OF_BROKER)),
    "a CronJob as the broker": ("POST", "/apis/batch/v1/namespaces/shop/cronjobs", template("batch/v1", "CronJob", "evil", **OF_BROKER)),
    "a pod with an agent's password": ("POST", f"{SHOP}/pods", pod("evil", **MOUNT)),
    "a pod with a Juju secret": ("POST", f"{SHOP}/pods", pod("evil", containers=JUJU_SECRET)),
    "a role in the model": ("POST", f"/apis/{RBAC}/namespaces/shop/rolebindings", GIVE),
    "a role in kube-system": ("POST", f"/apis/{RBAC}/namespaces/kube-system/rolebindings", GIVE),
    "a pod in kube-system": ("POST", "/api/v1/namespaces/kube-system/pods", pod("evil")),
    "a pod in another model": ("POST", "/api/v1/namespaces/rival/pods", pod("evil")),
    "kube-system as a tenant": ("PATCH", "/api/v1/namespaces/kube-system", {"metadata": {"labels": {"app.kubernetes.io/part-of": "kubeflow-profile"}}}),
    "the model's labels": ("PATCH", "/api/v1/namespaces/shop", {"metadata": {"labels": {"a": "b"}}}),
    "a pod on the host's disk": ("POST", "/api/v1/namespaces/other/pods", pod("evil", **HOST)),
    "a pod on the host's network": ("POST", "/api/v1/namespaces/other/pods", pod("evil", hostNetwork=True)),
    "a privileged pod": ("POST", "/api/v1/namespaces/other/pods", pod("evil", containers=ROOT)),
    "a pod with SYS_ADMIN": ("POST", "/api/v1/namespaces/other/pods", pod("evil", containers=ADMIN)),
    "a Deployment on the host's disk": ("POST", "/apis/apps/v1/namespaces/other/deployments", template("apps/v1", "Deployment", "evil", **HOST)),
    "a volume of the host's disk": ("POST", "/api/v1/persistentvolumes", VOLUME),
}  # fmt: skip


@pytest.fixture
def world(cluster: Any, modules: dict[str, Any]) -> Iterator[World]:
    """The model `shop` as Juju makes it, another model `rival`, and an attacker with rights."""
    ref, made = modules["kube"].Ref, []

    def put(body: dict[str, Any], namespace: str = "shop") -> None:
        name = ref(body["apiVersion"], body["kind"], namespace, body["metadata"]["name"])
        cluster.apply(name, body, "juju")
        made.append(name)

    for name in ("shop", "rival"):
        labels = {**JUJU, "model.juju.is/name": name}
        metadata = {"name": name, "labels": labels}
        put({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}, "")
    for name in (BROKER, "mariadb", "evil"):
        labels = {**JUJU, "app.kubernetes.io/name": name}
        containers = [{"name": each, "image": "main"} for each in ("main", "watcher")]
        # with a volume of the host's, which whoever made the pod may have
        put(pod(f"{name}-0", labels, serviceAccountName=name, containers=containers, **HOST))
        put({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})
        port = {"ports": [{"port": 1}], "selector": {"app.kubernetes.io/name": name}}
        metadata = {"name": name, "labels": labels}
        put({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": port})
        declared = {"app.kubernetes.io/managed-by": BROKER, "charmed-mlops.io/application": name}
        metadata = {"name": f"{name}--serving", "labels": declared}
        put({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": port})
        metadata = {"name": name, "labels": labels}
        body = template("apps/v1", "StatefulSet", name)
        put({**body, "metadata": metadata})
    for name, application in (("made", ""), ("pots", "pots"), ("pots-endpoints", "pots")):
        own = {"app.kubernetes.io/name": application, "app.juju.is/created-by": application}
        labels = {**MADE, **(own if application else {})}
        port = {"ports": [{"port": 1}], "selector": {"app": name}}
        metadata = {"name": name, "labels": labels}
        put({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": port})
    body = template("apps/v1", "Deployment", "made")
    put({**body, "metadata": {"name": "made", "labels": MADE}})
    for name in ("model-exec", "unit-mariadb-0", "model-shop", CONSUMER):
        put({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})
    for name in (f"{BROKER}.maker", "mariadb-application-config", "mariadb-mysql-secret", CONTENT):
        put({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}})
    put(
        {"apiVersion": RBAC, "kind": "ClusterRole", "metadata": {"name": "evil"}, "rules": RIGHTS},
        "",
    )
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole"}
    for name, role, users in (
        ("evil", "evil", [ATTACKER, TENANT, STATEFUL_SETS, SSH, *KEEPERS]),
        ("admins", "cluster-admin", [f"system:serviceaccount:shop:{BROKER}", "controller"]),
    ):
        subjects = [
            {"apiGroup": reference["apiGroup"], "kind": "User", "name": user} for user in users
        ]
        binding = {"roleRef": {**reference, "name": role}, "subjects": subjects}
        put(
            {
                "apiVersion": RBAC,
                "kind": "ClusterRoleBinding",
                "metadata": {"name": name},
                **binding,
            },
            "",
        )
    unguard(World(cluster), modules)
    yield World(cluster)
    unguard(World(cluster), modules)
    for kind, api, namespace in (
        ("Pod", "v1", "shop"), ("Pod", "v1", "other"), ("Pod", "v1", "kube-system"),
        ("Pod", "v1", "rival"), ("Deployment", "apps/v1", "shop"), ("Job", "batch/v1", "shop"),
        ("Deployment", "apps/v1", "other"),
        ("CronJob", "batch/v1", "shop"), ("Secret", "v1", "shop"), ("PersistentVolume", "v1", ""),
        ("RoleBinding", RBAC, "shop"), ("RoleBinding", RBAC, "kube-system"),
    ):  # fmt: skip
        cluster.delete(ref(api, kind, namespace, "evil"))
    cluster.delete(ref("v1", "Secret", "shop", "evil-token"))
    for name in (f"{BROKER}-7", *(f"{each}-0" for each in (BROKER, "mariadb", "evil"))):
        path = f"{SHOP}/pods/{name}"
        try:
            cluster._call("DELETE", path, params={"gracePeriodSeconds": "0"})
        except modules["kube"].ApiError as error:
            if error.code != 404:
                raise
    for name in made:
        if name.kind not in ("Namespace", "Pod"):
            cluster.delete(name)
    labels = {"app.kubernetes.io/part-of": None, "a": None, "model.juju.is/name": None}
    for name in ("kube-system", "shop"):
        cluster.merge(ref("v1", "Namespace", "", name), {"metadata": {"labels": labels}})


def unguard(world: World, modules: dict[str, Any]) -> None:
    """Takes the guard away, and returns when the API server no longer asks it."""
    modules["guard"].remove(world.cluster, "shop", BROKER)
    for path in (f"{SHOP}/pods?dryRun=All", "/api/v1/namespaces/kube-system/pods?dryRun=All"):
        deadline = time.monotonic() + 30
        while refusal(world, "POST", path, pod("probe", **OF_BROKER), ATTACKER):
            assert time.monotonic() < deadline, "the guard never went"


def guard(world: World, modules: dict[str, Any]) -> None:
    """Has the guard made, and returns when the API server asks it."""
    modules["guard"].ensure(world.cluster, "shop", BROKER, applications={"evil", "mariadb"})
    for path in (f"{SHOP}/pods?dryRun=All", "/api/v1/namespaces/kube-system/pods?dryRun=All"):
        deadline = time.monotonic() + 30
        while not refusal(world, "POST", path, pod("probe", **OF_BROKER), ATTACKER):
            assert time.monotonic() < deadline, "the API server never asked the guard"


def refusal(world: World, method: str, path: str, body: Any, user: str) -> str:
    """The guard's reason, or "" where the API server let the request through."""
    try:
        world(method, path, body, user)
    except Exception as error:
        if "ValidatingAdmissionPolicy" in str(error):
            return str(error)
        # without a kubelet nobody serves an exec that was let through
        passed = ("could not find", "does not have a host assigned", "Upgrade request required")
        served = path.partition("?")[0].rpartition("/")[2] in CONNECTING
        if not served or not any(text in str(error) for text in passed):
            raise
    return ""


def dry(path: str) -> str:
    """The path with which nothing is done, where the API server knows of that."""
    if "dryRun" in path or path.partition("?")[0].rpartition("/")[2] in CONNECTING | {"token"}:
        return path
    return f"{path}?dryRun=All"


@pytest.mark.engine
def test_attacks_succeed_without_the_guard_and_fail_with_it(world, modules):
    def refusals() -> dict[str, str]:
        return {
            name: refusal(world, method, dry(path), body, ATTACKER)
            for name, (method, path, body) in ATTACKS.items()
        }

    assert len(ATTACKS) >= 25
    assert {name: why for name, why in refusals().items() if why} == {}
    guard(world, modules)
    assert [name for name, why in refusals().items() if "shop.resource-broker." not in why] == []


LEGITIMATE: dict[str, tuple[str, str, str, Any]] = {
    "an application's own exec": (ATTACKER, "POST", f"{SHOP}/pods/evil-0/exec{EXEC}", None),
    "an application's own labels": (ATTACKER, "PATCH", f"{SHOP}/pods/evil-0", {"metadata": {"labels": {"a": "b"}}}),
    "an application's own Service": (ATTACKER, "PATCH", f"{SHOP}/services/evil", {"metadata": {"labels": {"a": "b"}}}),
    "a Service that it declares": (ATTACKER, "PATCH", f"{SHOP}/services/evil--serving", {"metadata": {"labels": {"a": "b"}}}),
    "the broker changes one that a neighbour declares": (f"system:serviceaccount:shop:{BROKER}", "PATCH", f"{SHOP}/services/mariadb--serving", {"spec": {"selector": {"a": "b"}}}),
    "a workload that it has made": (ATTACKER, "PATCH", f"{APPS}/deployments/made", {"spec": {"replicas": 2}}),
    "one deleted": (ATTACKER, "DELETE", f"{APPS}/deployments/made?dryRun=All", None),
    "a Service that it has made": (ATTACKER, "PATCH", f"{SHOP}/services/made", {"spec": {"selector": {"a": "b"}}}),
    "a workload of a user": (ATTACKER, "POST", "/apis/apps/v1/namespaces/other/deployments", template("apps/v1", "Deployment", "wine")),
    "a workload in the model": (ATTACKER, "POST", f"{APPS}/deployments", template("apps/v1", "Deployment", "wine", serviceAccountName="evil-runner")),
    "units of no application": (ATTACKER, "POST", f"{APPS}/deployments", units("wine", template("apps/v1", "Deployment", "wine"))),
    "a pod of no application": (ATTACKER, "POST", f"{SHOP}/pods", pod("wine", {"app.kubernetes.io/name": "mariadb-backup"})),
    "a Secret that is called alike": (ATTACKER, "POST", f"{SHOP}/secrets", {**SECRET, "metadata": {"name": "wine-mysql-secret"}}),
    "a pod with its Secret": (ATTACKER, "POST", f"{SHOP}/pods", pod("wine", volumes=[{"name": "s", "secret": {"secretName": "mariadb-secret"}}])),
    "Juju makes units": ("controller", "POST", f"{APPS}/statefulsets", units("mariadb", template("apps/v1", "StatefulSet", "mariadb-2"))),
    "the cluster's controller makes a unit": (STATEFUL_SETS, "POST", f"{SHOP}/pods", pod("mariadb-1", OF_MARIADB)),
    "an event about kube-system": (ATTACKER, "POST", "/api/v1/namespaces/kube-system/events", {
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "namespace": "kube-system"}}),
    "a role for a user": (ATTACKER, "POST", f"/apis/{RBAC}/namespaces/other/rolebindings", GIVE),
    "the cluster's controller makes the broker's pod": (STATEFUL_SETS, "POST", f"{SHOP}/pods", pod(f"{BROKER}-1", **OF_BROKER)),
    "Juju changes the broker's StatefulSet": ("controller", "PATCH", f"{APPS}/statefulsets/{BROKER}", {"spec": {"replicas": 2}}),
    "Juju reaches into the broker": ("controller", "POST", f"{SHOP}/pods/{BROKER}-0/exec{EXEC}", None),
    "the broker writes its inventory": (f"system:serviceaccount:shop:{BROKER}", "PATCH", f"{SHOP}/secrets/{BROKER}.maker", {"data": {"objects": "W10="}}),
    "juju ssh reaches into a unit": (SSH, "POST", f"{SHOP}/pods/mariadb-0/exec{EXEC}", None),
    **{f"{user} makes a Juju secret": (user, "POST", f"{SHOP}/secrets", SECRET) for user in KEEPERS},
    **{f"{user} changes a Juju secret": (user, "PATCH", f"{SHOP}/secrets/{CONTENT}", {"stringData": {"a": "b"}}) for user in KEEPERS},
    **{f"{user} removes a Juju secret": (user, "DELETE", f"{SHOP}/secrets/{CONTENT}?dryRun=All", None) for user in KEEPERS},
    "the broker gives a role": (f"system:serviceaccount:shop:{BROKER}", "POST", f"/apis/{RBAC}/namespaces/shop/rolebindings", GIVE),
}  # fmt: skip


@pytest.mark.engine
def test_who_may_act_still_may(world, modules):
    guard(world, modules)
    refused = {
        name: refusal(world, method, dry(path), body, user)
        for name, (user, method, path, body) in LEGITIMATE.items()
    }
    assert {name: why for name, why in refused.items() if why} == {}


@pytest.mark.engine
def test_who_keeps_juju_s_secrets_may_change_no_other_secret(world, modules):
    guard(world, modules)
    for name in ("mariadb-application-config", f"{BROKER}.maker"):
        path = f"{SHOP}/secrets/{name}?dryRun=All"
        for user in KEEPERS:
            assert refusal(world, "PATCH", path, {"stringData": {"a": "b"}}, user)


@pytest.mark.engine
def test_juju_ssh_does_not_reach_into_the_broker(world, modules):
    guard(world, modules)
    assert refusal(world, "POST", f"{SHOP}/pods/{BROKER}-0/exec{EXEC}", None, SSH)


@pytest.mark.engine
def test_a_tenant_with_rights_in_the_model_is_kept_off_too(world, modules):
    guard(world, modules)
    assert refusal(world, "POST", f"{SHOP}/pods/{BROKER}-0/exec{EXEC}", None, TENANT)
    assert refusal(world, "POST", f"{SHOP}/pods?dryRun=All", pod("evil", **OF_BROKER), TENANT)


@pytest.mark.engine
def test_a_changed_guard_is_put_right_and_a_good_one_is_left_alone(world, modules):
    guard, cluster = modules["guard"], world.cluster
    guard.ensure(cluster, "shop", BROKER)
    found = cluster.list(guard.API, guard.BINDING, "charmed-mlops.io/model=shop")
    assert len(found) == 3
    versions = {item["metadata"]["resourceVersion"] for item in found}
    guard.ensure(cluster, "shop", BROKER)
    again = cluster.list(guard.API, guard.BINDING, "charmed-mlops.io/model=shop")
    assert {item["metadata"]["resourceVersion"] for item in again} == versions
    cluster.delete(modules["removal"].reference(found[0]))
    guard.ensure(cluster, "shop", BROKER)
    assert len(cluster.list(guard.API, guard.BINDING, "charmed-mlops.io/model=shop")) == 3


@pytest.mark.parametrize(
    ("account", "keeps"),
    [
        (CONSUMER, True),  # Juju 3.6.19 and newer
        ("unit-mariadb-0", True),
        ("unit-mariadb-0-06f00d", True),
        ("model-shop", True),
        ("model-other", False),
        ("mariadb", False),
        ("unit-of-work", False),
        ("juju-secret-consumer-app", False),
    ],
)
def test_by_which_accounts_juju_keeps_secrets(modules, account, keeps):
    assert bool(re.fullmatch(modules["guard"].keepers("shop"), account)) is keeps
