"""The kinds of jobs, and actions on jobs with the unit's own rights."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from charmed_mlops import ActionFailed, Named, Where, kubernetes
from charmed_mlops.conditions import last_true
from charmed_mlops.fields import Parsed
from charmed_mlops.results import listing

KINDS = ("PyTorchJob", "TFJob", "XGBoostJob", "MPIJob", "PaddleJob", "JAXJob")
_GROUP = "/apis/kubeflow.org/v1"
_POD_LABEL = "training.kubeflow.org%2Fjob-name"
_ENDED = ("Succeeded", "Failed")


def _known(text: str) -> str:
    if text not in KINDS:
        raise ValueError(f"must be one of {', '.join(KINDS)}")
    return text


def _chosen(text: object) -> list[str]:
    words = list(dict.fromkeys(str(text).split()))
    if not words:
        raise ValueError("name at least one kind")
    return [_known(word) for word in words]


Kinds = Annotated[list[str], Parsed(_chosen)]
"""Kinds out of a text with spaces between them."""


class Job(Named):
    """Which job."""

    kind: Annotated[str, Parsed(_known)]

    @property
    def url(self) -> str:
        """Of the job in the API."""
        return self.path(_GROUP, plural(self.kind))


class Log(Job):
    """How much of which job's log."""

    lines: Annotated[int, msgspec.Meta(ge=1)] = 50


def plural(kind: str) -> str:
    """A kind's name in the API's paths."""
    return f"{kind.lower()}s"


def listed(where: Where, kinds: list[str]) -> dict[str, Any]:
    """Kind, state and replicas of each job."""
    found = [
        _summary(kind, each)
        for kind in kinds
        for each in kubernetes.items(where.path(_GROUP, plural(kind)))
    ]
    return listing("jobs", found)


def suspend(job: Job, *, suspended: bool) -> dict[str, str]:
    """Set whether the job is suspended; refuse one that has ended."""
    state = _summary(job.kind, kubernetes.get(job.url))["state"]
    if state in _ENDED:
        raise ActionFailed(f"{job} has ended: {state}")
    kubernetes.patch(job.url, {"spec": {"runPolicy": {"suspend": suspended}}})
    return {"suspended": str(suspended).lower()}


def failed_log(job: Log) -> dict[str, str]:
    """The last lines of the job's first pod that failed."""
    kubernetes.get(job.url)  # so that a wrong name is said to be one
    return kubernetes.failed_log(job, _POD_LABEL, job.lines)


def _summary(kind: str, job: dict[str, Any]) -> dict[str, Any]:
    replicas = next(value for key, value in job["spec"].items() if key.endswith("ReplicaSpecs"))
    return {
        "kind": kind,
        "namespace": job["metadata"]["namespace"],
        "name": job["metadata"]["name"],
        "replicas": {role: spec.get("replicas", 1) for role, spec in replicas.items()},
        "state": last_true(job) or "Created",
    }
