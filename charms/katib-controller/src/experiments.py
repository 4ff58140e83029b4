"""Actions on experiments, with the unit's own rights."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pydantic

from charmed_mlops import ActionFailed, kubernetes

_GROUP = "/apis/kubeflow.org/v1beta1"


class Where(pydantic.BaseModel):
    """Which experiments are meant."""

    namespace: str = ""


class Resume(pydantic.BaseModel):
    """Which experiment may make how many trials more."""

    namespace: str
    name: str
    further_trials: int = pydantic.Field(default=1, ge=1)


class Purge(Where):
    """Which experiments go."""

    older_than_days: int = pydantic.Field(default=30, ge=0)
    confirm: bool = False


def listed(where: Where) -> dict[str, str]:
    """State, trials and best objective of each experiment."""
    found = [_summary(each) for each in _experiments(where.namespace)]
    return {"count": str(len(found)), "experiments": json.dumps(found)}


def resume(params: Resume) -> dict[str, str]:
    """Raise the number of trials of an experiment that may go on."""
    path = f"{_GROUP}/namespaces/{params.namespace}/experiments/{params.name}"
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
    old = [each for each in _experiments(params.namespace) if _ended_before(each, limit)]
    names = [f"{each['metadata']['namespace']}/{each['metadata']['name']}" for each in old]
    if params.confirm:
        for each in old:
            metadata = each["metadata"]
            kubernetes.delete(
                f"{_GROUP}/namespaces/{metadata['namespace']}/experiments/{metadata['name']}"
            )
    verb = "deleted" if params.confirm else "would-delete"
    return {"count": str(len(names)), verb: ",".join(names)}


def _experiments(namespace: str) -> list[dict[str, Any]]:
    where = f"/namespaces/{namespace}" if namespace else ""
    return kubernetes.items(f"{_GROUP}{where}/experiments")


def _summary(experiment: dict[str, Any]) -> dict[str, Any]:
    status = experiment.get("status") or {}
    best = (status.get("currentOptimalTrial") or {}).get("observation") or {}
    metrics = {each["name"]: each.get("latest", "") for each in best.get("metrics") or []}
    return {
        "namespace": experiment["metadata"]["namespace"],
        "name": experiment["metadata"]["name"],
        "state": _state(status),
        "trials": status.get("trials", 0),
        "trials-succeeded": status.get("trialsSucceeded", 0),
        "best": metrics,
    }


def _state(status: dict[str, Any]) -> str:
    true = [each["type"] for each in status.get("conditions") or [] if each["status"] == "True"]
    return true[-1] if true else "Unknown"


def _ended_before(experiment: dict[str, Any], limit: datetime.datetime) -> bool:
    ended = (experiment.get("status") or {}).get("completionTime")
    return bool(ended) and datetime.datetime.fromisoformat(ended.replace("Z", "+00:00")) <= limit
