"""Which pods reach an application's: its NetworkPolicy, from its relations.

A related application reaches every port if it is one that calls. Others reach what the charm
names in a `Reach`. Kubernetes lets a pod's own node in always, so probes need no rule.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import ops

from charmed_mlops.interfaces import _common
from charmed_mlops.interfaces.manifests import TENANT_LABEL, Manifest

NAME_LABEL = "app.kubernetes.io/name"
"""Juju puts the application's name into it, on every pod. protocol.md, "Pods"."""

# A relation's requirer calls its provider, but for these interfaces, which carry data only …
_SILENT = {"cluster_resources", "grafana_dashboard", "kubeflow_dashboard_links"}
# … and for these the provider calls.
_CALLED_BY_PROVIDER = {"gateway_route"}


@dataclass(frozen=True)
class Reach:
    """Who reaches an application besides the related ones, by TCP port.

    Attributes:
        anyone: ports for all, such as those of webhooks: the API server has no address that a
            policy could name.
        pods: ports for users' pods, which are in the model's namespace or in a tenant's.
        tenants: ports for pods of the tenants' namespaces.
        namespaces: labels, with their values, of further namespaces of users, for `pods`.
    """

    anyone: tuple[int, ...] = ()
    pods: tuple[int, ...] = ()
    tenants: tuple[int, ...] = ()
    namespaces: tuple[tuple[str, str], ...] = ()


NOBODY = Reach()
"""Related applications alone."""


def policy(charm: ops.CharmBase, reach: Reach) -> Manifest:
    """The application's NetworkPolicy; nobody reaches it if there is neither client nor port."""
    names, elsewhere = clients(charm)
    in_tenants = _labelled(*TENANT_LABEL)
    rules = [_rule(_application(name) for name in names)] if names else []
    if elsewhere:
        rules.append(_rule([_OUTSIDE_TENANTS]))
    if reach.pods:
        further = [_labelled(*label) for label in reach.namespaces]
        rules.append(_rule([{"podSelector": {}}, in_tenants, *further], reach.pods))
    if reach.tenants:
        rules.append(_rule([in_tenants], reach.tenants))
    if reach.anyone:
        rules.append(_rule([], reach.anyone))
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": charm.app.name},
        "spec": {
            "podSelector": {"matchLabels": {NAME_LABEL: charm.app.name}},
            "policyTypes": ["Ingress"],
            "ingress": rules,
        },
    }


def clients(charm: ops.CharmBase) -> tuple[list[str], bool]:
    """The related applications of this model that call, and whether one of another model does."""
    names, elsewhere = set(), False
    for endpoint, meta in charm.meta.relations.items():
        provides = meta.role is ops.RelationRole.provides
        if provides and meta.interface_name in _SILENT:
            continue
        if not provides and meta.interface_name not in _CALLED_BY_PROVIDER:
            continue
        for relation in _common.live(charm, endpoint):
            if _is_here(charm, relation):
                names.add(relation.app.name)
            else:
                elsewhere = True
    return sorted(names), elsewhere


# What the namespace of another model is called here, nothing tells. It is no tenant's. For Cilium
# nodes and addresses outside the cluster are no tenant's either, so it has to be a namespace:
# Kubernetes gives each of them the first label.
_OUTSIDE_TENANTS = {
    "namespaceSelector": {
        "matchExpressions": [
            {"key": "kubernetes.io/metadata.name", "operator": "Exists"},
            {
                "key": TENANT_LABEL[0],
                "operator": "NotIn",  # codespell:ignore
                "values": [TENANT_LABEL[1]],
            },
        ]
    }
}


def _is_here(charm: ops.CharmBase, relation: ops.Relation) -> bool:
    try:
        return relation.remote_model.uuid == charm.model.uuid
    except ops.ModelError:  # the relation is going
        return True


def _application(name: str) -> dict[str, Any]:
    return {"podSelector": {"matchLabels": {NAME_LABEL: name}}}


def _labelled(label: str, value: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": {label: value}}}


def _rule(sources: Iterable[dict[str, Any]], ports: Iterable[int] = ()) -> dict[str, Any]:
    """From any of the sources, or from anywhere; to the ports, or to every one."""
    found, numbers = list(sources), list(ports)
    rule: dict[str, Any] = {}
    if found:
        rule["from"] = found
    if numbers:
        rule["ports"] = [{"protocol": "TCP", "port": number} for number in numbers]
    return rule
