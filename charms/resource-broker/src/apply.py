"""Brings an application's objects to what it declares."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Container, Iterable, Sequence

from inventory import APPLICATION, KEPT, MANAGED_BY, MODEL, OUTLIVES, Book, Inventory
from kinds import CLUSTER_KINDS, CRD, NAMESPACED_KINDS, RBAC, WEBHOOKS
from kube import ApiError, Cluster, Object, Ref
from watcher import applied_fields

from charmed_mlops.interfaces.manifests import Manifest, Problem, digest, name_of

_ESTABLISH_SECONDS = 5
CALM_SECONDS = 30
# Kinds with fields that cannot change, such as roleRef; nothing is lost by making them anew.
_REPLACED = {
    (RBAC, "RoleBinding"),
    (RBAC, "ClusterRoleBinding"),
    ("v1", "ConfigMap"),
    ("v1", "Secret"),
    ("v1", "Service"),
}


def rank(api: str, kind: str) -> int:
    """Order of applying: definitions, plain objects, custom resources, webhooks.

    Webhooks come last, as their servers start only when all else is there.
    """
    if (api, kind) == CRD:
        return 0
    if (api, kind) in WEBHOOKS:
        return 3
    return 1 if (api, kind) in CLUSTER_KINDS | NAMESPACED_KINDS else 2


def references(cluster: Cluster, manifests: Sequence[Manifest], namespace: str) -> list[Ref]:
    """The objects' names, in the same order; kinds of declared definitions by their scope."""
    scopes = dict.fromkeys(CLUSTER_KINDS, False) | dict.fromkeys(NAMESPACED_KINDS, True)
    scopes |= _defined(manifests)
    found = []
    for manifest in manifests:
        api, kind = manifest["apiVersion"], manifest["kind"]
        if (api, kind) not in scopes:
            try:
                scopes[api, kind] = cluster.namespaced(api, kind)
            except ApiError as error:
                if error.code != 404:
                    raise
                scopes[api, kind] = True  # its definition is not there yet
        within = manifest["metadata"].get("namespace") or namespace
        name = manifest["metadata"]["name"]
        found.append(Ref(api, kind, within if scopes[api, kind] else "", name))
    return found


def _defined(manifests: Sequence[Manifest]) -> dict[tuple[str, str], bool]:
    """Each (apiVersion, kind) that the manifests define, and whether it is in namespaces."""
    found = {}
    for manifest in manifests:
        if (manifest["apiVersion"], manifest["kind"]) == CRD:
            spec = manifest["spec"]
            for version in spec["versions"]:
                identity = (f"{spec['group']}/{version['name']}", spec["names"]["kind"])
                found[identity] = spec["scope"] == "Namespaced"
    return found


def apply(
    cluster: Cluster, book: Book, application: str, manifests: Sequence[Manifest], force: bool
) -> list[Problem]:
    """Apply what differs, then delete what is no longer declared.

    Nothing is written when one of the objects exists and is someone else's: a custom resource
    must not reach the kind of a definition that was refused.

    Args:
        cluster: the API server.
        book: where the inventories are.
        application: whose objects these are.
        manifests: all that it declares, Secrets with their content; checked by the policy.
        force: apply also what did not change since the last time.

    Returns:
        What is not as declared; empty when all is.
    """
    inventory = book.read(application)
    wanted = dict(zip(references(cluster, manifests, book.namespace), manifests, strict=True))
    before, fields_before = dict(inventory.objects), dict(inventory.fields)
    todo = {
        ref: manifest
        for ref, manifest in sorted(
            wanted.items(), key=lambda item: rank(item[0].api, item[0].kind)
        )
        if force or before.get(ref) != digest([manifest])
    }
    problems: dict[Ref, Problem] = {}
    kept: list[Ref] = []
    for ref in [ref for ref in todo if not before.get(ref)]:
        found = cluster.get(ref)
        if not found:
            continue
        if not book.owns(application, found):
            problems[ref] = _problem(ref, "refused", f"it exists and is {_owner(found)}")
        elif found["metadata"].get("deletionTimestamp"):
            del todo[ref]
            problems[ref] = _problem(ref, "failed", "its predecessor is still being deleted")
        elif KEPT in (found["metadata"].get("labels") or {}):
            kept.append(ref)
    if any(problem.outcome == "refused" for problem in problems.values()):
        return [problem for _, problem in sorted(problems.items())]
    for ref in todo:
        inventory.objects[ref] = ""
    if inventory.objects != before:
        book.write(inventory)

    definitions = [ref for ref in todo if (ref.api, ref.kind) == CRD]
    own_kinds = _defined(manifests)
    waited = not definitions
    again: list[Ref] = []
    for ref, manifest in todo.items():
        if not waited and rank(ref.api, ref.kind) > 1:
            waited = True
            cluster.forget_kinds()
            for definition in definitions:
                if definition in problems:
                    continue
                cluster.wait_established(definition, _ESTABLISH_SECONDS)
        problem = _apply_one(cluster, book, inventory, ref, manifest, own_kinds)
        if problem is None:
            inventory.objects[ref] = digest([manifest])
        else:
            problems[ref] = problem
            if rank(ref.api, ref.kind) == 2 and problem.outcome == "failed":
                again.append(ref)
    for ref in again:  # the API server takes a moment to serve a new kind
        cluster.forget_kinds()
        problem = _apply_one(cluster, book, inventory, ref, todo[ref], own_kinds)
        if problem is None:
            inventory.objects[ref] = digest([todo[ref]])
            del problems[ref]
    for ref in kept:
        if ref not in problems:
            cluster.merge(ref, {"metadata": {"labels": {KEPT: None}}})
    for ref in _pruned(set(inventory.objects) - set(wanted)):
        try:
            found = cluster.get(ref)
            if found and book.owns(application, found):
                if (ref.api, ref.kind) == CRD and instances(cluster, found):
                    problems[ref] = _problem(ref, "failed", "custom resources of it are left")
                    continue
                cluster.delete(ref)
            del inventory.objects[ref]
            inventory.fields.pop(ref, None)
        except ApiError as error:
            problems[ref] = _problem(ref, "failed", str(error))
    if inventory.objects != before or inventory.fields != fields_before:
        book.write(inventory)
    return [problem for _, problem in sorted(problems.items())]


def changed(cluster: Cluster, book: Book, inventories: Collection[Inventory]) -> set[str]:
    """Applications of which someone else has deleted or edited objects.

    One request for each kind. What the broker applied just now and has been edited since is left
    for later: another controller may insist on it, and nobody gains by a race with it.
    """
    kinds = {(ref.api, ref.kind) for each in inventories for ref in each.objects}
    selector = f"{MODEL}={book.namespace},{MANAGED_BY}={book.broker}"
    present = {
        Ref(api, kind, item["metadata"].get("namespace", ""), item["metadata"]["name"]): item
        for api, kind in sorted(kinds)
        for item in cluster.list(api, kind, selector)
    }
    return {
        each.application
        for each in inventories
        for ref in each.objects
        if ref not in present
        or _edited(present[ref], book.manager(each.application), each.fields.get(ref))
    }


def _edited(found: Object, manager: str, fields: str | None) -> bool:
    if not fields or found.get("aggregationRule"):  # the API server fills in an aggregate's rules
        return False
    when, now = applied_fields(found["metadata"], manager)
    if now == fields:
        return False
    if not when:
        return True
    applied = datetime.datetime.fromisoformat(when.replace("Z", "+00:00"))
    age = datetime.datetime.now(datetime.timezone.utc) - applied
    return age.total_seconds() >= CALM_SECONDS


def instances(cluster: Cluster, definition: Object) -> list[Object]:
    """All custom resources of a definition."""
    spec = definition["spec"]
    version = next(entry["name"] for entry in spec["versions"] if entry["storage"])
    return cluster.list(f"{spec['group']}/{version}", spec["names"]["kind"])


def _apply_one(
    cluster: Cluster,
    book: Book,
    inventory: Inventory,
    ref: Ref,
    manifest: Manifest,
    own_kinds: Container[tuple[str, str]],
) -> Problem | None:
    """Apply an object; what went wrong.

    A custom resource may need its application's webhook, or the kind of an application that is
    not there: it comes later, and the application does not wait for it.
    """
    application = inventory.application
    metadata = dict(manifest["metadata"])
    metadata["labels"] = {**(metadata.get("labels") or {}), **book.labels(application)}
    if (ref.api, ref.kind) == CRD:
        metadata["labels"] |= OUTLIVES
    if ref.namespace:
        metadata["namespace"] = ref.namespace
    body, manager = {**manifest, "metadata": metadata}, book.manager(application)
    try:
        try:
            found = cluster.apply(ref, body, manager)
        except ApiError as error:
            if error.code != 422 or (ref.api, ref.kind) not in _REPLACED:
                raise
            cluster.delete(ref)
            found = cluster.apply(ref, body, manager)
        inventory.fields[ref] = applied_fields(found["metadata"], manager)[1]
    except ApiError as error:
        foreign = (ref.api, ref.kind) not in own_kinds
        later = "failed calling webhook" in str(error) or (foreign and error.code == 404)
        deferred = rank(ref.api, ref.kind) == 2 and later
        return _problem(ref, "deferred" if deferred else "failed", str(error))
    return None


def _pruned(refs: Iterable[Ref]) -> list[Ref]:
    return sorted(refs, key=lambda ref: (-rank(ref.api, ref.kind), ref))


def owned_by_broker(found: Object) -> bool:
    """Whether a broker of any model applied the object for an application that it still has."""
    labels = found["metadata"].get("labels") or {}
    return APPLICATION in labels and labels.get(KEPT) != "true"


def _owner(found: Object) -> str:
    labels = found["metadata"].get("labels") or {}
    if APPLICATION in labels:
        return f"application {labels[APPLICATION]}'s of model {labels.get(MODEL)}"
    return "not the broker's: delete it, rename yours, or run the action adopt"


def _problem(ref: Ref, outcome: str, reason: str) -> Problem:
    name = name_of({"kind": ref.kind, "metadata": {"name": ref.name}})
    return Problem(object=name, reason=reason, outcome=outcome)
