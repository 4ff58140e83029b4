#!/usr/bin/env python3
"""Kubeflow Pipelines' persistence agent: https://www.kubeflow.org/docs/components/pipelines/"""

from __future__ import annotations

import ops

from charmed_mlops import ClusterResources, ServiceCharm, ServiceRequirer, pipelines

_KEPT_SECONDS = 86400  # upstream's own: an ended workflow is reported again for as long


class KfpPersistence(ServiceCharm):
    """One unit: the agent elects no leader, two would report everything twice."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container="kfp-persistence")
        self.api = ServiceRequirer(self, "kfp-api")
        self.cluster = ClusterResources(self, "manifests")

    def reconcile(self) -> None:
        self.require_single_unit(pipelines.ONE_UNIT)
        workers = self.number("workers", 1, 64)
        level = self.choice("log-level", "debug", "info", "warning", "error")
        api = self.api.get()
        self.cluster.apply()
        program = (
            "/bin/persistence_agent --logtostderr=true --namespace="
            f" --ttlSecondsAfterWorkflowFinish={_KEPT_SECONDS} --numWorker={workers}"
            f" --executionType=Workflow --logLevel={level}"
            f" --mlPipelineAPIServerName={api.host} --mlPipelineServiceHttpPort={api.port}"
            f" --mlPipelineServiceGRPCPort={pipelines.GRPC_PORT}"
            " --saTokenRefreshIntervalInSecs=300"
        )
        self.workload.run(
            command=pipelines.with_token("persistenceagent-sa-token", program),
            version=pipelines.VERSION,
        )


if __name__ == "__main__":
    ops.main(KfpPersistence)
