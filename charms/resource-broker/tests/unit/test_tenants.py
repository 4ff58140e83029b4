"""Ways to lead the gateway from a tenant's namespace to another's pods, each closed by the guard.

Each runs twice against a real API server: it succeeds without the guard, and is refused with it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from test_guard import (  # pyright: ignore[reportMissingImports]
    BROKER,
    RBAC,
    World,
    dry,
    refusal,
)

ANN = "ann@example.com"
CONTROLLER = "system:serviceaccount:shop:knative-controller"
SLICES = "system:serviceaccount:kube-system:endpointslice-controller"
VICTIM = "10.1.0.7"
CORE, SLICE = "/api/v1/namespaces/ann", "/apis/discovery.k8s.io/v1/namespaces/ann/endpointslices"
RULES = [
    {
        "apiGroups": ["", "discovery.k8s.io"],
        "resources": ["services", "endpoints", "endpointslices"],
        "verbs": ["get", "create", "update", "patch"],
    }
]


def service(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "made"},
        "spec": {"ports": [{"port": 80}], **spec},
    }


ELSEWHERE = {"type": "ExternalName", "externalName": "lab.bob.svc.cluster.local"}
ENDPOINTS = {
    "apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "made"},
    "subsets": [{"addresses": [{"ip": VICTIM}], "ports": [{"port": 8888}]}],
}  # fmt: skip
ENDPOINT_SLICE = {
    "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
    "metadata": {"name": "made", "labels": {"kubernetes.io/service-name": "made"}},
    "endpoints": [{"addresses": [VICTIM]}], "ports": [{"port": 8888}],
}  # fmt: skip
ATTACKS: dict[str, tuple[str, str, Any]] = {
    "a name elsewhere": ("POST", f"{CORE}/services", service(**ELSEWHERE)),
    "her Service as a name elsewhere": ("PATCH", f"{CORE}/services/own", {"spec": ELSEWHERE}),
    "an address that is not hers": ("POST", f"{CORE}/services", service(externalIPs=[VICTIM])),
    "her Service at one": ("PATCH", f"{CORE}/services/own", {"spec": {"externalIPs": [VICTIM]}}),
    "Endpoints": ("POST", f"{CORE}/endpoints", ENDPOINTS),
    "an EndpointSlice": ("POST", SLICE, ENDPOINT_SLICE),
}
LEGITIMATE: dict[str, tuple[str, str, str, Any]] = {
    "her Service": (ANN, "POST", f"{CORE}/services", service(selector={"app": "made"})),
    "one without addresses": (ANN, "POST", f"{CORE}/services", service(clusterIP="None")),
    "the labels of Knative's": (
        ANN, "PATCH", f"{CORE}/services/knative", {"metadata": {"labels": {"a": "b"}}}),
    "a controller's name elsewhere": (
        CONTROLLER, "POST", f"{CORE}/services", service(**ELSEWHERE)),
    "a controller's Endpoints": (CONTROLLER, "POST", f"{CORE}/endpoints", ENDPOINTS),
    "the cluster's EndpointSlice": (SLICES, "POST", SLICE, ENDPOINT_SLICE),
}  # fmt: skip


@pytest.fixture
def world(cluster: Any, modules: dict[str, Any]) -> Iterator[World]:
    """Ann's namespace, where she may write, and controllers that may write everywhere."""
    ref, made = modules["kube"].Ref, []

    def put(body: dict[str, Any], namespace: str = "") -> None:
        name = ref(body["apiVersion"], body["kind"], namespace, body["metadata"]["name"])
        cluster.apply(name, body, "test")
        made.append(name)

    labels = {"app.kubernetes.io/part-of": "kubeflow-profile"}
    metadata = {"name": "ann", "labels": labels}
    put({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    role = {"apiVersion": RBAC, "kind": "ClusterRole", "metadata": {"name": "writes"}}
    put({**role, "rules": RULES})
    group = "rbac.authorization.k8s.io"
    for kind, namespace, users in (
        ("RoleBinding", "ann", [ANN]),
        ("ClusterRoleBinding", "", [CONTROLLER, SLICES]),
    ):
        body = {
            "apiVersion": RBAC,
            "kind": kind,
            "metadata": {"name": "writes"},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "writes"},
            "subjects": [{"apiGroup": group, "kind": "User", "name": user} for user in users],
        }
        put(body, namespace)
    for name, spec in (("own", {"selector": {"app": "own"}}), ("knative", ELSEWHERE)):
        put({**service(**spec), "metadata": {"name": name}}, "ann")
    unguard(World(cluster), modules)
    yield World(cluster)
    unguard(World(cluster), modules)
    for name in made:
        if name.kind != "Namespace":
            cluster.delete(name)
    # a namespace does not go where no controller runs; it is no tenant's for the tests after these
    no_tenant = {"metadata": {"labels": dict.fromkeys(labels)}}
    cluster.merge(ref("v1", "Namespace", "", "ann"), no_tenant)


def wait(world: World, *, guarded: bool) -> None:
    """Until the API server asks the guard, or no longer does."""
    method, path, body = ATTACKS["a name elsewhere"]
    deadline = time.monotonic() + 30
    while bool(refusal(world, method, dry(path), body, ANN)) != guarded:
        assert time.monotonic() < deadline, "the API server did not take the change"


def guard(world: World, modules: dict[str, Any]) -> None:
    """Has the guard made."""
    modules["guard"].ensure(world.cluster, "shop", BROKER)
    wait(world, guarded=True)


def unguard(world: World, modules: dict[str, Any]) -> None:
    """Takes the guard away."""
    modules["guard"].remove(world.cluster, "shop", BROKER)
    wait(world, guarded=False)


@pytest.mark.engine
def test_a_tenant_s_services_lead_to_her_own_pods(world, modules):
    def refusals() -> dict[str, str]:
        return {
            name: refusal(world, method, dry(path), body, ANN)
            for name, (method, path, body) in ATTACKS.items()
        }

    assert {name: why for name, why in refusals().items() if why} == {}
    guard(world, modules)
    assert [name for name, why in refusals().items() if ".tenants" not in why] == []


@pytest.mark.engine
def test_who_may_make_services_still_may(world, modules):
    guard(world, modules)
    refused = {
        name: refusal(world, method, dry(path), body, user)
        for name, (user, method, path, body) in LEGITIMATE.items()
    }
    assert {name: why for name, why in refused.items() if why} == {}
