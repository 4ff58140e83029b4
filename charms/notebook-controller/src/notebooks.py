"""Actions on notebooks, with the unit's own rights."""

from __future__ import annotations

import datetime
from typing import Annotated, Any

import msgspec

from charmed_mlops import ActionFailed, Named, Where, kubernetes
from charmed_mlops.results import listing, names

_GROUP, _PLURAL = "/apis/kubeflow.org/v1", "notebooks"
# The controller scales a notebook to nothing while it has the one, and notes its use in the other.
_STOPPED = "kubeflow-resource-stopped"
_ACTIVITY = "notebooks.kubeflow.org/last-activity"


class Idle(Where):
    """Since when they are not used."""

    minutes: Annotated[int, msgspec.Meta(ge=0)] = 60


class All(Where):
    """Whether it is meant."""

    confirm: bool = False


def listed(where: Where) -> dict[str, Any]:
    """State, image and last activity of each notebook."""
    found = [_summary(each) for each in _notebooks(where)]
    return listing("notebooks", found)


def idle(params: Idle) -> dict[str, Any]:
    """The running notebooks whose last activity is long ago."""
    limit = _now() - datetime.timedelta(minutes=params.minutes)
    found = [
        summary
        for each in _notebooks(params)
        if (summary := _summary(each))["state"] == "running" and _idle_since(each, limit)
    ]
    return listing("notebooks", found)


def stop(notebook: Named) -> dict[str, str]:
    """Stop a notebook.

    Raises:
        ActionFailed: it is stopped already.
    """
    if _stopped(kubernetes.get(notebook.path(_GROUP, _PLURAL))):
        raise ActionFailed(f"{notebook} is stopped already")
    _annotate(notebook, _now().strftime("%Y-%m-%dT%H:%M:%SZ"))
    return {"stopped": str(notebook)}


def start(notebook: Named) -> dict[str, str]:
    """Start a notebook.

    Raises:
        ActionFailed: it is not stopped.
    """
    if not _stopped(kubernetes.get(notebook.path(_GROUP, _PLURAL))):
        raise ActionFailed(f"{notebook} is not stopped")
    _annotate(notebook, None)
    return {"started": str(notebook)}


def stop_all(params: All) -> dict[str, str]:
    """Stop all that are not stopped, or list them."""
    found = [
        Named(namespace=each["metadata"]["namespace"], name=each["metadata"]["name"])
        for each in _notebooks(params)
        if not _stopped(each)
    ]
    if params.confirm:
        for each in found:
            stop(each)
    return names("stopped" if params.confirm else "would-stop", [str(each) for each in found])


def _notebooks(where: Where) -> list[dict[str, Any]]:
    return kubernetes.items(where.path(_GROUP, _PLURAL))


def _annotate(notebook: Named, value: str | None) -> None:
    kubernetes.patch(
        notebook.path(_GROUP, _PLURAL), {"metadata": {"annotations": {_STOPPED: value}}}
    )


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


def _annotation(notebook: dict[str, Any], name: str) -> str:
    return (notebook["metadata"].get("annotations") or {}).get(name, "")


def _stopped(notebook: dict[str, Any]) -> bool:
    return bool(_annotation(notebook, _STOPPED))


def _idle_since(notebook: dict[str, Any], limit: datetime.datetime) -> bool:
    activity = _annotation(notebook, _ACTIVITY)
    if not activity:  # nobody knows
        return False
    return datetime.datetime.fromisoformat(activity.replace("Z", "+00:00")) <= limit


def _summary(notebook: dict[str, Any]) -> dict[str, Any]:
    (container, *_) = notebook["spec"]["template"]["spec"]["containers"]
    return {
        "namespace": notebook["metadata"]["namespace"],
        "name": notebook["metadata"]["name"],
        "state": _state(notebook),
        "image": container.get("image", ""),
        "last-activity": _annotation(notebook, _ACTIVITY),
    }


def _state(notebook: dict[str, Any]) -> str:
    """Stopped, running, or why not, such as ImagePullBackOff."""
    status = notebook.get("status") or {}
    if _stopped(notebook):
        return "stopped" if not status.get("readyReplicas") else "stopping"
    if status.get("readyReplicas"):
        return "running"
    container = status.get("containerState") or {}
    reasons = [(container.get(each) or {}).get("reason") for each in ("waiting", "terminated")]
    return next((each for each in reasons if each), "starting")
