"""The routes that Knative Serving asks for, with the unit's own rights."""

from __future__ import annotations

from typing import Any

from charmed_mlops import ActionFailed, Where, kubernetes
from charmed_mlops.conditions import condition
from charmed_mlops.results import listing

GROUP = "/apis/networking.internal.knative.dev/v1alpha1"
CLASS = ("networking.knative.dev/ingress.class", "kourier.ingress.networking.knative.dev")


def listed(where: Where) -> dict[str, Any]:
    """Each Ingress of Kourier's class: its hosts, where they lead, whether it is ready.

    Raises:
        ActionFailed: Knative Serving has not brought the kind, or the API server says no.
    """
    try:
        found = kubernetes.items(where.path(GROUP, "ingresses"))
    except kubernetes.NotFound:
        raise ActionFailed("there is no Knative Serving: juju deploy knative-serving") from None
    key, value = CLASS
    own = [each for each in found if (each["metadata"].get("annotations") or {}).get(key) == value]
    return listing("routes", [_summary(each) for each in own])


def _summary(ingress: dict[str, Any]) -> dict[str, Any]:
    rules = (ingress.get("spec") or {}).get("rules") or []
    ready = condition(ingress, "Ready")
    reason = " ".join(f"{ready.reason} {ready.message}".split())
    return {
        "namespace": ingress["metadata"]["namespace"],
        "name": ingress["metadata"]["name"],
        "hosts": sorted({host for rule in rules for host in rule.get("hosts") or []}),
        "to": sorted({split for rule in rules for split in _splits(rule)}),
        "ready": ready.status,
        **({"reason": reason} if reason and ready.status != "True" else {}),
    }


def _splits(rule: dict[str, Any]) -> list[str]:
    """`NAMESPACE/SERVICE:PORT`, with its share where it has not all."""
    found = []
    for path in (rule.get("http") or {}).get("paths") or []:
        for split in path.get("splits") or []:
            percent = split.get("percent", 100)
            share = f" ({percent}%)" if percent != 100 else ""
            service = f"{split.get('serviceNamespace')}/{split.get('serviceName')}"
            found.append(f"{service}:{split.get('servicePort')}{share}")
    return found
