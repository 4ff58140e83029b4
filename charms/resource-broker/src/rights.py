"""Which rights an application may have, by scope: an allow-list. Everything else is refused.

The scopes, from the widest to the narrowest:

- cluster: a ClusterRole that a ClusterRoleBinding binds, or that nothing binds;
- tenants: what is bound in the namespaces of tenants;
- model: what is bound in the model's namespace;
- view, edit, admin: what an aggregate role adds to the roles of users in their own namespaces.

Controllers may make pods and pod templates anywhere, for that is their work. It is safe because
the guard (guard.py) fences what these may be: no access to the host, none of the broker's or
Juju's identities, nothing in the cluster's own namespaces. Admission cannot fence what is read,
so no application reads Secrets where the model's lie, in the model's namespace or everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping

READ = frozenset({"get", "list", "watch"})
WRITE = READ | {"create", "update", "patch", "delete", "deletecollection"}
CREATE = frozenset({"create"})
NONE: frozenset[str] = frozenset()
SCOPES = ("cluster", "tenants", "model", "view", "edit", "admin")

# Verbs that give more than they say, in any group:
# https://kubernetes.io/docs/concepts/security/rbac-good-practices/
ESCALATING = {"*", "escalate", "impersonate", "bind", "approve", "sign", "attest", "use", "proxy"}

Table = Mapping[tuple[str, str], frozenset[str]]


def _table(*entries: tuple[str, str, frozenset[str]]) -> dict[tuple[str, str], frozenset[str]]:
    return {
        (group, resource): verbs
        for group, resources, verbs in entries
        for resource in resources.split()
    }


_COMMON = _table(
    ("", "pods pods/status services services/status configmaps configmaps/status events", WRITE),
    ("", "persistentvolumeclaims persistentvolumeclaims/finalizers", WRITE),
    ("", "persistentvolumeclaims/status pods/log endpoints limitranges resourcequotas", READ),
    ("", "replicationcontrollers", READ),
    ("", "serviceaccounts", READ | CREATE),
    ("apps", "deployments deployments/status deployments/scale deployments/finalizers", WRITE),
    ("apps", "statefulsets statefulsets/status statefulsets/scale", WRITE),
    ("apps", "replicasets replicasets/status replicasets/scale", WRITE),
    ("apps", "daemonsets daemonsets/status controllerrevisions", READ),
    ("batch", "jobs jobs/status jobs/finalizers cronjobs cronjobs/status", WRITE),
    ("autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status", WRITE),
    ("networking.k8s.io", "ingresses ingresses/status", WRITE),
    ("networking.k8s.io", "networkpolicies", READ),
    ("extensions", "ingresses", WRITE),
    ("policy", "poddisruptionbudgets poddisruptionbudgets/status", WRITE),
    ("coordination.k8s.io", "leases", WRITE),
    ("events.k8s.io", "events", WRITE),
    ("discovery.k8s.io", "endpointslices", READ),
    ("metrics.k8s.io", "pods", READ),
    ("snapshot.storage.k8s.io", "volumesnapshots", WRITE),
    ("authorization.k8s.io", "localsubjectaccessreviews", CREATE),
    # the API server lets nobody give more than he has, as long as he may not escalate or bind
    ("rbac.authorization.k8s.io", "roles rolebindings", WRITE),
)

CLUSTER = _COMMON | _table(
    ("", "namespaces namespaces/status nodes nodes/status persistentvolumes", READ),
    ("authentication.k8s.io", "tokenreviews", CREATE),
    ("authorization.k8s.io", "subjectaccessreviews", CREATE),
    ("authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews", CREATE),
    ("storage.k8s.io", "storageclasses", READ),
    ("scheduling.k8s.io", "priorityclasses", READ),
    ("node.k8s.io", "runtimeclasses", READ),
    ("metrics.k8s.io", "nodes", READ),
    ("apiextensions.k8s.io", "customresourcedefinitions", READ),
    ("rbac.authorization.k8s.io", "clusterroles clusterrolebindings", READ),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations", READ),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations", READ),
)

# secrets: only those that a rule names and that are the application's (policy.py)
MODEL = _COMMON | _table(
    ("", "secrets", CREATE),
    # of a Service with none, which has no selector; to change them: policy.py
    ("", "endpoints", CREATE),
    # what the review of rights asks for and lives in no namespace: harmless in a Role
    ("authentication.k8s.io", "tokenreviews", CREATE),
    ("authorization.k8s.io", "subjectaccessreviews", CREATE),
    ("", "nodes namespaces persistentvolumes", READ),
    ("storage.k8s.io", "storageclasses", READ),
)

TENANTS = MODEL | _table(
    ("", "secrets serviceaccounts endpoints", WRITE),
    ("networking.k8s.io", "networkpolicies", WRITE),
)

VIEW = _table(
    ("", "bindings configmaps endpoints events limitranges namespaces namespaces/status", READ),
    ("", "persistentvolumeclaims persistentvolumeclaims/status pods pods/log pods/status", READ),
    (
        "",
        "replicationcontrollers replicationcontrollers/scale replicationcontrollers/status",
        READ,
    ),
    ("", "resourcequotas resourcequotas/status serviceaccounts services services/status", READ),
    ("apps", "controllerrevisions daemonsets daemonsets/status deployments", READ),
    ("apps", "deployments/scale deployments/status replicasets replicasets/scale", READ),
    ("apps", "replicasets/status statefulsets statefulsets/scale statefulsets/status", READ),
    ("autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status", READ),
    ("batch", "cronjobs cronjobs/status jobs jobs/status", READ),
    ("extensions", "daemonsets daemonsets/status deployments deployments/scale", READ),
    ("extensions", "deployments/status ingresses ingresses/status networkpolicies", READ),
    ("extensions", "replicasets replicasets/scale replicasets/status", READ),
    ("extensions", "replicationcontrollers/scale", READ),
    ("policy", "poddisruptionbudgets poddisruptionbudgets/status", READ),
    ("networking.k8s.io", "ingresses ingresses/status networkpolicies", READ),
    ("discovery.k8s.io", "endpointslices", READ),
    ("storage.k8s.io", "storageclasses", READ),
)

# as Kubernetes' own role `edit`
EDIT = {key: WRITE for key in VIEW if not key[1].startswith(("namespaces", "bindings"))} | _table(
    ("", "pods/attach pods/exec pods/portforward pods/proxy services/proxy secrets", WRITE),
    ("apps", "deployments/rollback", WRITE),
    ("extensions", "deployments/rollback", WRITE),
    ("", "bindings namespaces namespaces/status", READ),
    ("", "limitranges resourcequotas resourcequotas/status events", READ),
    ("storage.k8s.io", "storageclasses", READ),
)

ADMIN = EDIT | _table(
    ("authorization.k8s.io", "localsubjectaccessreviews", CREATE),
    ("rbac.authorization.k8s.io", "roles rolebindings", WRITE),
)

TABLES: Mapping[str, Table] = {
    "cluster": CLUSTER, "tenants": TENANTS, "model": MODEL,
    "view": VIEW, "edit": EDIT, "admin": ADMIN,
}  # fmt: skip

# Custom resources of this stack, whoever owns their definitions, and of add-ons that it works
# with: any verb but an escalating one. Single kinds where a group has others that are not ours.
STACK = {
    "kubeflow.org", "trainer.kubeflow.org", "tensorboard.kubeflow.org", "pipelines.kubeflow.org",
    "mlflow.kubeflow.org",
    "jobset.x-k8s.io", "serving.kserve.io", "sparkoperator.k8s.io", "dex.coreos.com",
    "inference.networking.x-k8s.io", "leaderworkerset.x-k8s.io", "serving.knative.dev",
    "autoscaling.internal.knative.dev", "networking.internal.knative.dev",
    "caching.internal.knative.dev",
    "scheduling.volcano.sh", "scheduling.x-k8s.io", "machinelearning.seldon.io", "app.k8s.io",
    "kueue.x-k8s.io", "ray.io",
}  # fmt: skip
STACK_KINDS = {
    "argoproj.io": {
        "workflows", "cronworkflows", "clusterworkflowtemplates", "workflowtemplates",
        "workflowtasksets", "workflowtaskresults", "workflowartifactgctasks",
        "workfloweventbindings",
    },
    "networking.istio.io": {"virtualservices", "destinationrules"},
    "security.istio.io": {"authorizationpolicies"},
    "gateway.networking.k8s.io": {"httproutes"},
    "keda.sh": {"scaledobjects"},
    "opentelemetry.io": {"opentelemetrycollectors"},
}  # fmt: skip
# Custom resources that may be read.
STACK_READ = {
    "metacontroller.k8s.io": {
        "compositecontrollers", "controllerrevisions", "decoratorcontrollers",
    },
    "gateway.networking.k8s.io": {"gateways", "gatewayclasses"},
}  # fmt: skip


def of_stack(group: str, resource: str, verb: str) -> bool:
    """Whether the verb on a custom resource of this stack may be had at any scope."""
    plural = resource.partition("/")[0]
    if group in STACK or plural in STACK_KINDS.get(group, ()):
        return True
    return verb in READ and plural in STACK_READ.get(group, ())
