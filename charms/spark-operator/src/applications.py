"""Actions on SparkApplications, with the unit's own rights."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from charmed_mlops import ActionFailed, Where, kubernetes
from charmed_mlops import Named as Application
from charmed_mlops.results import listing

_GROUP = "/apis/sparkoperator.k8s.io/v1beta2"
_PLURAL = "sparkapplications"
# What the operator leaves alone: api/v1beta2, ApplicationStateType.
_ENDED = ("COMPLETED", "FAILED")


class Log(Application):
    """How much of which driver's log."""

    lines: Annotated[int, msgspec.Meta(ge=1)] = 50


def listed(where: Where) -> dict[str, Any]:
    """State, number of attempts and reason of a failure of each application."""
    found = [_summary(each) for each in kubernetes.items(where.path(_GROUP, _PLURAL))]
    return listing("applications", found)


def suspend(application: Application, *, suspended: bool) -> dict[str, str]:
    """Set whether the application is suspended; refuse one that has ended."""
    path = application.path(_GROUP, _PLURAL)
    state = _summary(kubernetes.get(path))["state"]
    if state in _ENDED:
        raise ActionFailed(f"{application} is {state}")
    kubernetes.patch(path, {"spec": {"suspend": suspended}})
    return {"suspended": str(suspended).lower()}


def driver_log(application: Log) -> dict[str, str]:
    """The last lines of the driver, and its pod's name; those of a Spark that failed name why."""
    status = kubernetes.get(application.path(_GROUP, _PLURAL)).get("status") or {}
    pod = (status.get("driverInfo") or {}).get("podName")
    if not pod:
        raise ActionFailed(f"{application} has no driver yet")
    path = f"/api/v1/namespaces/{application.namespace}/pods/{pod}"
    return {"pod": pod, "log": kubernetes.log(path, application.lines)}


def _summary(application: dict[str, Any]) -> dict[str, Any]:
    status = application.get("status") or {}
    state = status.get("applicationState") or {}
    reason = " ".join(str(state.get("errorMessage") or "").split())
    return {
        "namespace": application["metadata"]["namespace"],
        "name": application["metadata"]["name"],
        "type": application["spec"]["type"],
        "state": state.get("state") or "NEW",
        "attempts": status.get("executionAttempts", 0),
        **({"reason": reason} if reason else {}),
    }
