"""The action on volumes, with the unit's own rights."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from charmed_mlops import Where, kubernetes
from charmed_mlops.results import listing

_ENDED = ("Succeeded", "Failed")


class Which(Where):
    """Which volumes are meant."""

    unused: bool = False


def listed(params: Which) -> dict[str, Any]:
    """Size, state, class and users of each volume."""
    users = _users(kubernetes.items(params.path("/api/v1", "pods")))
    claims = kubernetes.items(params.path("/api/v1", "persistentvolumeclaims"))
    found = [_summary(each, users) for each in claims]
    if params.unused:
        found = [each for each in found if not each["used-by"]]
    return listing("volumes", found)


def _users(pods: list[dict[str, Any]]) -> dict[tuple[str, str], list[str]]:
    """Names of the pods that mount a claim, by its namespace and name."""
    users: dict[tuple[str, str], list[str]] = defaultdict(list)
    for pod in pods:
        if (pod.get("status") or {}).get("phase") in _ENDED:
            continue
        for volume in pod["spec"].get("volumes") or []:
            if claim := (volume.get("persistentVolumeClaim") or {}).get("claimName"):
                users[pod["metadata"]["namespace"], claim].append(pod["metadata"]["name"])
    return users


def _summary(claim: dict[str, Any], users: dict[tuple[str, str], list[str]]) -> dict[str, Any]:
    metadata, spec, status = claim["metadata"], claim["spec"], claim.get("status") or {}
    asked = (spec.get("resources") or {}).get("requests") or {}
    return {
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "state": status.get("phase", "Pending"),
        "size": (status.get("capacity") or asked).get("storage", ""),
        "storage-class": spec.get("storageClassName", ""),
        "used-by": users.get((metadata["namespace"], metadata["name"]), []),
    }
