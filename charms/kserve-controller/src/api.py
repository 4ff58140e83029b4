"""Reads KServe's objects with the unit's own ServiceAccount."""

from __future__ import annotations

from typing import Any

from charmed_mlops import Where, kubernetes
from charmed_mlops.conditions import condition

_GROUP = "/apis/serving.kserve.io"


def inference_services(where: Where, gateway: str | None) -> list[dict[str, str]]:
    """Name, namespace, whether ready, URLs and why not, of every InferenceService.

    Args:
        where: in which namespaces.
        gateway: its URL; None where there is no gateway.
    """
    path = where.path(f"{_GROUP}/v1beta1", "inferenceservices")
    found = kubernetes.items(path)
    if gateway is None:
        return [summary(item) for item in found]
    return [{**summary(item), "gateway-url": gateway + outside(item)} for item in found]


def outside(item: dict[str, Any]) -> str:
    """The gateway's path to what clients of an InferenceService ask."""
    name, namespace = item["metadata"]["name"], item["metadata"]["namespace"]
    part = "transformer/" if "transformer" in item["spec"] else ""
    return f"/serving/{namespace}/{name}/{part}"


def summary(item: dict[str, Any]) -> dict[str, str]:
    """One InferenceService in a few words."""
    status = item.get("status") or {}
    ready = condition(item, "Ready")
    return {
        "namespace": item["metadata"]["namespace"],
        "name": item["metadata"]["name"],
        "ready": ready.status,
        # status.url is made of the domain, which no ingress of ours answers for
        "url": (status.get("address") or {}).get("url", ""),
        "reason": ready.message or ready.reason,
    }


def runtimes() -> list[dict[str, str]]:
    """Name, formats and image of every serving runtime of the cluster."""
    return [
        {
            "name": item["metadata"]["name"],
            "formats": ",".join(
                sorted({each["name"] for each in item["spec"].get("supportedModelFormats") or []})
            ),
            "image": item["spec"]["containers"][0].get("image", ""),
        }
        for item in kubernetes.items(f"{_GROUP}/v1alpha1/clusterservingruntimes")
    ]
