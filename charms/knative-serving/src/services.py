"""Reads Knative's objects with the unit's own rights."""

from __future__ import annotations

from typing import Any

from charmed_mlops import Where, kubernetes
from charmed_mlops.conditions import condition
from charmed_mlops.results import listing

_SERVING = "/apis/serving.knative.dev/v1"
_AUTOSCALING = "/apis/autoscaling.internal.knative.dev/v1alpha1"
_REVISION = "serving.knative.dev/revision"

Scales = dict[tuple[str, str], dict[str, str]]


def services(where: Where) -> dict[str, Any]:
    """Each Service: whether it is ready or why not, its URL, its revision and that one's pods."""
    scales = _scales(where)
    found = []
    for item in kubernetes.items(where.path(_SERVING, "services")):
        status = item.get("status") or {}
        revision = status.get("latestReadyRevisionName") or ""
        namespace = item["metadata"]["namespace"]
        found.append(
            {
                **_state(item),
                "url": status.get("url", ""),
                "revision": revision,
                **scales.get((namespace, revision), {}),
            }
        )
    return listing("services", found)


def revisions(where: Where) -> dict[str, Any]:
    """Each revision: whether it is ready or why not, its configuration, and its pods."""
    scales = _scales(where)
    found = []
    for item in kubernetes.items(where.path(_SERVING, "revisions")):
        meta = item["metadata"]
        found.append(
            {
                **_state(item),
                "configuration": (meta.get("labels") or {}).get(
                    "serving.knative.dev/configuration", ""
                ),
                **scales.get((meta["namespace"], meta["name"]), {}),
            }
        )
    return listing("revisions", found)


def _state(item: dict[str, Any]) -> dict[str, str]:
    ready = condition(item, "Ready")
    reason = " ".join((ready.message or ready.reason).split())
    return {
        "namespace": item["metadata"]["namespace"],
        "name": item["metadata"]["name"],
        "ready": ready.status,
        **({"reason": reason} if reason else {}),
    }


def _scales(where: Where) -> Scales:
    """Pods that are wanted and that are there, by namespace and revision."""
    found: Scales = {}
    for item in kubernetes.items(where.path(_AUTOSCALING, "podautoscalers")):
        meta, status = item["metadata"], item.get("status") or {}
        revision = (meta.get("labels") or {}).get(_REVISION, meta["name"])
        wanted = status.get("desiredScale", -1)
        found[meta["namespace"], revision] = {
            # -1 is upstream's for a scale that is not known yet
            "pods-wanted": "unknown" if wanted < 0 else str(wanted),
            "pods": str(status.get("actualScale") or 0),
        }
    return found
