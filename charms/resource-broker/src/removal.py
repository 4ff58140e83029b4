"""Takes away what an application had, in an order in which nothing hangs and nothing is left."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

import guard
from apply import instances, rank
from inventory import APPLICATION, KEPT, MANAGED_BY, MODEL, MODEL_UUID, OUTLIVES, Book
from kinds import CRD, WEBHOOKS
from kube import Cluster, Object, Ref

from charmed_mlops.conditions import condition

logger = logging.getLogger(__name__)
JUJU_MODEL = "model.juju.is/id"
_ROLES = "rbac.authorization.k8s.io/v1"


@dataclass
class Outcome:
    """What a removal could not take away.

    Attributes:
        pending: custom resources that their controller, still there, is finishing.
        kept: definitions with custom resources that users made.
    """

    pending: list[Ref] = field(default_factory=list)
    kept: list[Ref] = field(default_factory=list)


def remove(
    cluster: Cluster, book: Book, application: str, *, everything: bool, final: bool
) -> Outcome:
    """Remove all objects of an application that has gone, or is going.

    1. webhooks, which would refuse changes without their server; 2. the application's own custom
    resources, while their controller, its configuration and its roles are there; 3. finalizers
    of what is left of 2, unless the controller still runs; 4. plain objects; 5. roles;
    6. definitions. What users made stays, with the definitions, marked as kept, unless
    `everything` is said.

    Args:
        cluster: the API server.
        book: where the inventories are.
        application: whose objects they are.
        everything: the administrator says that custom resources of users go too.
        final: nobody comes back to finish; do not wait for the controller.
    """
    inventory = book.read(application)
    outcome = Outcome()
    for ref in [ref for ref in inventory.objects if (ref.api, ref.kind) in WEBHOOKS]:
        _delete(cluster, book, application, ref)
        del inventory.objects[ref]
    going: list[Ref] = []
    staying: list[Ref] = []
    definitions: list[Ref] = []
    for ref in [ref for ref in inventory.objects if (ref.api, ref.kind) == CRD]:
        found = cluster.get(ref)
        if not found or not book.owns(application, found):
            continue
        definitions.append(ref)
        resources = [reference(resource) for resource in instances(cluster, found)]
        own = [name for name in resources if name in inventory.objects]
        users = [name for name in resources if name not in inventory.objects]
        going += own
        if users and not everything:
            outcome.kept.append(ref)
            staying += users
            logger.warning("kept %s: users made %d custom resources of it", ref, len(users))
            continue
        for name in users:
            logger.warning("removing %s with its application %s", name, application)
        going += users
    for name in going:
        cluster.delete(name)
    left = [ref for ref in going if cluster.get(ref)]
    runs = not final and _runs(cluster, book.namespace, application)
    if left and runs:
        outcome.pending = left
        book.write(inventory)
        return outcome
    # what stays in the model's namespace must not keep the namespace from going
    held = [] if runs else [ref for ref in staying if ref.namespace == book.namespace]
    for ref in [*left, *held]:
        logger.warning("taking the finalizers off %s: its controller is gone", ref)
        cluster.drop_finalizers(ref)
    rest = sorted(inventory.objects, key=lambda ref: (ref.api == _ROLES, -rank(ref.api, ref.kind)))
    for ref in rest:
        if ref not in definitions and ref not in going:
            _delete(cluster, book, application, ref)
    for ref in definitions:
        if ref in outcome.kept:
            _keep(cluster, book, application, ref)
        else:
            cluster.delete(ref)
    inventory.objects.clear()
    book.write(inventory)
    cluster.forget_kinds()
    return outcome


def remove_orphans(cluster: Cluster, book: Book, known: set[str]) -> None:
    """Take away what fails closed or gives rights for applications that are no more.

    A model that was destroyed by force leaves webhooks that nobody answers and roles. A broker
    removes them when the model's namespace is gone, or is another model's of the same name.
    Webhooks of its own model that are in no inventory go too. Definitions are marked as kept.
    """
    guards = [(guard.API, guard.BINDING), (guard.API, guard.POLICY)]
    roles = [(_ROLES, "ClusterRoleBinding"), (_ROLES, "ClusterRole")]
    marked = [
        (api, kind, item)
        for api, kind in [*WEBHOOKS, *guards, *roles, CRD]
        for item in cluster.list(api, kind, f"{MODEL},{MANAGED_BY}")
    ]
    namespaces: Mapping[str, str] | None = None
    for api, kind, item in marked:
        labels, ref = item["metadata"]["labels"], reference(item)
        model, application = labels[MODEL], labels.get(APPLICATION, "")
        if model == book.namespace and labels.get(MODEL_UUID, book.uuid) == book.uuid:
            own = labels[MANAGED_BY] == book.broker
            if own and (api, kind) in WEBHOOKS and application not in known:
                logger.warning("removing %s: nobody is there to answer it", ref)
                cluster.delete(ref)
            continue
        if namespaces is None:  # after the objects: a model made meanwhile must not look gone
            namespaces = _namespaces(cluster)
        if not _gone(labels, namespaces) or ((api, kind) == CRD and _kept(item)):
            continue
        if (api, kind) == CRD:
            cluster.merge(ref, {"metadata": {"labels": {KEPT: "true"}}})
        else:
            logger.warning("removing %s: its model %s is gone", ref, model)
            cluster.delete(ref)


def _namespaces(cluster: Cluster) -> dict[str, str]:
    """The namespaces, with the UUID of the model that Juju says each is of."""
    return {
        each["metadata"]["name"]: (each["metadata"].get("labels") or {}).get(JUJU_MODEL, "")
        for each in cluster.list("v1", "Namespace")
    }


def _gone(labels: Mapping[str, str], namespaces: Mapping[str, str]) -> bool:
    """Whether an object's model is no more: its namespace is not there, or another model's."""
    if labels[MODEL] not in namespaces:
        return True
    then, now = labels.get(MODEL_UUID), namespaces[labels[MODEL]]
    return bool(then and now) and then != now


def reference(found: Object) -> Ref:
    """What names an object that the API server returned."""
    metadata = found["metadata"]
    return Ref(found["apiVersion"], found["kind"], metadata.get("namespace", ""), metadata["name"])


def leftovers(cluster: Cluster, book: Book, related: set[str]) -> list[tuple[str, Ref]]:
    """Objects of applications that are no longer related, and kept definitions; with whose."""
    found = [
        (application, ref)
        for application, inventory in sorted(book.all().items())
        if application not in related
        for ref in sorted(inventory.objects)
    ]
    kinds = [CRD, *WEBHOOKS, (_ROLES, "ClusterRole"), (_ROLES, "ClusterRoleBinding")]
    for api, kind in kinds:
        for item in cluster.list(api, kind, f"{MODEL}={book.namespace}"):
            application = item["metadata"]["labels"].get(APPLICATION, "")
            entry = (application, reference(item))
            if (application not in related or _kept(item)) and entry not in found:
                found.append(entry)
    return found


def _kept(found: Object) -> bool:
    return (found["metadata"].get("labels") or {}).get(KEPT) == "true"


def _delete(cluster: Cluster, book: Book, application: str, ref: Ref) -> None:
    found = cluster.get(ref)
    if found and book.owns(application, found):
        cluster.delete(ref)


def _keep(cluster: Cluster, book: Book, application: str, ref: Ref) -> None:
    """Mark a definition so that whoever declares it next may take it over."""
    labels = {**book.labels(application), **OUTLIVES, KEPT: "true"}
    body = {"apiVersion": ref.api, "kind": ref.kind, "metadata": {"labels": labels}}
    cluster.merge(ref, body)


def _runs(cluster: Cluster, namespace: str, application: str) -> bool:
    """Whether a pod of the application is ready and not on its way out."""
    selector = f"app.kubernetes.io/name={application}"
    for pod in cluster.list("v1", "Pod", selector):
        metadata = pod["metadata"]
        if metadata["namespace"] != namespace or metadata.get("deletionTimestamp"):
            continue
        if condition(pod, "Ready").status == "True":
            return True
    return False
