"""The objects of a real API server that are under test."""

from __future__ import annotations

import time
from typing import Any

RBAC = "rbac.authorization.k8s.io/v1"
KINDS = (
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
    (RBAC, "ClusterRole"),
    (RBAC, "ClusterRoleBinding"),
    ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("v1", "Secret"),
    ("v1", "ConfigMap"),
    ("tea.example.com/v1", "Pot"),
)


def objects(cluster: Any) -> list[dict]:
    """Objects of the kinds under test, but the cluster's own."""
    deadline = time.monotonic() + 60  # the API server deletes a definition after its resources
    while time.monotonic() < deadline and any(
        item["metadata"].get("deletionTimestamp") for item in cluster.list(*KINDS[0])
    ):
        time.sleep(0.1)
    cluster.forget_kinds()
    found = [item for api, kind in KINDS for item in cluster.list(api, kind)]
    own = ("system:", "kube-", "extension-", "cluster-admin", "admin", "edit", "view")
    return [item for item in found if not item["metadata"]["name"].startswith(own)]
