"""Actions on TrainJobs, with the unit's own rights."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from charmed_mlops import ActionFailed, Named, Where, kubernetes
from charmed_mlops.conditions import last_true
from charmed_mlops.results import listing

_JOBS = "trainjobs"
_GROUP = "/apis/trainer.kubeflow.org/v1alpha1"
_JOBSET_LABEL = "jobset.sigs.k8s.io%2Fjobset-name"


class Log(Named):
    """How much of which job's log."""

    lines: Annotated[int, msgspec.Meta(ge=1)] = 50


def listed(where: Where) -> dict[str, Any]:
    """Runtime, state and number of nodes of each job."""
    found = [_summary(each) for each in kubernetes.items(where.path(_GROUP, _JOBS))]
    return listing("jobs", found)


def suspend(job: Named, *, suspended: bool) -> dict[str, str]:
    """Set whether the job is suspended; refuse one that has ended."""
    path = job.path(_GROUP, _JOBS)
    state = _summary(kubernetes.get(path))["state"]
    if state in ("Complete", "Failed"):
        raise ActionFailed(f"{job} is {state}")
    kubernetes.patch(path, {"spec": {"suspend": suspended}})
    return {"suspended": str(suspended).lower()}


def failed_log(job: Log) -> dict[str, str]:
    """The last lines of the job's first pod that failed."""
    kubernetes.get(job.path(_GROUP, _JOBS))  # so that a wrong name is said to be one
    return kubernetes.failed_log(job, _JOBSET_LABEL, job.lines)


def _summary(job: dict[str, Any]) -> dict[str, Any]:
    return {
        "namespace": job["metadata"]["namespace"],
        "name": job["metadata"]["name"],
        "runtime": job["spec"]["runtimeRef"]["name"],
        "nodes": (job["spec"].get("trainer") or {}).get("numNodes", 1),
        "state": last_true(job) or "Running",
    }
