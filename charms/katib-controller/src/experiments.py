"""Actions on experiments, with the unit's own rights."""

from __future__ import annotations

import datetime
from typing import Annotated, Any

import msgspec

from charmed_mlops import ActionFailed, Named, Where, kubernetes
from charmed_mlops.conditions import last_true
from charmed_mlops.results import listing, names

_EXPERIMENTS = "experiments"
_GROUP = "/apis/kubeflow.org/v1beta1"


class Resume(Named):
    """Which experiment may make how many trials more."""

    further_trials: Annotated[int, msgspec.Meta(ge=1)] = 1


class Purge(Where):
    """Which experiments go."""

    older_than_days: Annotated[int, msgspec.Meta(ge=0)] = 30
    confirm: bool = False


def listed(where: Where) -> dict[str, Any]:
    """State, trials and best objective of each experiment."""
    found = [_summary(each) for each in _experiments(where)]
    return listing("experiments", found)


def resume(params: Resume) -> dict[str, str]:
    """Raise the number of trials of an experiment that may go on."""
    path = params.path(_GROUP, _EXPERIMENTS)
    experiment = kubernetes.get(path)
    policy = experiment["spec"].get("resumePolicy", "Never")
    if policy == "Never":
        raise ActionFailed(f"{params.name} has resumePolicy Never: create it anew")
    most = int(experiment["spec"].get("maxTrialCount", 0)) + params.further_trials
    kubernetes.patch(path, {"spec": {"maxTrialCount": most}})
    return {"max-trial-count": str(most)}


def purge(params: Purge) -> dict[str, str]:
    """Delete experiments that ended before the given time."""
    limit = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(
        days=params.older_than_days
    )
    old = [each for each in _experiments(params) if _ended_before(each, limit)]
    old_names = [str(_name(each)) for each in old]
    if params.confirm:
        for each in old:
            kubernetes.delete(_name(each).path(_GROUP, _EXPERIMENTS))
    verb = "deleted" if params.confirm else "would-delete"
    return names(verb, old_names)


def _experiments(where: Where) -> list[dict[str, Any]]:
    return kubernetes.items(where.path(_GROUP, _EXPERIMENTS))


def _name(experiment: dict[str, Any]) -> Named:
    metadata = experiment["metadata"]
    return Named(namespace=metadata["namespace"], name=metadata["name"])


def _summary(experiment: dict[str, Any]) -> dict[str, Any]:
    status = experiment.get("status") or {}
    best = (status.get("currentOptimalTrial") or {}).get("observation") or {}
    metrics = {each["name"]: each.get("latest", "") for each in best.get("metrics") or []}
    return {
        "namespace": experiment["metadata"]["namespace"],
        "name": experiment["metadata"]["name"],
        "state": last_true(experiment) or "Unknown",
        "trials": status.get("trials", 0),
        "trials-succeeded": status.get("trialsSucceeded", 0),
        "best": metrics,
    }


def _ended_before(experiment: dict[str, Any], limit: datetime.datetime) -> bool:
    ended = (experiment.get("status") or {}).get("completionTime")
    return bool(ended) and datetime.datetime.fromisoformat(ended.replace("Z", "+00:00")) <= limit
