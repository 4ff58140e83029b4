"""Takes away what an application had, in an order in which nothing hangs and nothing is left."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from apply import instances, rank
from inventory import APPLICATION, KEPT, MODEL, Book
from kube import Cluster, Object, Ref
from policy import CRD, WEBHOOKS

logger = logging.getLogger(__name__)
_ROLES = "rbac.authorization.k8s.io/v1"


@dataclass
class Outcome:
    """What a removal could not take away.

    Attributes:
        pending: custom resources that their controller, still there, is finishing.
        kept: definitions with custom resources outside the model.
    """

    pending: list[Ref] = field(default_factory=list)
    kept: list[Ref] = field(default_factory=list)


def remove(
    cluster: Cluster, book: Book, application: str, *, everything: bool, final: bool
) -> Outcome:
    """Remove all objects of an application that has gone, or is going.

    1. custom resources in the model's namespace and the application's own, while their
       controller and its roles are there; 2. webhooks, which would refuse changes without their
       server; 3. plain objects; 4. finalizers of what is left of 1, unless the controller still
       runs; 5. roles; 6. definitions. Those with custom resources in other namespaces stay,
       marked as kept: the data in them is not the model's.

    Args:
        cluster: the API server.
        book: where the inventories are.
        application: whose objects they are.
        everything: the administrator says that custom resources elsewhere go too.
        final: nobody comes back to finish; do not wait for the controller.
    """
    inventory = book.read(application)
    outcome = Outcome()
    going: list[Ref] = []
    definitions: dict[Ref, list[Object]] = {}
    for ref in [ref for ref in inventory.objects if (ref.api, ref.kind) == CRD]:
        found = cluster.get(ref)
        if found and book.owns(application, found):
            definitions[ref] = instances(cluster, found)
    for ref, resources in definitions.items():
        named = [(reference(resource), resource) for resource in resources]
        own = {name for name, _ in named if name in inventory.objects}
        foreign = [name for name, _ in named if name.namespace != book.namespace]
        stay = [name for name in foreign if name not in own]
        if stay and not everything:
            outcome.kept.append(ref)
            logger.warning("kept %s: %d custom resources outside the model", ref, len(stay))
        for name, _ in named:
            if name in own or everything or name.namespace == book.namespace:
                if name not in own:
                    logger.warning("removing %s with its application %s", name, application)
                cluster.delete(name)
                going.append(name)
    roles = []
    for ref in sorted(inventory.objects, key=lambda ref: -rank(ref.api, ref.kind)):
        if ref in definitions or ref in going:
            continue
        if ref.api == _ROLES:
            roles.append(ref)
        else:
            _delete(cluster, book, application, ref)
            del inventory.objects[ref]
    left = [ref for ref in going if cluster.get(ref)]
    if left and not final and _runs(cluster, book.namespace, application):
        outcome.pending = left
        book.write(inventory)
        return outcome
    for ref in left:
        logger.warning("taking the finalizers off %s: its controller is gone", ref)
        cluster.drop_finalizers(ref)
    for ref in roles:
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
    labels = {**book.labels(application), KEPT: "true"}
    body = {"apiVersion": ref.api, "kind": ref.kind, "metadata": {"labels": labels}}
    cluster.merge(ref, body)


def _runs(cluster: Cluster, namespace: str, application: str) -> bool:
    """Whether a pod of the application is ready and not on its way out."""
    selector = f"app.kubernetes.io/name={application}"
    for pod in cluster.list("v1", "Pod", selector):
        metadata = pod["metadata"]
        if metadata["namespace"] != namespace or metadata.get("deletionTimestamp"):
            continue
        conditions = (pod.get("status") or {}).get("conditions") or []
        if any(each["type"] == "Ready" and each["status"] == "True" for each in conditions):
            return True
    return False
