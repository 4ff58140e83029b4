"""What the API server's audit log says of applications' rights: used, not used, refused."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jubilant
from browsers import namespace_of
from reach import Reach

_ACCOUNT = "system:serviceaccount:"
_OURS = "charmed-mlops.io/application"
_DECISION = "authorization.k8s.io/decision"


class Right(NamedTuple):
    """A verb on a resource, such as `pods/log`, of a group; empty for the core group."""

    group: str
    resource: str
    verb: str

    def covers(self, other: Right) -> bool:
        """Whether it allows the other one; `*` is any."""
        return all(own in ("*", asked) for own, asked in zip(self, other, strict=True))


_DONE_WITHOUT = {
    # Argo signals a step's containers when a run is terminated; their pod ends all the same.
    # With this right it could run anything in any tenant's pod.
    "argo-controller": Right("", "pods/exec", "create"),
    # Katib looks up what owns each tenant's pod, up to a trial; what it may not see is none.
    "katib-controller": Right("*", "*", "get"),
}
"""What a program asks for and works without."""


class Asked(NamedTuple):
    """What an application's service account asked for.

    Attributes:
        allowed: what it was given.
        refused: what it was not.
    """

    allowed: set[Right]
    refused: set[Right]


def asked(log: Path, namespace: str) -> dict[str, Asked]:
    """What the applications of a model asked for, by name.

    Args:
        log: the audit log.
        namespace: the model's.
    """
    found: dict[str, Asked] = defaultdict(lambda: Asked(set(), set()))
    account = f"{_ACCOUNT}{namespace}:"
    for event in _events(log):
        name = event["user"]["username"]
        reference = event.get("objectRef")
        if not name.startswith(account) or reference is None:
            continue
        sub = reference.get("subresource")
        resource = reference["resource"] + (f"/{sub}" if sub else "")
        right = Right(reference.get("apiGroup", ""), resource, event["verb"])
        refused = event.get("annotations", {}).get(_DECISION) == "forbid"
        one = found[name.removeprefix(account)]
        (one.refused if refused else one.allowed).add(right)
    return found


def refused(log: Path, model: jubilant.Juju) -> set[tuple[str, Right]]:
    """What the applications of a model asked for, need and were not given, with their names.

    Of those that are there: one that is removed may ask on while its roles have gone.
    """
    here = set(model.status().apps)
    found = asked(log, namespace_of(model))
    assert found["katib-controller"].allowed, "the audit log has nothing of the bundle"
    nothing = Right("", "", "")
    return {
        (name, right)
        for name, one in found.items()
        for right in one.refused
        if name in here and not _DONE_WITHOUT.get(name, nothing).covers(right)
    }


def _events(log: Path) -> Iterator[dict[str, Any]]:
    with log.open() as lines:
        for line in lines:
            try:
                yield json.loads(line)
            except ValueError:
                continue  # the last one, while it is written


def declared(reach: Reach, namespace: str) -> dict[str, set[Right]]:
    """The rights that the charms of a model declare, by application: Juju's own are not in it."""
    kinds = "clusterroles,roles,clusterrolebindings,rolebindings"
    text = reach.kubectl("get", kinds, "--all-namespaces", "-l", _OURS, "-o", "json")
    items = json.loads(text)["items"]
    roles = {_key(each["kind"], each): each for each in items if "roleRef" not in each}
    found: dict[str, set[Right]] = defaultdict(set)
    for binding in items:
        if "roleRef" not in binding:
            continue
        role = roles.get(_key(binding["roleRef"]["kind"], binding, binding["roleRef"]["name"]))
        for subject in binding.get("subjects") or []:
            if role and (subject["kind"], subject.get("namespace")) == (
                "ServiceAccount", namespace
            ):  # fmt: skip
                found[subject["name"]] |= set(_rights(role))
    return found


def _key(kind: str, item: dict[str, Any], name: str = "") -> tuple[str, str, str]:
    meta = item["metadata"]
    where = "" if kind == "ClusterRole" else meta.get("namespace", "")
    return kind, where, name or meta["name"]


def _rights(role: dict[str, Any]) -> Iterator[Right]:
    for rule in role.get("rules") or []:
        parts = (rule.get("apiGroups") or [], rule.get("resources") or [], rule["verbs"])
        yield from itertools.starmap(Right, itertools.product(*parts))
