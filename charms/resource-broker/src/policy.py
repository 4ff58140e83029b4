"""What an application may declare. Whatever is not known to be harmless is refused."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Manifest = Mapping[str, Any]

_RBAC = "rbac.authorization.k8s.io/v1"
_ADMISSION = "admissionregistration.k8s.io/v1"
CRD = ("apiextensions.k8s.io/v1", "CustomResourceDefinition")
WEBHOOKS = (
    (_ADMISSION, "MutatingWebhookConfiguration"),
    (_ADMISSION, "ValidatingWebhookConfiguration"),
)
CLUSTER_KINDS = {CRD, (_RBAC, "ClusterRole"), (_RBAC, "ClusterRoleBinding"), *WEBHOOKS}
NAMESPACED_KINDS = {
    ("v1", "ConfigMap"),
    ("v1", "Secret"),
    ("v1", "Service"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    (_RBAC, "Role"),
    (_RBAC, "RoleBinding"),
}
# Verbs that give more than they say: https://kubernetes.io/docs/concepts/security/rbac-good-practices/
_ESCALATING_VERBS = {"*", "escalate", "impersonate", "bind", "approve", "sign", "attest"}
_READ = {"get", "list", "watch"}
# resource -> verbs that a cluster-wide role may have on it; other resources: any named verb
_SENSITIVE = {
    "secrets": {"get"},
    "nodes/proxy": set(),
    "pods/exec": set(),
    "pods/attach": set(),
    "pods/portforward": set(),
    "serviceaccounts/token": set(),
    "certificatesigningrequests/approval": set(),
    "customresourcedefinitions": _READ,
    "mutatingwebhookconfigurations": _READ,
    "validatingwebhookconfigurations": _READ,
    "validatingadmissionpolicies": _READ,
    "mutatingadmissionpolicies": _READ,
    "clusterroles": _READ,
    "clusterrolebindings": _READ,
    "persistentvolumes": _READ,
}
# in the model's own namespace
_SENSITIVE_HERE = {"serviceaccounts/token": set(), "pods/exec": set(), "pods/attach": set()}
_RESERVED_GROUP = re.compile(r"(^|\.)(k8s|kubernetes)\.io$")
_AGGREGATE = re.compile(r"/aggregate-to-")
RULES = (
    "kind", "namespace", "binding", "wildcard", "verb", "sensitive", "aggregation", "url",
    "webhook", "group", "secret-type", "service",
)  # fmt: skip


@dataclass(frozen=True)
class Refusal:
    """Why an object is refused.

    Attributes:
        rule: the rule's name, which the config option `allow` takes.
        reason: one line.
    """

    rule: str
    reason: str


@dataclass(frozen=True)
class Policy:
    """The rules for one application.

    Attributes:
        application: who asks.
        service_account: what its pods run as.
        namespace: the model's.
        allowed: rules that the administrator lifts for it.
    """

    application: str
    service_account: str
    namespace: str
    allowed: Collection[str] = field(default=())

    def check(self, manifests: Collection[Manifest]) -> Iterator[tuple[Manifest, Refusal]]:
        """Each refused object with the first reason for it."""
        own = _Declared.of(manifests)
        for manifest in manifests:
            for refusal in self._refusals(manifest, own):
                if refusal.rule not in self.allowed:
                    yield manifest, refusal
                    break

    def _refusals(self, manifest: Manifest, own: _Declared) -> Iterator[Refusal]:
        identity = (manifest["apiVersion"], manifest["kind"])
        group = identity[0].rpartition("/")[0]
        custom = own.scopes.get((group, identity[1]))
        namespace = manifest["metadata"].get("namespace")
        if identity not in CLUSTER_KINDS | NAMESPACED_KINDS and custom is None:
            yield Refusal("kind", f"applications may not declare a {identity[1]}")
        if identity in NAMESPACED_KINDS or custom == "Namespaced":
            if namespace not in (None, self.namespace):
                yield Refusal("namespace", f"namespace {namespace} is not the model's")
        elif namespace is not None and custom != "Namespaced":
            yield Refusal("namespace", f"a {identity[1]} has no namespace")
        if manifest["metadata"].get("ownerReferences") or manifest["metadata"].get("finalizers"):
            yield Refusal("kind", "ownerReferences and finalizers may not be declared")
        match identity:
            case (_, "CustomResourceDefinition"):
                yield from self._definition(manifest)
            case (_, "ClusterRole") | (_, "Role"):
                yield from self._role(manifest, own)
            case (_, "ClusterRoleBinding") | (_, "RoleBinding"):
                yield from self._binding(manifest, own)
            case (_, "MutatingWebhookConfiguration") | (_, "ValidatingWebhookConfiguration"):
                yield from self._webhooks(manifest, own)
            case ("v1", "Secret"):
                kind = manifest.get("type", "Opaque")
                if kind not in ("Opaque", "kubernetes.io/tls", "kubernetes.io/dockerconfigjson"):
                    yield Refusal("secret-type", f"a Secret of type {kind} is not allowed")
            case ("v1", "Service"):
                spec = manifest.get("spec") or {}
                if spec.get("type") == "ExternalName" or spec.get("externalIPs"):
                    yield Refusal("service", "ExternalName and externalIPs redirect traffic")
            case _:
                pass

    def _definition(self, manifest: Manifest) -> Iterator[Refusal]:
        spec = manifest.get("spec") or {}
        if _RESERVED_GROUP.search(spec.get("group", "")):
            yield Refusal("group", f"API group {spec.get('group')} is reserved for Kubernetes")
        conversion = (spec.get("conversion") or {}).get("webhook")
        if conversion:
            yield from self._client(conversion.get("clientConfig") or {}, None)

    def _role(self, manifest: Manifest, own: _Declared) -> Iterator[Refusal]:
        if manifest.get("aggregationRule"):
            yield Refusal("aggregation", "an aggregationRule collects rules that nobody checked")
        labels = manifest["metadata"].get("labels") or {}
        aggregate = any(_AGGREGATE.search(label) for label in labels)
        for rule in manifest.get("rules") or ():
            groups, resources = rule.get("apiGroups") or (), rule.get("resources") or ()
            verbs = set(rule.get("verbs") or ())
            urls = rule.get("nonResourceURLs") or ()
            if "*" in verbs or any("*" in part for part in (*groups, *resources)):
                yield Refusal("wildcard", "no * in verbs, resources and apiGroups: name them")
            if escalating := sorted(verbs & (_ESCALATING_VERBS - {"*"})):
                yield Refusal("verb", f"verb {escalating[0]} would let it raise its own rights")
            if any("*" in url for url in urls):
                yield Refusal("url", "no * in nonResourceURLs: name them")
            limits = _SENSITIVE if manifest["kind"] == "ClusterRole" else _SENSITIVE_HERE
            for resource in resources:
                if resource in limits and (beyond := verbs - limits[resource]):
                    where = "cluster-wide" if limits is _SENSITIVE else "in the namespace"
                    text = f"{'/'.join(sorted(beyond))} on {resource} {where} is too much"
                    yield Refusal("sensitive", text)
            foreign = sorted(set(groups) - own.groups)
            if aggregate and (foreign or urls):
                yield Refusal(
                    "aggregation",
                    f"an aggregate role may only name its own API groups, not {foreign or urls}",
                )

    def _binding(self, manifest: Manifest, own: _Declared) -> Iterator[Refusal]:
        reference = manifest.get("roleRef") or {}
        if (reference.get("kind"), reference.get("name")) not in own.roles:
            yield Refusal(
                "binding", f"{reference.get('name')} is not a role that the application declares"
            )
        subjects = manifest.get("subjects") or ()
        if not subjects:
            yield Refusal("binding", "it has no subject")
        for subject in subjects:
            if (
                subject.get("kind") != "ServiceAccount"
                or subject.get("name") != self.service_account
                or subject.get("namespace") != self.namespace
            ):
                yield Refusal(
                    "binding",
                    f"it may name only ServiceAccount {self.namespace}/{self.service_account}, "
                    f"not {subject.get('kind')} {subject.get('name')}",
                )

    def _webhooks(self, manifest: Manifest, own: _Declared) -> Iterator[Refusal]:
        for webhook in manifest.get("webhooks") or ():
            yield from self._client(webhook.get("clientConfig") or {}, own)
            selected = _selects(webhook.get("objectSelector"))
            for rule in webhook.get("rules") or ():
                groups, resources = rule.get("apiGroups") or (), rule.get("resources") or ()
                if any("*" in part for part in (*groups, *resources)):
                    yield Refusal("webhook", "no * in a webhook's apiGroups and resources")
                foreign = sorted(set(groups) - own.groups)
                if foreign and (set(resources) != {"pods"} or groups != [""] or not selected):
                    yield Refusal(
                        "webhook",
                        "it may see only its own API groups, and pods by an objectSelector",
                    )

    def _client(self, client: Mapping[str, Any], own: _Declared | None) -> Iterator[Refusal]:
        service = client.get("service") or {}
        names = {self.application} | (own.services if own else set())
        if client.get("url") or service.get("namespace") != self.namespace:
            yield Refusal("webhook", "it has to call a Service in the model's namespace")
        elif service.get("name") not in names:
            yield Refusal("webhook", f"{service.get('name')} is not a Service of the application")


def _selects(selector: Mapping[str, Any] | None) -> bool:
    """Whether an objectSelector asks for something that a pod has to carry."""
    if not selector:
        return False
    return bool(selector.get("matchLabels")) or any(
        expression.get("operator") in ("Exists", "In")
        for expression in selector.get("matchExpressions") or ()
    )


@dataclass(frozen=True)
class _Declared:
    """What the application declares itself, which other objects of it may refer to."""

    scopes: Mapping[tuple[str, str], str]
    groups: set[str]
    roles: set[tuple[str, str]]
    services: set[str]

    @classmethod
    def of(cls, manifests: Collection[Manifest]) -> _Declared:
        scopes, roles, services = {}, set(), set()
        for manifest in manifests:
            identity = (manifest["apiVersion"], manifest["kind"])
            if identity == CRD:
                spec = manifest.get("spec") or {}
                kind = (spec.get("names") or {}).get("kind", "")
                scopes[spec.get("group", ""), kind] = spec.get("scope", "")
            elif identity[0] == _RBAC and identity[1] in ("Role", "ClusterRole"):
                roles.add((identity[1], manifest["metadata"]["name"]))
            elif identity == ("v1", "Service"):
                services.add(manifest["metadata"]["name"])
        return cls(scopes, {group for group, _ in scopes}, roles, services)
