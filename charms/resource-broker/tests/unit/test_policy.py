"""What the policy lets through, and each reason for which it refuses."""

# ruff: noqa: E501 (one case, one line)
from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "src"))
from policy import Grant, Policy, grants  # pyright: ignore[reportMissingImports]

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
    return thing(RBAC, kind, rules=[rule or default], **rest)


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


def rules(*manifests: dict, tenants=(), granted=()) -> list[str]:
    before = copy.deepcopy(manifests)
    found = [
        refusal.rule for _, refusal in Policy("maker", "m", granted).check(manifests, tenants)
    ]
    assert manifests == before
    return found


def core(resource: str, *verbs: str, group: str = "", **rest) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": [resource], "verbs": list(verbs), **rest}


def bound(rule: dict) -> list[dict]:
    """The rule in a cluster role that is bound to the application."""
    return [role(rule=rule), binding()]


def here(rule: dict) -> list[dict]:
    return [role("Role", rule), binding("RoleBinding", "Role")]


def aggregate(rule: dict, to: str = "edit", domain: str = "k8s.io") -> dict:
    label = f"rbac.authorization.{domain}/aggregate-to-{to}"
    return role(rule=rule, metadata={"labels": {label: "true"}})


OWN = {"app.kubernetes.io/name": "maker"}
PODS = {"apiGroups": [""], "resources": ["pods"]}
POTS = core("pots", "get", "archive", group="tea.example.com")
EXISTS = {"matchExpressions": [{"key": "tea.example.com/pot", "operator": "Exists"}]}
PROFILES = {"matchLabels": {"app.kubernetes.io/part-of": "kubeflow-profile"}}


def for_everybody() -> dict:
    group = {"kind": "Group", "name": "system:authenticated"}
    reference = {"kind": "ClusterRole", "name": "x"}
    return thing(RBAC, "ClusterRoleBinding", roleRef=reference, subjects=[group])


def collector(key: str, **rest) -> dict:
    selector = {"matchLabels": {key: "true"}, **rest}
    return thing(RBAC, "ClusterRole", aggregationRule={"clusterRoleSelectors": [selector]})


def subject(account_name: str, namespace: str = "m", **rest) -> dict:
    reference = {"kind": "Role", "name": "x", **rest}
    account = {"kind": "ServiceAccount", "name": account_name, "namespace": namespace}
    return thing(RBAC, "RoleBinding", roleRef=reference, subjects=[account])


@pytest.mark.parametrize(
    "manifests",
    [
        [thing("v1", "ConfigMap")],
        [thing("v1", "Secret", metadata={"namespace": "m"})],
        [thing("v1", "Service", spec={"type": "LoadBalancer", "selector": OWN})],
        [thing("v1", "Service", spec={"clusterIP": "None", "selector": {**OWN, "a": "b"}})],
        [
            thing(
                "networking.k8s.io/v1", "NetworkPolicy", spec={"podSelector": {"matchLabels": OWN}}
            )
        ],
        [definition()],
        [definition(), thing("tea.example.com/v1", "Pot", metadata={"namespace": "m"})],
        [definition(scope="Cluster"), thing("tea.example.com/v1", "Pot")],
        [definition(group="sparkoperator.k8s.io")],
        [role(), binding()],
        here(core("configmaps", "get")),
        here(core("secrets", "get", "list", "watch", resourceNames=["maker-key"])),
        [thing("v1", "Service", spec={"ports": [{"port": 80}]})],
        here(core("endpoints", "create")),
        [
            thing("v1", "Service", "led", spec={"ports": [{"port": 80}]}),
            *here(core("endpoints", "update", "patch", resourceNames=["led"])),
        ],
        [
            thing("v1", "Secret", "mlpipeline"),
            *here(core("secrets", "get", resourceNames=["mlpipeline"])),
        ],
        here(core("secrets", "create")),
        bound(core("pods", "create", "delete")),
        bound(core("roles", "create", group="rbac.authorization.k8s.io")),
        bound(
            core(
                "clusterroles",
                "bind",
                group="rbac.authorization.k8s.io",
                resourceNames=["kubeflow-edit", "x"],
            )
        ),
        bound(core("inferenceservices", "create", group="serving.kserve.io")),
        bound({"nonResourceURLs": ["/metrics"], "verbs": ["get"]}),
        [definition(), *bound(POTS)],
        [definition(), aggregate(core("pots", "create", group="tea.example.com"))],
        [aggregate(core("pods/exec", "create"), "kubeflow-edit", "kubeflow.org")],
        [aggregate(core("pods", "get"), "kubeflow-view", "kubeflow.org")],
        [collector("rbac.authorization.kubeflow.org/aggregate-to-kubeflow-tea-admin")],
        [
            thing("v1", "ServiceAccount", "maker-runner"),
            role("Role", core("pods", "get")),
            subject("maker-runner"),
        ],
        [definition(), role(rule=core("pots", "list", group="tea.example.com")), for_everybody()],
        [definition(), webhook()],
        [definition(), webhook(PODS, objectSelector=EXISTS)],
        [webhook(PODS, namespaceSelector=PROFILES)],
        [webhook(PODS, namespaceSelector={"matchLabels": {"katib.kubeflow.org/inject": "yes"}})],
        [
            definition(),
            thing("v1", "Service", "hooks", spec={"selector": OWN}),
            webhook(service={"name": "hooks"}),
        ],
    ],
)
def test_what_a_controller_needs_is_let_through(manifests: list[dict]):
    assert rules(*manifests) == []


@pytest.mark.parametrize(
    ("rule", "manifests"),
    [
        ("kind", [thing("v1", "Pod")]),
        ("kind", [thing("apps/v1", "DaemonSet")]),
        ("kind", [thing("v1", "Namespace")]),
        ("kind", [thing("tea.example.com/v1", "Pot")]),
        ("kind", [thing(ADMISSION, "ValidatingAdmissionPolicy")]),
        ("kind", [thing("rbac.authorization.k8s.io/v1beta1", "ClusterRole")]),
        ("kind", [thing("v1", "ConfigMap", metadata={"ownerReferences": [{"name": "y"}]})]),
        ("kind", [thing("v1", "ConfigMap", metadata={"finalizers": ["tea/hold"]})]),
        ("name", [thing("v1", "ServiceAccount", "mariadb")]),
        ("name", [thing("v1", "Secret", "resource-broker.maker")]),
        ("namespace", [thing("v1", "ConfigMap", metadata={"namespace": "kube-system"})]),
        ("namespace", [role("Role", core("pods", "get"), metadata={"namespace": "other"})]),
        ("namespace", [definition(), thing("tea.example.com/v1", "Pot", metadata={"namespace": "o"})]),
        ("namespace", [thing("v1", "ConfigMap", metadata={"namespace": "$(tenant)"})]),
        ("binding", [role(), binding(name="cluster-admin")]),
        ("binding", [role(), binding(name="kubeflow-admin")]),
        ("binding", [role(), binding(role="Role")]),
        ("binding", [role(), binding(namespace="kube-system")]),
        ("binding", [role(), for_everybody()]),
        ("binding", [role("Role", core("pods", "get")), subject("mariadb")]),
        ("binding", [role("Role", core("pods", "get")), subject("maker-undeclared")]),
        ("binding", [role(), thing(RBAC, "ClusterRoleBinding", roleRef={"kind": "ClusterRole", "name": "x"}, subjects=[])]),
        ("right", bound(core("pods", "*"))),
        ("right", bound(core("*", "get"))),
        ("right", bound(core("*/scale", "get", group="apps"))),
        ("right", here(core("pods", "get", group="*"))),
        ("right", bound(core("clusterroles", "escalate", group="rbac.authorization.k8s.io"))),
        ("right", bound(core("clusterroles", "bind", group="rbac.authorization.k8s.io"))),
        ("right", bound(core("clusterroles", "bind", group="rbac.authorization.k8s.io", resourceNames=["cluster-admin"]))),
        ("right", here(core("serviceaccounts", "impersonate"))),
        ("right", bound(core("secrets", "get"))),
        ("right", bound(core("secrets", "list"))),
        ("right", bound(core("secrets", "create"))),
        ("right", here(core("secrets", "get"))),
        ("right", here(core("secrets", "list"))),
        ("right", here(core("secrets", "watch", resourceNames=["mariadb-key"]))),
        ("right", here(core("secrets", "deletecollection", resourceNames=["maker-key"]))),
        ("right", here(core("secrets", "get", resourceNames=["resource-broker.maker"]))),
        ("right", here(core("secrets", "get", resourceNames=["maker-application-config"]))),
        ("right", [role(rule=core("secrets", "get", resourceNames=["mariadb-key"])), binding("RoleBinding")]),
        ("right", bound(core("pods/exec", "create"))),
        ("right", bound(core("pods/ephemeralcontainers", "patch"))),
        ("right", bound(core("pods/proxy", "get"))),
        ("right", bound(core("services/proxy", "get"))),
        ("right", bound(core("nodes/proxy", "get"))),
        ("right", bound(core("nodes", "patch"))),
        ("right", bound(core("namespaces", "patch"))),
        ("right", bound(core("endpoints", "update"))),
        ("right", bound(core("endpoints", "create"))),
        ("right", here(core("endpoints", "update"))),
        ("right", here(core("endpoints", "update", resourceNames=["mariadb"]))),
        ("right", [thing("v1", "Service", "led", spec={"selector": OWN}), *here(core("endpoints", "update", resourceNames=["led"]))]),
        ("right", [thing("v1", "Service", "led"), *here(core("endpoints", "delete", resourceNames=["led"]))]),
        ("right", bound(core("endpointslices", "update", group="discovery.k8s.io"))),
        ("right", bound(core("apiservices", "create", group="apiregistration.k8s.io"))),
        ("right", bound(core("volumeattachments", "create", group="storage.k8s.io"))),
        ("right", bound(core("persistentvolumes", "create"))),
        ("right", bound(core("serviceaccounts", "patch"))),
        ("right", bound(core("serviceaccounts/token", "create"))),
        ("right", here(core("serviceaccounts/token", "create"))),
        ("right", bound(core("networkpolicies", "delete", group="networking.k8s.io"))),
        ("right", bound(core("daemonsets", "create", group="apps"))),
        ("right", bound(core("clusterrolebindings", "create", group="rbac.authorization.k8s.io"))),
        ("right", bound(core("validatingadmissionpolicies", "delete", group="admissionregistration.k8s.io"))),
        ("right", bound(core("mutatingwebhookconfigurations", "patch", group="admissionregistration.k8s.io"))),
        ("right", bound(core("customresourcedefinitions", "patch", group="apiextensions.k8s.io"))),
        ("right", bound(core("certificatesigningrequests/approval", "update", group="certificates.k8s.io"))),
        ("right", bound(core("clusterpolicies", "create", group="kyverno.io"))),
        ("right", bound(core("applications", "create", group="argoproj.io"))),
        ("right", [definition(), *bound(core("kettles", "get", group="tea.example.com"))]),
        ("right", [aggregate(core("secrets", "get"), "view")]),
        ("right", [aggregate(core("pods", "create"), "kubeflow-view", "kubeflow.org")]),
        ("right", [aggregate(core("clusterpolicies", "create", group="kyverno.io"))]),
        ("right", [aggregate(core("roles", "create", group="rbac.authorization.k8s.io"), "edit")]),
        ("url", bound({"nonResourceURLs": ["/api/*"], "verbs": ["get"]})),
        ("url", bound({"nonResourceURLs": ["/metrics"], "verbs": ["post"]})),
        ("aggregation", [thing(RBAC, "ClusterRole", aggregationRule={"clusterRoleSelectors": [{}]})]),
        ("aggregation", [collector("rbac.authorization.k8s.io/aggregate-to-admin")]),
        ("aggregation", [collector("rbac.authorization.kubeflow.org/aggregate-to-x", matchExpressions=[{"key": "a", "operator": "Exists"}])]),
        ("aggregation", [collector("rbac.authorization.kubeflow.org/aggregate-to-x"), binding()]),
        ("aggregation", [role(rule=core("pods", "get"), metadata={"labels": {"rbac.example.com/aggregate-to-root": "true"}})]),
        ("webhook", [definition(), webhook(service={"namespace": "kube-system"})]),
        ("webhook", [definition(), webhook(service={"name": "mariadb"})]),
        ("webhook", [definition(), thing(ADMISSION, "ValidatingWebhookConfiguration", webhooks=[{"clientConfig": {"url": "https://evil.example.com"}}])]),
        ("webhook", [webhook({"apiGroups": ["*"], "resources": ["*"]})]),
        ("webhook", [definition(), webhook({"resources": ["*"]})]),
        ("webhook", [definition(), webhook({"resources": ["kettles"]})]),
        ("webhook", [webhook({"apiGroups": ["serving.kserve.io"], "resources": ["inferenceservices"]})]),
        ("webhook", [webhook(PODS)]),
        ("webhook", [webhook(PODS, objectSelector={"matchLabels": {"app.kubernetes.io/name": "resource-broker"}})]),
        ("webhook", [webhook(PODS, objectSelector={"matchExpressions": [{"key": "k8s-app", "operator": "Exists"}]})]),
        ("webhook", [definition(), webhook(PODS, objectSelector={"matchExpressions": [{"key": "tea.example.com/pot", "operator": "DoesNotExist"}]})]),
        ("webhook", [webhook(PODS, namespaceSelector={"matchLabels": {"kubernetes.io/metadata.name": "m"}})]),
        ("webhook", [webhook(PODS, namespaceSelector={"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["o"]}]})]),  # codespell:ignore notin
        ("webhook", [webhook(PODS, namespaceSelector={"matchLabels": {"pod-security.kubernetes.io/enforce": "privileged"}})]),
        ("webhook", [definition(), webhook({"apiGroups": [""], "resources": ["secrets"]}, objectSelector=EXISTS)]),
        ("webhook", [definition(conversion={"strategy": "Webhook", "webhook": {"clientConfig": {"url": "https://evil.example.com"}}})]),
        ("group", [definition(group="apps.k8s.io")]),
        ("group", [definition(group="policy.kubernetes.io")]),
        ("group", [definition(group="model.juju.is")]),
        ("group", [definition(group="apps", kind="Deployment")]),
        ("group", [{**definition(), "metadata": {"name": "pots.other.example.com"}}]),
        ("secret-type", [thing("v1", "Secret", type="kubernetes.io/service-account-token")]),
        ("service", [thing("v1", "Service", spec={"type": "ExternalName", "selector": OWN})]),
        ("service", [thing("v1", "Service", spec={"externalIPs": ["10.0.0.1"], "selector": OWN})]),
        ("service", [thing("v1", "Service", spec={"type": "LoadBalancer", "selector": {"app.kubernetes.io/name": "mariadb"}})]),
        ("service", [thing("v1", "Service", spec={"clusterIP": "None"})]),
        ("service", [thing("v1", "Service", spec={"type": "LoadBalancer"})]),
        ("network-policy", [thing("networking.k8s.io/v1", "NetworkPolicy", spec={"podSelector": {}})]),
        ("network-policy", [thing("networking.k8s.io/v1", "NetworkPolicy", spec={"podSelector": {"matchLabels": {"app.kubernetes.io/name": "mariadb"}}})]),
        ("malformed", [thing(RBAC, "ClusterRole", rules={"verbs": "*"})]),
        ("malformed", [thing(RBAC, "ClusterRole", rules=[{"verbs": "*"}])]),
        ("malformed", [thing(ADMISSION, "MutatingWebhookConfiguration", webhooks=["x"])]),
        ("malformed", [thing("apiextensions.k8s.io/v1", "CustomResourceDefinition", spec={"group": "a.b"})]),
        ("malformed", [thing("v1", "Service", spec=[])]),
    ],
)  # fmt: skip
def test_what_gives_more_is_refused(rule: str, manifests: list):
    assert rules(*manifests) == [rule]


TENANT_POLICY = thing("networking.k8s.io/v1", "NetworkPolicy", spec={"podSelector": {}})
TENANT_BINDING = subject("default-editor", "$(tenant)", kind="ClusterRole", name="kubeflow-edit")


@pytest.mark.parametrize(
    ("refused", "manifests", "tenants"),
    [
        ([], [], [thing("v1", "Secret", metadata={"namespace": "$(tenant)"})]),
        ([], [], [thing("v1", "Secret", metadata={"namespace": "alice"})]),
        ([], [], [TENANT_POLICY]),
        ([], [], [TENANT_BINDING]),
        ([], [role(rule=core("secrets", "list"))], [binding("RoleBinding")]),
        (["right"], [role(rule=core("pods/exec", "create"))], [binding("RoleBinding")]),
        (["right"], [role(rule=core("secrets", "list")), binding("RoleBinding")], []),
        (["binding"], [], [subject("maker", kind="ClusterRole", name="kubeflow-edit")]),
        (["binding"], [], [subject("default-editor", "$(tenant)", kind="ClusterRole", name="admin")]),
        (["namespace"], [], [role()]),
        (["namespace"], [], [thing("v1", "ConfigMap", metadata={"namespace": "m"})]),
        (["kind"], [], [thing("v1", "Pod")]),
    ],
)  # fmt: skip
def test_objects_for_tenants_have_their_own_bounds(refused, manifests, tenants):
    assert rules(*manifests, tenants=tenants) == refused


@pytest.mark.parametrize(
    ("entry", "manifests"),
    [
        ("{resources: [secrets], verbs: [list]}", bound(core("secrets", "list"))),
        ("{resources: [secrets], verbs: [get], scope: model}", here(core("secrets", "get"))),
        ("{object: PriorityClass/x}", [thing("scheduling.k8s.io/v1", "PriorityClass")]),
        ("{group: tea.example.com, kind: Pot}", [thing("tea.example.com/v1", "Pot")]),
    ],
)
def test_the_administrator_allows_exactly_what_he_names(entry: str, manifests: list[dict]):
    granted: list[Grant] = list(grants(f"maker: [{entry}]")["maker"])
    assert rules(*manifests, granted=granted) == []
    assert len(rules(*manifests)) == 1
    more = bound(core("secrets", "list", "delete"))
    assert rules(*more, granted=granted) == ["right"]
    named = bound(core("secrets", "list", resourceNames=["a"]))
    only = grants("maker: [{resources: [secrets], verbs: [list], resourceNames: [b]}]")["maker"]
    assert rules(*named, granted=only) == ["right"]
