"""What Juju, Kubernetes and the node are like, without what differs from one run to the next."""

from __future__ import annotations

import collections
import difflib
import json
import re
from pathlib import Path
from typing import Any

import jubilant
import yaml
from kills import processes
from reach import EngineReach

Snapshot = dict[str, str]
"""By name, as YAML."""

_MASKS = (
    (re.compile(r"-----BEGIN.*-----END[A-Z ]*-----\s*", re.DOTALL), "PEM"),
    (re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "UUID"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.\d]*(Z|[+-]\d\d:?\d\d)?"), "TIME"),
    (re.compile(r"\b\d{4}-\d\d-\d\d\b"), "DATE"),
    (re.compile(r"\b10\.\d+\.\d+\.\d+\b"), "ADDRESS"),
    (re.compile(r"\b[0-9a-v]{20}\b"), "ID"),
    (re.compile(r"[A-Za-z0-9+/_-]{60,}={0,2}"), "BYTES"),
    (re.compile(r"(?<=app\.juju\.is/uuid: )\S+"), "HEX"),  # it may be letters alone
    (re.compile(r"\b(?=[a-z]*\d)[0-9a-f]{6,}\b"), "HEX"),
    (re.compile(r"kube-api-access-[a-z0-9]{5}\b"), "kube-api-access"),
)
# What has a life of its own, or tells of the past.
_KINDS_LEFT_OUT = {
    "componentstatuses", "controllerrevisions.apps", "events", "events.events.k8s.io",
    "leases.coordination.k8s.io", "endpoints", "ipaddresses.networking.k8s.io",
    "apiservices.apiregistration.k8s.io",
}  # fmt: skip
_META = ("labels", "annotations", "finalizers")
_PAST = {"controller-revision-hash", "endpoints.kubernetes.io/last-change-trigger-time"}
_STATUS = ("phase", "replicas", "readyReplicas")
_JUJU_LEFT_OUT = {"since", "address", "public-address", "provider-id", "timestamp", "leader"}


def masked(text: str) -> str:
    """The text without what is made anew in each run: keys, ids, times, addresses."""
    for pattern, instead in _MASKS:
        text = pattern.sub(instead, text)
    return text


def juju(juju: jubilant.Juju) -> Snapshot:
    """The model: status, what units see of their relations, secrets."""
    status = json.loads(juju.cli("status", "--format", "json"))
    found = {"status": _text(_without(status, _JUJU_LEFT_OUT))}
    for name, application in status["applications"].items():
        units = application.get("units", {})
        leaders = sum(bool(unit.get("leader")) for unit in units.values())
        found[f"leaders of {name}"] = str(leaders)
        for unit in units:
            shown = json.loads(juju.cli("show-unit", unit, "--format", "json"))[unit]
            shown.pop("leader", None)
            found[f"unit {unit}"] = _text(_without(shown, _JUJU_LEFT_OUT))
    secrets = []
    for id, secret in json.loads(juju.cli("secrets", "--format", "json")).items():
        shown = json.loads(juju.cli("show-secret", id, "--reveal", "--format", "json"))[id]
        content = shown.get("content") or {}
        told = {key: secret.get(key) for key in ("owner", "label", "rotation", "revision")}
        secrets.append(_text({**told, "keys": sorted(content.get("Data", content))}))
    found["secrets"] = "\n".join(sorted(secrets))
    return found


def kubernetes(engine: EngineReach) -> Snapshot:
    """Every object, in all namespaces."""
    kinds = set(engine.kubectl("api-resources", "--verbs=list", "-o", "name").split())
    listed = json.loads(
        engine.kubectl("get", ",".join(sorted(kinds - _KINDS_LEFT_OUT)), "-A", "-o", "json")
    )
    found = collections.defaultdict(list)
    for item in listed["items"]:
        meta = item["metadata"]
        name = masked(meta["name"])
        if item["kind"] == "EndpointSlice":
            name = re.sub(r"-[a-z0-9]{5}$", "", name)
        place = f"{item['kind']} {meta.get('namespace', '')}/{name}"
        found[place].append(_text(_object(item)))
    return {place: "\n".join(sorted(texts)) for place, texts in found.items()}


def node(engine: EngineReach) -> Snapshot:
    """What the node's programs left in its namespaces and folders.

    Raises:
        OSError: one of them ends meanwhile.
    """
    running = list(processes(engine.state))
    inside = next((pid for pid, name in running if name == "etcd"), None)
    mounts = Path(f"/proc/{inside}/mountinfo").read_text().splitlines()
    devices = Path(f"/proc/{inside}/net/dev").read_text().splitlines()[2:]
    volumes = engine.state / "volumes"
    return {
        "processes": "\n".join(sorted(name for _, name in running)),
        "mounts": "\n".join(sorted(masked(line.split()[4]) for line in mounts)),
        "interfaces": "\n".join(sorted(re.sub(r"\w{8}$", "", one.split(":")[0].strip())
                                       for one in devices)),
        "volumes": "\n".join(sorted(one.name for one in volumes.iterdir()))
        if volumes.exists() else "",
    }  # fmt: skip


def difference(expected: Snapshot, found: Snapshot) -> str:
    """What differs, as a patch; empty where nothing does."""
    lines: list[str] = []
    for name in sorted({*expected, *found}):
        before, after = expected.get(name), found.get(name)
        if before != after:
            lines += difflib.unified_diff(
                (before or "").splitlines(), (after or "").splitlines(),
                f"{name}, undisturbed" if before is not None else "not there undisturbed",
                name if after is not None else f"{name} is not there", lineterm="", n=4,
            )  # fmt: skip
    return "\n".join(lines)


def _object(item: dict[str, Any]) -> dict[str, Any]:
    meta = item["metadata"]
    kept: dict[str, Any] = {key: _without(meta.get(key) or {}, _PAST) for key in _META}
    kept["owners"] = [
        f"{owner['kind']} {owner['name']}" for owner in meta.get("ownerReferences", ())
    ]
    kept["deleted"] = "deletionTimestamp" in meta
    rest = {
        key: value
        for key, value in item.items()
        if key not in ("metadata", "status", "apiVersion", "kind")
    }
    if item["kind"] == "Secret":
        rest["data"] = sorted(item.get("data", {}))
    if item["kind"] in ("PersistentVolume", "PersistentVolumeClaim"):
        rest = _without(rest, {"resourceVersion"})
    if item["kind"] == "Pod":  # the StatefulSet's controller adds them in no order
        rest["spec"].get("volumes", []).sort(key=lambda volume: volume["name"])
    if item["kind"] == "EndpointSlice":
        rest["endpoints"] = sorted(
            json.dumps({"to": one.get("targetRef", {}).get("name"), "is": one.get("conditions")})
            for one in rest.get("endpoints") or ()
        )
    return {"metadata": kept, **rest, "status": _status(item.get("status") or {})}


def _status(status: dict[str, Any]) -> dict[str, Any]:
    kept = {key: status[key] for key in _STATUS if key in status}
    kept["ready"] = [
        f"{one['name']} {one['ready']} {next(iter(one.get('state', ())), '')}"
        for key in ("initContainerStatuses", "containerStatuses")
        for one in status.get(key, ())
    ]
    return kept


def _without(value: Any, keys: set[str]) -> Any:
    if isinstance(value, dict):
        return {key: _without(one, keys) for key, one in value.items() if key not in keys}
    if isinstance(value, list):
        return [_without(one, keys) for one in value]
    return value


def _text(value: Any) -> str:
    return masked(yaml.safe_dump(_plain(value), width=10000))


def _plain(value: Any) -> Any:
    """Masked before it is written: YAML breaks lines of keys and certificates."""
    if isinstance(value, dict):
        return {_plain(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return masked(value) if isinstance(value, str) else value
