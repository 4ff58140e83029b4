#!/usr/bin/env python3
"""Knative Serving's controller: https://knative.dev/docs/serving/"""

from __future__ import annotations

import ops

from charmed_mlops import (
    ClusterResources,
    Http,
    Metrics,
    ServiceCharm,
    ServiceRequirer,
)

# Of its own 8080, and of 9090 and 8008: knative.dev/pkg, injection and observability.
HEALTH, METRICS = 8080, 9090


class KnativeController(ServiceCharm):
    """The controllers elect a leader; the others take over when it ends."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container="knative-controller")
        self.cluster = ClusterResources(self, "manifests")
        self.serving = ServiceRequirer(self, "serving")
        self.metrics = Metrics(self, port=METRICS)

    def reconcile(self) -> None:
        # it ends where Knative's kinds and ConfigMaps are not there yet
        self.serving.get()
        self.cluster.apply()
        self.workload.run(
            command="/ko-app/controller",
            environment={
                "SYSTEM_NAMESPACE": self.model.name,
                "POD_NAME": self.unit.name.replace("/", "-"),
            },
            check=Http(HEALTH, "/readiness"),
            alive=Http(HEALTH, "/health"),
            version="1.21.1",
        )
        self.set_ports(METRICS)
        self.metrics.publish()


if __name__ == "__main__":
    ops.main(KnativeController)
