"""When Kubernetes replaces the next pod of an application that is refreshed.

A pod is Ready as soon as its Pebbles answer, which is before its unit's first hook. Kubernetes
would replace the next one then (`RollingUpdate`), so none of several might serve for some seconds.
With `minReadySeconds` it goes on when a pod has been Ready for so long. The first hook comes in
that time, and a unit that does not serve yet keeps its pod from being Ready.

Juju names no value for the field, so it stays when Juju changes a StatefulSet. Source: juju/juju,
internal/provider/kubernetes/resources/statefulset.go, `Apply`.
"""

from __future__ import annotations

from collections.abc import Collection

from kube import Cluster, Ref

SECONDS = 30
"""Longer than from the start of a pod to the end of its unit's first hook."""
_API, _KIND, _JUJUS = "apps/v1", "StatefulSet", "app.kubernetes.io/managed-by=juju"


def pace(cluster: Cluster, namespace: str, applications: Collection[str]) -> None:
    """Have Kubernetes wait for each new pod of these applications to serve.

    Args:
        cluster: where they run.
        namespace: the model's.
        applications: those of which pods that do not serve are not Ready.

    Raises:
        ApiError: the API server refuses, or is not there.
    """
    for found in cluster.list(_API, _KIND, _JUJUS, namespace) if applications else ():
        name = found["metadata"]["name"]
        if name in applications and found["spec"].get("minReadySeconds", 0) < SECONDS:
            patch = {"spec": {"minReadySeconds": SECONDS}}
            cluster.merge(Ref(_API, _KIND, namespace, name), patch)
