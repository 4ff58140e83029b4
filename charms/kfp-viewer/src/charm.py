#!/usr/bin/env python3
"""Viewers: https://github.com/kubeflow/pipelines/tree/master/backend/src/crd"""

from __future__ import annotations

import ops

from charmed_mlops import ClusterResources, ServiceCharm, pipelines


class KfpViewer(ServiceCharm):
    """One unit, as the controller elects no leader."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container="kfp-viewer")
        self.cluster = ClusterResources(self, "manifests")

    def reconcile(self) -> None:
        self.require_single_unit(pipelines.ONE_UNIT)
        most = self.number("max-viewers", 1, 10000)
        self.cluster.apply()
        self.workload.run(
            command=f"/bin/controller -logtostderr=true -max_num_viewers={most} --namespace=",
            version=pipelines.VERSION,
        )


if __name__ == "__main__":
    ops.main(KfpViewer)
