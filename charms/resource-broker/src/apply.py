"""Brings an application's objects to what it declares."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from inventory import APPLICATION, MODEL, Book
from kube import ApiError, Cluster, Object, Ref
from policy import CLUSTER_KINDS, CRD, NAMESPACED_KINDS, WEBHOOKS

from charmed_mlops.interfaces.manifests import Manifest, Problem, digest, name_of

_ESTABLISH_SECONDS = 5


def rank(api: str, kind: str) -> int:
    """Order of applying: definitions, plain objects, custom resources, webhooks.

    Webhooks come last, as their servers start only when all else is there.
    """
    if (api, kind) == CRD:
        return 0
    if (api, kind) in WEBHOOKS:
        return 3
    return 1 if (api, kind) in CLUSTER_KINDS | NAMESPACED_KINDS else 2


def references(manifests: Sequence[Manifest], namespace: str) -> list[Ref]:
    """The objects' names, in the same order; kinds of declared definitions by their scope."""
    cluster_scoped = set(CLUSTER_KINDS)
    for manifest in manifests:
        if (manifest["apiVersion"], manifest["kind"]) == CRD:
            spec = manifest["spec"]
            if spec.get("scope") == "Cluster":
                kind = spec["names"]["kind"]
                versions = [version["name"] for version in spec["versions"]]
                cluster_scoped |= {(f"{spec['group']}/{version}", kind) for version in versions}
    return [
        Ref(
            manifest["apiVersion"],
            manifest["kind"],
            ""
            if (manifest["apiVersion"], manifest["kind"]) in cluster_scoped
            else manifest["metadata"].get("namespace") or namespace,
            manifest["metadata"]["name"],
        )
        for manifest in manifests
    ]


def apply(
    cluster: Cluster, book: Book, application: str, manifests: Sequence[Manifest], force: bool
) -> list[Problem]:
    """Apply what differs, then delete what is no longer declared.

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
    wanted = dict(zip(references(manifests, book.namespace), manifests, strict=True))
    before = dict(inventory.objects)
    todo = {
        ref: manifest
        for ref, manifest in sorted(
            wanted.items(), key=lambda item: rank(item[0].api, item[0].kind)
        )
        if force or before.get(ref) != digest([manifest])
    }
    problems: dict[Ref, Problem] = {}
    for ref in [ref for ref in todo if ref not in before]:
        found = cluster.get(ref)
        if found and not book.owns(application, found):
            del todo[ref]
            problems[ref] = _problem(ref, "refused", f"it exists and is {_owner(found)}")
        elif found and found["metadata"].get("deletionTimestamp"):
            del todo[ref]
            problems[ref] = _problem(ref, "failed", "its predecessor is still being deleted")
    for ref in todo:
        inventory.objects[ref] = ""
    if inventory.objects != before:
        book.write(inventory)

    definitions = [ref for ref in todo if (ref.api, ref.kind) == CRD]
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
        problem = _apply_one(cluster, book, application, ref, manifest)
        if problem is None:
            inventory.objects[ref] = digest([manifest])
        else:
            problems[ref] = problem
            if rank(ref.api, ref.kind) == 2 and problem.outcome == "failed":
                again.append(ref)
    for ref in again:  # the API server takes a moment to serve a new kind
        cluster.forget_kinds()
        problem = _apply_one(cluster, book, application, ref, todo[ref])
        if problem is None:
            inventory.objects[ref] = digest([todo[ref]])
            del problems[ref]
    for ref in _pruned(set(inventory.objects) - set(wanted)):
        try:
            found = cluster.get(ref)
            if found and book.owns(application, found):
                if (ref.api, ref.kind) == CRD and instances(cluster, found):
                    problems[ref] = _problem(ref, "failed", "custom resources of it are left")
                    continue
                cluster.delete(ref)
            del inventory.objects[ref]
        except ApiError as error:
            problems[ref] = _problem(ref, "failed", str(error))
    if inventory.objects != before:
        book.write(inventory)
    return [problem for _, problem in sorted(problems.items())]


def missing(cluster: Cluster, book: Book, application: str) -> list[Ref]:
    """Objects of the inventory that someone else has deleted."""
    return [ref for ref in sorted(book.read(application).objects) if cluster.get(ref) is None]


def instances(cluster: Cluster, definition: Object) -> list[Object]:
    """All custom resources of a definition."""
    spec = definition["spec"]
    version = next(entry["name"] for entry in spec["versions"] if entry["storage"])
    return cluster.list(f"{spec['group']}/{version}", spec["names"]["kind"])


def _apply_one(
    cluster: Cluster, book: Book, application: str, ref: Ref, manifest: Manifest
) -> Problem | None:
    metadata = dict(manifest["metadata"])
    metadata["labels"] = {**(metadata.get("labels") or {}), **book.labels(application)}
    if ref.namespace:
        metadata["namespace"] = ref.namespace
    try:
        cluster.apply(ref, {**manifest, "metadata": metadata}, book.manager(application))
    except ApiError as error:
        deferred = rank(ref.api, ref.kind) == 2 and "failed calling webhook" in str(error)
        return _problem(ref, "deferred" if deferred else "failed", str(error))
    return None


def _pruned(refs: Iterable[Ref]) -> list[Ref]:
    return sorted(refs, key=lambda ref: (-rank(ref.api, ref.kind), ref))


def _owner(found: Object) -> str:
    labels = found["metadata"].get("labels") or {}
    if APPLICATION in labels:
        return f"application {labels[APPLICATION]}'s of model {labels.get(MODEL)}"
    return "not the broker's: delete it or rename yours"


def _problem(ref: Ref, outcome: str, reason: str) -> Problem:
    name = name_of({"kind": ref.kind, "metadata": {"name": ref.name}})
    return Problem(object=name, reason=reason, outcome=outcome)
