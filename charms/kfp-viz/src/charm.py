#!/usr/bin/env python3
"""Visualizations: https://www.kubeflow.org/docs/components/pipelines/legacy-v1/sdk/"""

from __future__ import annotations

import ops

from charmed_mlops import (
    Address,
    ClusterResources,
    Http,
    ServiceCharm,
    ServiceProvider,
    pipelines,
)

PORT = 8888


class KfpViz(ServiceCharm):
    """No state: every unit serves."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container="kfp-viz", ports=(PORT,))
        self.cluster = ClusterResources(self, "manifests")
        self.address_provider = ServiceProvider(self, "visualization")

    def reconcile(self) -> None:
        self.cluster.apply()
        self.workload.run(
            command="python3 server.py",
            working_dir="/src",
            check=Http(PORT, "/"),
            version=pipelines.VERSION,
        )
        self.address_provider.publish(Address(self.address, PORT))


if __name__ == "__main__":
    ops.main(KfpViz)
