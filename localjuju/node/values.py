"""The downward API: what a pod's specification may ask about the pod itself."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any

NODE_NAME = "localhost"
NODE_IP = "10.1.0.1"
CPU_CORES = 2
_UNITS = {
    "": Decimal(1), "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"),
    "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12),
    "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40),
}  # fmt: skip
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")


def field_value(pod: Any, path: str, pod_ip: str) -> str:
    """The value of a pod's field, as text.

    Raises:
        ValueError: Kubernetes has no such field in the downward API.
    """
    simple = {
        "metadata.name": pod.metadata.name,
        "metadata.namespace": pod.metadata.namespace,
        "metadata.uid": pod.metadata.uid,
        "spec.nodeName": pod.spec.nodeName,
        "spec.serviceAccountName": pod.spec.serviceAccountName,
        "status.podIP": pod_ip,
        "status.podIPs": pod_ip,
        "status.hostIP": NODE_IP,
        "status.hostIPs": NODE_IP,
    }
    if path in simple:
        return simple[path] or ""
    if match := _SUBSCRIPT.fullmatch(path):
        return (getattr(pod.metadata, match[1]) or {}).get(match[2], "")
    if path in ("metadata.labels", "metadata.annotations"):
        values = getattr(pod.metadata, path.partition(".")[2]) or {}
        return "".join(f'{key}="{value}"\n' for key, value in sorted(values.items()))
    raise ValueError(f"no field {path} in the downward API")


def quantity(text: str) -> Decimal:
    """A Kubernetes quantity such as `500m` or `1Gi`.

    Raises:
        ValueError: it is none.
    """
    match = re.fullmatch(r"([0-9.]+(?:[eE][0-9]+)?)([a-zA-Z]*)", str(text))
    if not match or match[2] not in _UNITS:
        raise ValueError(f"{text} is no quantity")
    return Decimal(match[1]) * _UNITS[match[2]]


def resource_value(pod: Any, container: Any, reference: Any) -> str:
    """The value of a `resourceFieldRef`; a missing limit is what the node has."""
    if reference.containerName:
        container = next(c for c in pod.spec.containers if c.name == reference.containerName)
    kind, _, name = reference.resource.partition(".")
    resources = container.resources
    values = (getattr(resources, kind, None) if resources else None) or {}
    default = str(CPU_CORES) if name == "cpu" else "0"
    value = quantity(values.get(name, default)) / quantity(str(reference.divisor or "1"))
    return str(math.ceil(value))
