"""What an application may declare. Whatever the rules do not allow is refused."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pydantic
import rights
import shapes
import yaml
from kinds import CLUSTER_KINDS, CRD, NAME_LABEL, NAMESPACED_KINDS, RBAC, WEBHOOKS

from charmed_mlops.interfaces.manifests import TENANT, TENANT_LABEL

Manifest = Mapping[str, Any]

_SHAPES: Mapping[tuple[str, str], type[shapes._Object]] = {
    CRD: shapes.Definition,
    (RBAC, "ClusterRole"): shapes.Role,
    (RBAC, "Role"): shapes.Role,
    (RBAC, "ClusterRoleBinding"): shapes.Binding,
    (RBAC, "RoleBinding"): shapes.Binding,
    **dict.fromkeys(WEBHOOKS, shapes.Webhooks),
    ("v1", "Service"): shapes.Service,
    ("v1", "Secret"): shapes.Secret,
    ("networking.k8s.io/v1", "NetworkPolicy"): shapes.NetworkPolicy,
}
# Groups whose kinds, and label domains whose labels, belong to the cluster or to Juju.
_RESERVED = re.compile(
    r"(^|\.)(k8s\.io|kubernetes\.io|juju\.is|charmed-mlops\.io|projectcalico\.org|cilium\.io)$"
)
_OPEN_GROUPS = {"sparkoperator.k8s.io", "metacontroller.k8s.io", "app.k8s.io"}
# An application that owns a kind of the group may see the pods with labels of these domains.
_LABEL_DOMAINS = {"jobset.x-k8s.io": {"jobset.sigs.k8s.io"}}
_VIRTUAL_DOMAINS = {"pipelines.kubeflow.org"}
_AGGREGATE = re.compile(
    r"rbac\.authorization\.(k8s\.io|kubeflow\.org)/aggregate-to-(\S*?)(view|edit|admin)"
)
_AGGREGATED = re.compile(r"rbac\.authorization\.kubeflow\.org/aggregate-to-[a-z0-9.-]+")
# Roles of users, which the application that makes their namespaces may bind.
_USER_ROLES = {"kubeflow-admin", "kubeflow-edit", "kubeflow-view"}
_VERB = re.compile(r"[a-zA-Z]{1,63}")
_SECRET_TYPES = {
    "Opaque", "kubernetes.io/tls", "kubernetes.io/dockerconfigjson", "kubernetes.io/basic-auth",
    "kubernetes.io/ssh-auth",
}  # fmt: skip


class Grant(pydantic.BaseModel):
    """What the administrator allows one application beyond the rules.

    Either rights (verbs on resources at a scope), or one object (`Kind/name`) as it is declared,
    or custom resources of a kind that another application defines.
    """

    model_config = pydantic.ConfigDict(extra="forbid")

    api_groups: list[str] = pydantic.Field([""], alias="apiGroups")
    resources: list[str] = []
    verbs: list[str] = []
    scope: str = "cluster"
    resource_names: list[str] = pydantic.Field([], alias="resourceNames")
    object: str | None = None
    kind: str | None = None
    group: str | None = None

    @pydantic.model_validator(mode="after")
    def _complete(self) -> Grant:
        if self.scope not in rights.SCOPES:
            raise ValueError(f"scope {self.scope!r} is none of {', '.join(rights.SCOPES)}")
        forms = (bool(self.resources and self.verbs), self.object is not None, bool(self.kind))
        if sum(forms) != 1 or (self.kind and not self.group):
            raise ValueError("write resources and verbs, or object, or kind and group")
        return self

    def covers(self, scope: str, group: str, resource: str, verb: str, names: Sequence[str]):
        """Whether it allows the verb on the resource, for these names or, without, for all."""
        return (
            scope == self.scope
            and group in self.api_groups
            and resource in self.resources
            and verb in self.verbs
            and (not (only := set(self.resource_names)) or (bool(names) and set(names) <= only))
        )


Grants = Mapping[str, Sequence[Grant]]


def grants(text: str) -> Grants:
    """The grants per application from the config option's YAML.

    Raises:
        ValueError: not of that form; the text says where.
    """
    try:
        found = yaml.safe_load(text) or {}
        return pydantic.TypeAdapter(dict[str, list[Grant]]).validate_python(found)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ValueError(f"not YAML{where}") from None
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        reason = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{where}: {reason}") from None


@dataclass(frozen=True)
class Right:
    """One verb on one resource, as a role asks for it.

    Attributes:
        scope: where, see rights.py.
        verb: such as `list`.
        on: `resource` or `resource.group`, with the names that the role limits it to.
    """

    scope: str
    verb: str
    on: str


@dataclass(frozen=True)
class Refusal:
    """Why an object is refused.

    Attributes:
        rule: the rule's name.
        reason: one line.
        right: what a role may not give, under the rule `right`.
    """

    rule: str
    reason: str
    right: Right | None = None


@dataclass(frozen=True)
class Policy:
    """The rules for one application.

    Attributes:
        application: who asks; Juju gives it a ServiceAccount of its name.
        namespace: the model's.
        granted: what the administrator allows it beyond the rules.
        broker: the broker's own name, which its inventories' names begin with.
    """

    application: str
    namespace: str
    granted: Sequence[Grant] = ()
    broker: str = "resource-broker"

    def check(
        self, manifests: Collection[Manifest], tenants: Collection[Manifest] = ()
    ) -> Iterator[tuple[Manifest, Refusal]]:
        """Each refused object with the first reason for it."""
        for manifest, refusals in self._verdicts(manifests, tenants):
            for refusal in refusals:
                yield manifest, refusal
                break

    def refusals(
        self, manifests: Collection[Manifest], tenants: Collection[Manifest] = ()
    ) -> Iterator[tuple[Manifest, Refusal]]:
        """Each refused object with every reason for it."""
        for manifest, refusals in self._verdicts(manifests, tenants):
            for refusal in refusals:
                yield manifest, refusal

    def rights(
        self, manifests: Collection[Manifest], tenants: Collection[Manifest] = ()
    ) -> set[Right]:
        """The rights that the roles ask for and that the rules, or what is granted, give."""
        parsed, _ = _parsed(manifests, tenants)
        declared = _Declared(parsed)
        return {
            right
            for manifest, shape, tenant in parsed
            if isinstance(shape, shapes.Role)
            for right in _Checker(self, declared, tenant).given(manifest["kind"], shape)
        }

    def _verdicts(
        self, manifests: Collection[Manifest], tenants: Collection[Manifest]
    ) -> Iterator[tuple[Manifest, Iterator[Refusal]]]:
        parsed, malformed = _parsed(manifests, tenants)
        for manifest, refusal in malformed:
            yield manifest, iter([refusal])
        declared = _Declared(parsed)
        excused = {grant.object for grant in self.granted if grant.object}
        for manifest, shape, tenant in parsed:
            if f"{manifest['kind']}/{shape.metadata.name}" not in excused:
                identity = (manifest["apiVersion"], manifest["kind"])
                yield manifest, _Checker(self, declared, tenant).refusals(identity, shape)

    def may_declare(self, group: str, kind: str) -> bool:
        """Whether the administrator lets it declare custom resources of a foreign kind."""
        return any(grant.kind == kind and grant.group == group for grant in self.granted)


_Parsed = tuple[Manifest, shapes._Object, bool]


def _parsed(
    manifests: Collection[Manifest], tenants: Collection[Manifest]
) -> tuple[list[_Parsed], list[tuple[Manifest, Refusal]]]:
    """The objects with their shapes and whether they are for tenants; and the malformed ones."""
    parsed: list[_Parsed] = []
    malformed: list[tuple[Manifest, Refusal]] = []
    for found, tenant in ((manifests, False), (tenants, True)):
        for manifest in found:
            identity = (manifest["apiVersion"], manifest["kind"])
            try:
                shape = _SHAPES.get(identity, shapes.Plain).model_validate(dict(manifest))
            except pydantic.ValidationError as error:
                first = error.errors()[0]
                where = ".".join(map(str, first["loc"]))
                text = f"malformed: {where}: {first['msg']}"
                malformed.append((manifest, Refusal("malformed", text)))
            else:
                parsed.append((manifest, shape, tenant))
    return parsed, malformed


class _Declared:
    """What the application declares itself, which other objects of it may refer to."""

    def __init__(self, parsed: Sequence[_Parsed]):
        self.definitions: dict[tuple[str, str], str] = {}  # (group, kind) -> scope
        self.plurals: set[tuple[str, str]] = set()
        self.roles: dict[tuple[str, str, bool], shapes.Role] = {}
        self.accounts: set[str] = set()
        self.services: set[str] = set()
        self.unselective: set[str] = set()  # Services whose endpoints the application writes
        self.secrets: set[str] = set()
        self.bindings: list[tuple[str, bool, shapes.Binding]] = []
        for manifest, shape, tenant in parsed:
            kind, name = manifest["kind"], shape.metadata.name
            match shape:
                case shapes.Definition(spec=spec) if not tenant:
                    self.definitions[spec.group, spec.names.kind] = spec.scope
                    self.plurals.add((spec.group, spec.names.plural))
                case shapes.Role():
                    self.roles[kind, name, tenant] = shape
                case shapes.Binding():
                    self.bindings.append((kind, tenant, shape))
                case shapes.Service() if not tenant:
                    self.services.add(name)
                    if shape.spec.unselective:
                        self.unselective.add(name)
                case shapes.Secret() if not tenant:
                    self.secrets.add(name)
                case _ if kind == "ServiceAccount" and not tenant:
                    self.accounts.add(name)
                case _:
                    pass

    @cached_property
    def groups(self) -> set[str]:
        return {group for group, _ in self.plurals}

    def role(self, binding: shapes.Binding, tenant: bool) -> shapes.Role | None:
        """The declared role that a binding refers to."""
        kind, name = binding.role.kind, binding.role.name
        if kind == "ClusterRole":
            return self.roles.get((kind, name, False))
        return self.roles.get((kind, name, tenant))

    def scopes(self, kind: str, name: str) -> set[str]:
        """Where a declared cluster role is bound."""
        return {
            "cluster" if bound == "ClusterRoleBinding" else "tenants" if tenant else "model"
            for bound, tenant, binding in self.bindings
            if (binding.role.kind, binding.role.name) == (kind, name)
        }


class _Checker:
    """The rules for one object."""

    def __init__(self, policy: Policy, declared: _Declared, tenant: bool):
        self.policy, self.declared, self.tenant = policy, declared, tenant
        self.application, self.namespace = policy.application, policy.namespace

    def refusals(self, identity: tuple[str, str], shape: shapes._Object) -> Iterator[Refusal]:
        yield from self._kind(identity, shape.metadata)
        match shape:
            case shapes.Role():
                yield from self._role(identity[1], shape)
            case shapes.Definition():
                yield from self._definition(shape)
            case shapes.Binding():
                yield from self._binding(shape)
            case shapes.Webhooks():
                yield from self._webhooks(shape)
            case shapes.Secret():
                yield from self._secret(shape)
            case shapes.Service():
                yield from self._service(shape)
            case shapes.NetworkPolicy():
                yield from self._network_policy(shape)
            case _ if identity == ("v1", "ServiceAccount") and not self.tenant:
                name = shape.metadata.name
                if not name.startswith(f"{self.application}-"):
                    text = f"name a ServiceAccount {self.application}-…, not {name}"
                    yield Refusal("name", text)
            case _:
                pass

    def _kind(self, identity: tuple[str, str], metadata: shapes.Metadata) -> Iterator[Refusal]:
        group, kind = identity[0].rpartition("/")[0], identity[1]
        scope = self.declared.definitions.get((group, kind))
        granted = self.policy.may_declare(group, kind)
        if identity not in CLUSTER_KINDS | NAMESPACED_KINDS and scope is None and not granted:
            yield Refusal("kind", f"applications may not declare a {kind}")
        if self.tenant and (identity in CLUSTER_KINDS or scope == "Cluster"):
            yield Refusal("namespace", f"a {kind} is not of one tenant")
        if not self.tenant and TENANT in str(metadata):
            yield Refusal("namespace", f"{TENANT} stands only in objects for tenants")
        namespace = metadata.namespace
        if identity in NAMESPACED_KINDS or scope == "Namespaced" or granted:
            own = (None, self.namespace)
            if not self.tenant and namespace not in own:
                yield Refusal("namespace", f"namespace {namespace} is not the model's")
            if self.tenant and namespace == self.namespace:
                yield Refusal("namespace", "the model's namespace is not a tenant's")
        elif namespace is not None:
            yield Refusal("namespace", f"a {kind} has no namespace")
        if metadata.ownerReferences or metadata.finalizers:
            yield Refusal("kind", "ownerReferences and finalizers may not be declared")
        if identity == ("v1", "Secret") and metadata.name.startswith(f"{self.policy.broker}."):
            yield Refusal("name", f"names that begin with {self.policy.broker}. are the broker's")

    def _definition(self, definition: shapes.Definition) -> Iterator[Refusal]:
        spec = definition.spec
        reserved = _RESERVED.search(spec.group) or "." not in spec.group  # apps, batch, …
        if reserved and spec.group not in _OPEN_GROUPS:
            yield Refusal("group", f"API group {spec.group} is reserved")
        if definition.metadata.name != f"{spec.names.plural}.{spec.group}":
            yield Refusal("group", f"its name has to be {spec.names.plural}.{spec.group}")
        if spec.conversion and spec.conversion.webhook:
            yield from self._client(spec.conversion.webhook.client)

    # roles

    def _role(self, kind: str, role: shapes.Role) -> Iterator[Refusal]:
        for label in role.metadata.labels:
            if (
                "aggregate-to" in label
                and kind == "ClusterRole"
                and not _AGGREGATE.fullmatch(label)
            ):
                yield Refusal("aggregation", f"label {label} adds to roles that are not users'")
        if role.aggregation:
            yield from self._aggregation(role.aggregation, self._bound(kind, role))
        for scope in self._scopes(kind, role):
            for rule in role.rules:
                yield from self._rule(scope, rule)

    def given(self, kind: str, role: shapes.Role) -> Iterator[Right]:
        """The rights that a role asks for and may have."""
        for scope in self._scopes(kind, role):
            for rule in role.rules:
                refused = {refusal.right for refusal in self._rule(scope, rule)}
                yield from (right for _, right in _asked(scope, rule) if right not in refused)

    def _bound(self, kind: str, role: shapes.Role) -> set[str]:
        if kind == "ClusterRole":
            return self.declared.scopes(kind, role.metadata.name)
        return {"tenants" if self.tenant else "model"}

    def _scopes(self, kind: str, role: shapes.Role) -> list[str]:
        """Where a role gives its rights."""
        scopes = self._bound(kind, role)
        if kind == "ClusterRole":
            for label, value in role.metadata.labels.items():
                if value == "true" and (found := _AGGREGATE.fullmatch(label)):
                    scopes.add(found[3])
        return sorted(scopes or {"cluster"})

    def _aggregation(self, rule: shapes.Aggregation, bound: set[str]) -> Iterator[Refusal]:
        for selector in rule.selectors or [shapes.Selector.model_validate({})]:
            labels = selector.match_labels
            if (
                selector.match_expressions
                or not labels
                or any(
                    value != "true" or not _AGGREGATED.fullmatch(key)
                    for key, value in labels.items()
                )
            ):
                text = (
                    "it may collect only roles with rbac.authorization.kubeflow.org/aggregate-to-…"
                )
                yield Refusal("aggregation", text)
        if bound:
            yield Refusal(
                "aggregation", "a role that collects others is for users, not to be bound"
            )

    def _rule(self, scope: str, rule: shapes.Rule) -> Iterator[Refusal]:
        for url in rule.urls:
            if "*" in url or set(rule.verbs) - {"get"} or scope != "cluster":
                yield Refusal("url", "name each of nonResourceURLs, with the verb get only")
        for (group, resource, verb), right in _asked(scope, rule):
            if any(
                grant.covers(scope, group, resource, verb, rule.names)
                for grant in self.policy.granted
            ):
                continue
            if not self._may(scope, group, resource, verb, rule.names):
                text = f"{verb} on {right.on} ({scope}) is too much"
                yield Refusal("right", text, right)

    def _may(self, scope: str, group: str, resource: str, verb: str, names: Sequence[str]) -> bool:
        if "*" in (group, verb) or "*" in resource:
            return False
        plural = resource.partition("/")[0]
        if (group, resource, verb) == ("rbac.authorization.k8s.io", "clusterroles", "bind"):
            own = {name for kind, name, _ in self.declared.roles if kind == "ClusterRole"}
            return scope == "cluster" and bool(names) and set(names) <= own | _USER_ROLES
        if verb in rights.ESCALATING or not _VERB.fullmatch(verb):
            return False
        if (group, plural) in self.declared.plurals or rights.of_stack(group, resource, verb):
            return True
        if verb in rights.TABLES[scope].get((group, resource), rights.NONE):
            return True
        if scope != "model" or not names:
            return False
        if (group, resource) == ("", "endpoints"):
            return verb in ("update", "patch") and set(names) <= self.declared.unselective
        return (
            (group, resource) == ("", "secrets")
            # Kubernetes lets one list and watch by name only what a field selector names
            and verb in ("get", "list", "watch", "update", "patch", "delete")
            and all(self._own_secret(name) for name in names)
        )

    def _own_secret(self, name: str) -> bool:
        """Whether a Secret in the model's namespace is the application's by its name."""
        if name in self.declared.secrets:
            return True
        # Juju keeps the password of an application's agent under that name
        return name.startswith(f"{self.application}-") and not name.endswith("-application-config")

    def _binding(self, binding: shapes.Binding) -> Iterator[Refusal]:
        role = self.declared.role(binding, self.tenant)
        users = self.tenant and binding.role.kind == "ClusterRole"
        if role is None and not (users and binding.role.name in _USER_ROLES):
            text = f"{binding.role.name} is not a role that the application declares"
            yield Refusal("binding", text)
        if not binding.subjects:
            yield Refusal("binding", "it has no subject")
        for subject in binding.subjects:
            if not self._may_name(subject, role):
                yield Refusal(
                    "binding",
                    f"it may name only ServiceAccount {self.namespace}/{self.application}, and "
                    f"those that it declares, not {subject.kind} {subject.name}",
                )

    def _may_name(self, subject: shapes.Subject, role: shapes.Role | None) -> bool:
        if subject.kind == "ServiceAccount":
            if subject.namespace == self.namespace:
                known = {self.application, *self.declared.accounts}
                return role is not None and subject.name in known
            return self.tenant and subject.namespace == TENANT
        if (subject.kind, subject.name) == ("Group", "system:authenticated") and role:
            # what everybody may read, such as the runtimes that a platform offers
            return not role.aggregation and all(
                not rule.urls
                and set(rule.verbs) <= rights.READ
                and {(group, resource) for group in rule.groups for resource in rule.resources}
                <= self.declared.plurals
                for rule in role.rules
            )
        return False

    # webhooks

    def _webhooks(self, webhooks: shapes.Webhooks) -> Iterator[Refusal]:
        for webhook in webhooks.webhooks:
            yield from self._client(webhook.client)
            for rule in webhook.rules:
                for group in rule.groups:
                    for resource in rule.resources:
                        plural = resource.partition("/")[0]
                        if (group, plural) in self.declared.plurals and "*" not in resource:
                            continue
                        if (group, resource) != ("", "pods"):
                            text = f"it may see its own kinds and pods, not {resource}.{group}"
                            yield Refusal("webhook", text)
                        elif not self._selects(webhook):
                            yield Refusal(
                                "webhook",
                                "it may see pods only by a namespaceSelector for users' "
                                "namespaces, or by an objectSelector for a label of its own",
                            )

    def _client(self, client: shapes.Client) -> Iterator[Refusal]:
        service = client.service
        if client.url is not None or service is None or service.namespace != self.namespace:
            yield Refusal("webhook", "it has to call a Service in the model's namespace")
        elif service.name not in {self.application, *self.declared.services}:
            yield Refusal("webhook", f"{service.name} is not a Service of the application")

    def _selects(self, webhook: shapes.Webhook) -> bool:
        """Whether a webhook on pods leaves out the pods of the model, of Juju and the cluster."""
        domains = self.declared.groups | _VIRTUAL_DOMAINS
        for group in self.declared.groups:
            domains |= _LABEL_DOMAINS.get(group, set())
        for key, _ in _required(webhook.object_selector):
            domain = key.rpartition("/")[0]
            if domain in domains:
                return True
        for key, values in _required(webhook.namespace_selector):
            if (key, values) == (TENANT_LABEL[0], {TENANT_LABEL[1]}):
                return True
            domain = key.rpartition("/")[0]
            if domain and not _RESERVED.search(domain):
                return True
        return False

    # plain objects

    def _secret(self, secret: shapes.Secret) -> Iterator[Refusal]:
        if secret.type not in _SECRET_TYPES:
            yield Refusal("secret-type", f"a Secret of type {secret.type} is not allowed")

    def _service(self, service: shapes.Service) -> Iterator[Refusal]:
        spec = service.spec
        if spec.type == "ExternalName" or spec.external_ips:
            yield Refusal("service", "ExternalName and externalIPs redirect traffic")
        own = spec.unselective or spec.selector.get(NAME_LABEL) == self.application
        if not self.tenant and not own:
            yield Refusal("service", f"its selector needs {NAME_LABEL}: {self.application}")

    def _network_policy(self, policy: shapes.NetworkPolicy) -> Iterator[Refusal]:
        labels = policy.spec.pod_selector.match_labels
        if not self.tenant and labels.get(NAME_LABEL) != self.application:
            yield Refusal(
                "network-policy", f"its podSelector needs {NAME_LABEL}: {self.application}"
            )


def _asked(scope: str, rule: shapes.Rule) -> Iterator[tuple[tuple[str, str, str], Right]]:
    """Each right on resources of a rule, with its (group, resource, verb)."""
    named = f" named {', '.join(rule.names)}" if rule.names else ""
    for group in rule.groups:
        for resource in rule.resources:
            where = f"{resource}.{group}" if group else resource
            for verb in rule.verbs:
                yield (group, resource, verb), Right(scope, verb, where + named)


def _required(selector: shapes.Selector) -> Iterator[tuple[str, set[str]]]:
    """The labels that an object has to carry to be selected, with the values of each."""
    for key, value in selector.match_labels.items():
        yield key, {value}
    for expression in selector.match_expressions:
        if expression.operator == "In":
            yield expression.key, set(expression.values)
        elif expression.operator == "Exists":
            yield expression.key, set()
