#!/usr/bin/env python3
"""Argo Workflows' controller: https://argo-workflows.readthedocs.io"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import ops

from charmed_mlops import ClusterResources, Http, Metrics, S3Requirer, ServiceCharm, pipelines

VERSION = "3.7.3"
METRICS, HEALTH = 9090, 6060


class Options(msgspec.Struct, kw_only=True):
    """The charm's options."""

    workflow_ttl: Annotated[int, msgspec.Meta(ge=0)]
    workflow_deadline: Annotated[int, msgspec.Meta(ge=0)]
    pod_gc: Literal[
        "OnPodCompletion", "OnPodSuccess", "OnWorkflowCompletion", "OnWorkflowSuccess", "Never"
    ]
    parallelism: Annotated[int, msgspec.Meta(ge=0)]
    namespace_parallelism: Annotated[int, msgspec.Meta(ge=0)]
    requeue_time: Annotated[str, msgspec.Meta(pattern=r"^[1-9]\d*(ms|s|m)\Z")]


class ArgoController(ServiceCharm):
    """One of the units leads (Argo's own election); the others stand by."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container="argo-controller")
        self.store = S3Requirer(self, "object-store")
        self.cluster = ClusterResources(self, "manifests")
        self.metrics = Metrics(self, port=METRICS)

    def reconcile(self) -> None:
        options = self.options(Options)
        executor = self.images()["argoexec"]
        # the controller reads its ConfigMap again when that changes: no restart is needed
        self.cluster.apply(
            options=options,
            metrics=METRICS,
            repository=pipelines.artifact_repository(self.store.get()),
        )
        self.workload.run(
            command=f"workflow-controller --configmap {self.app.name}-configmap "
            f"--executor-image {executor} --namespaced=false",
            environment={
                # the pod's name, which differs between the units
                "LEADER_ELECTION_IDENTITY": self.unit.name.replace("/", "-"),
                # https://argo-workflows.readthedocs.io/en/latest/environment-variables/
                "DEFAULT_REQUEUE_TIME": options.requeue_time,
            },
            check=Http(HEALTH, "/healthz"),
            alive=Http(HEALTH, "/healthz"),
            version=VERSION,
        )
        self.set_ports(METRICS)
        self.metrics.publish()


if __name__ == "__main__":
    ops.main(ArgoController)
