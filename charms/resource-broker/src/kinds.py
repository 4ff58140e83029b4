"""The kinds that an application may declare, and the label that names an application."""

from __future__ import annotations

RBAC = "rbac.authorization.k8s.io/v1"
_ADMISSION = "admissionregistration.k8s.io/v1"
CRD = ("apiextensions.k8s.io/v1", "CustomResourceDefinition")
WEBHOOKS = (
    (_ADMISSION, "MutatingWebhookConfiguration"),
    (_ADMISSION, "ValidatingWebhookConfiguration"),
)
CLUSTER_KINDS = {CRD, (RBAC, "ClusterRole"), (RBAC, "ClusterRoleBinding"), *WEBHOOKS}
NAMESPACED_KINDS = {
    ("v1", "ConfigMap"),
    ("v1", "Secret"),
    ("v1", "Service"),
    ("v1", "ServiceAccount"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    (RBAC, "Role"),
    (RBAC, "RoleBinding"),
}
NAME_LABEL = "app.kubernetes.io/name"
