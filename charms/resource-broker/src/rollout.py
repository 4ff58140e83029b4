"""When Kubernetes replaces the next pod of an application that is refreshed.

A pod is Ready as soon as its Pebbles answer, which is before its unit's first hook. Kubernetes
would replace the next one then (`RollingUpdate`), so none of several might serve for some seconds.
With `minReadySeconds` it goes on when a pod has been Ready for so long. The first hook comes in
that time, and a unit that does not serve yet keeps its pod from being Ready.

Juju names no value for the field, so it stays when Juju changes a StatefulSet. Source: juju/juju,
internal/provider/kubernetes/resources/statefulset.go, `Apply`.

A webhook of Juju's labels what an application changes as made by that application (CREATED_BY),
and since 3.6.11 Juju deletes what has the label with it: the other applications would go with the
broker. So the label is taken off again. Another label keeps the webhook from writing it anew.
Sources: juju/juju, internal/worker/caasadmission/; internal/provider/kubernetes/application/
application.go, `Delete`.
"""

from __future__ import annotations

from collections.abc import Collection

from inventory import CREATED_BY, MANAGED_BY
from kube import Cluster, Ref

SECONDS = 30
"""Longer than from the start of a pod to the end of its unit's first hook."""
_API, _KIND, _JUJUS = "apps/v1", "StatefulSet", f"{MANAGED_BY}=juju"
_UNHOOKED = "model.juju.is/disable-webhook"


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
        name, labels = found["metadata"]["name"], found["metadata"]["labels"]
        paced = found["spec"].get("minReadySeconds", 0) >= SECONDS
        if name in applications and (not paced or CREATED_BY in labels):
            ref = Ref(_API, _KIND, namespace, name)
            spec = {"minReadySeconds": SECONDS}
            cluster.merge(ref, {"metadata": {"labels": {_UNHOOKED: "true"}}, "spec": spec})
            # a patch of its own: the webhook is asked as long as one of before and after may be
            cluster.merge(ref, {"metadata": {"labels": {CREATED_BY: None}}})
