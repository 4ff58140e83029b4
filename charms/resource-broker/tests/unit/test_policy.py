"""What the policy lets through, and each reason for which it refuses."""

# ruff: noqa: E501 (one case, one line)
from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "src"))
from policy import RULES, Policy  # pyright: ignore[reportMissingImports]

RBAC = "rbac.authorization.k8s.io/v1"
ADMISSION = "admissionregistration.k8s.io/v1"


def thing(api: str, kind: str, name: str = "x", **rest: Any) -> dict[str, Any]:
    metadata = {"name": name, **rest.pop("metadata", {})}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **rest}


def definition(
    group: str = "tea.example.com", kind: str = "Pot", scope: str = "Namespaced", **spec
):
    names = {"kind": kind, "plural": kind.lower() + "s"}
    versions = [{"name": "v1", "served": True, "storage": True}]
    content = {"group": group, "names": names, "scope": scope, "versions": versions, **spec}
    return thing(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        f"{names['plural']}.{group}",
        spec=content,
    )


def role(kind: str = "ClusterRole", rule: dict | None = None, **rest):
    default = {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "create"]}
    return thing(RBAC, kind, rules=[{**default, **(rule or {})}], **rest)


def binding(
    kind: str = "ClusterRoleBinding", role: str = "ClusterRole", name: str = "x", **subject
):
    account = {"kind": "ServiceAccount", "name": "maker", "namespace": "m", **subject}
    return thing(RBAC, kind, roleRef={"kind": role, "name": name}, subjects=[account])


def webhook(rule: dict | None = None, service: dict | None = None, **rest):
    default = {"apiGroups": ["tea.example.com"], "resources": ["pots"]}
    client = {"service": {"name": "maker", "namespace": "m", **(service or {})}}
    entry = {"clientConfig": client, "rules": [{**default, **(rule or {})}], **rest}
    return thing(ADMISSION, "MutatingWebhookConfiguration", webhooks=[entry])


def rules(*manifests: dict, allowed=()) -> list[str]:
    before = copy.deepcopy(manifests)
    found = [
        refusal.rule for _, refusal in Policy("maker", "maker", "m", allowed).check(manifests)
    ]
    assert manifests == before
    return found


PODS = {"apiGroups": [""], "resources": ["pods"]}
SELECTOR = {"matchExpressions": [{"key": "tea", "operator": "Exists"}]}


@pytest.mark.parametrize(
    "manifests",
    [
        [thing("v1", "ConfigMap")],
        [thing("v1", "Secret", metadata={"namespace": "m"})],
        [thing("v1", "Service", spec={"type": "LoadBalancer"})],
        [thing("networking.k8s.io/v1", "NetworkPolicy")],
        [definition()],
        [definition(), thing("tea.example.com/v1", "Pot", metadata={"namespace": "m"})],
        [definition(scope="Cluster"), thing("tea.example.com/v1", "Pot")],
        [role(), binding()],
        [role("Role"), binding("RoleBinding", "Role")],
        [role(rule={"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]})],
        [role("Role", {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]})],
        [
            definition(),
            role(
                rule={"apiGroups": ["tea.example.com"], "resources": ["pots"]},
                metadata={"labels": {"rbac.authorization.k8s.io/aggregate-to-edit": "true"}},
            ),
        ],
        [definition(), webhook()],
        [webhook(PODS, objectSelector=SELECTOR)],
        [definition(), thing("v1", "Service", "hooks"), webhook(service={"name": "hooks"})],
    ],
)
def test_what_a_controller_needs_is_let_through(manifests: list[dict]):
    assert rules(*manifests) == []


@pytest.mark.parametrize(
    ("rule", "manifests"),
    [
        ("kind", [thing("v1", "Pod")]),
        ("kind", [thing("apps/v1", "DaemonSet")]),
        ("kind", [thing("v1", "ServiceAccount")]),
        ("kind", [thing("v1", "Namespace")]),
        ("kind", [thing("tea.example.com/v1", "Pot")]),
        ("kind", [thing("v1", "ConfigMap", metadata={"ownerReferences": [{"name": "y"}]})]),
        ("kind", [thing("v1", "ConfigMap", metadata={"finalizers": ["tea/hold"]})]),
        ("namespace", [thing("v1", "ConfigMap", metadata={"namespace": "kube-system"})]),
        ("namespace", [role("Role", metadata={"namespace": "other"})]),
        ("namespace", [definition(), thing("tea.example.com/v1", "Pot", metadata={"namespace": "o"})]),
        ("binding", [role(), binding(name="cluster-admin")]),
        ("binding", [role(), binding(role="Role")]),
        ("binding", [role(), thing(RBAC, "ClusterRoleBinding",
                                   roleRef={"kind": "ClusterRole", "name": "x"},
                                   subjects=[{"kind": "ServiceAccount", "name": "other",
                                              "namespace": "m"}])]),
        ("binding", [role(), binding(namespace="kube-system")]),
        ("binding", [role(), thing(RBAC, "ClusterRoleBinding",
                                   roleRef={"kind": "ClusterRole", "name": "x"},
                                   subjects=[{"kind": "Group", "name": "system:authenticated"}])]),
        ("binding", [role(), thing(RBAC, "ClusterRoleBinding",
                                   roleRef={"kind": "ClusterRole", "name": "x"}, subjects=[])]),
        ("wildcard", [role(rule={"verbs": ["*"]})]),
        ("wildcard", [role(rule={"resources": ["*"]})]),
        ("wildcard", [role(rule={"resources": ["*/scale"]})]),
        ("wildcard", [role("Role", {"apiGroups": ["*"]})]),
        ("verb", [role(rule={"verbs": ["escalate"]})]),
        ("verb", [role(rule={"verbs": ["bind"]})]),
        ("verb", [role("Role", {"verbs": ["impersonate"]})]),
        ("url", [role(rule={"nonResourceURLs": ["/api/*"]})]),
        ("sensitive", [role(rule={"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]})]),
        ("sensitive", [role(rule={"apiGroups": [""], "resources": ["secrets"], "verbs": ["update"]})]),
        ("sensitive", [role(rule={"resources": ["pods/exec"], "verbs": ["create"]})]),
        ("sensitive", [role(rule={"resources": ["nodes/proxy"], "verbs": ["get"]})]),
        ("sensitive", [role(rule={"resources": ["clusterrolebindings"], "verbs": ["create"]})]),
        ("sensitive", [role("Role", {"resources": ["serviceaccounts/token"], "verbs": ["create"]})]),
        ("aggregation", [thing(RBAC, "ClusterRole", aggregationRule={"clusterRoleSelectors": [{}]})]),
        ("aggregation", [role(metadata={"labels": {
            "rbac.authorization.k8s.io/aggregate-to-view": "true"}})]),
        ("webhook", [definition(), webhook(service={"namespace": "kube-system"})]),
        ("webhook", [definition(), webhook(service={"name": "mariadb"})]),
        ("webhook", [definition(), thing(ADMISSION, "ValidatingWebhookConfiguration", webhooks=[
            {"clientConfig": {"url": "https://evil.example.com"}}])]),
        ("webhook", [webhook({"apiGroups": ["*"], "resources": ["*"]})]),
        ("webhook", [webhook(PODS)]),
        ("webhook", [webhook(PODS, objectSelector={"matchExpressions": [
            {"key": "tea", "operator": "DoesNotExist"}]})]),
        ("webhook", [webhook({"apiGroups": [""], "resources": ["secrets"]}, objectSelector=SELECTOR)]),
        ("webhook", [definition(conversion={"strategy": "Webhook", "webhook": {
            "clientConfig": {"url": "https://evil.example.com"}}})]),
        ("group", [definition(group="apps.k8s.io")]),
        ("group", [definition(group="policy.kubernetes.io")]),
        ("secret-type", [thing("v1", "Secret", type="kubernetes.io/service-account-token")]),
        ("service", [thing("v1", "Service", spec={"type": "ExternalName"})]),
        ("service", [thing("v1", "Service", spec={"externalIPs": ["10.0.0.1"]})]),
    ],
)  # fmt: skip
def test_what_gives_more_is_refused_unless_the_administrator_allows_it(rule: str, manifests: list):
    assert rules(*manifests) == [rule]
    assert rules(*manifests, allowed={rule}) == []
    assert rules(*manifests, allowed=set(RULES) - {rule}) == [rule]
