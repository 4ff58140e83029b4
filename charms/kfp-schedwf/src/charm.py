#!/usr/bin/env python3
"""Recurring runs: https://www.kubeflow.org/docs/components/pipelines/concepts/run/"""

from __future__ import annotations

from typing import Annotated

import msgspec
import ops

from charmed_mlops import (
    ClusterResources,
    Metrics,
    ServiceCharm,
    ServiceRequirer,
    Tcp,
    pipelines,
)

METRICS = 9090


class Options(msgspec.Struct, kw_only=True):
    """The charm's options."""

    timezone: Annotated[
        str, msgspec.Meta(pattern=r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*\Z")
    ]
    resync_seconds: Annotated[int, msgspec.Meta(ge=1, le=3600)]


class KfpSchedwf(ServiceCharm):
    """One unit: the controller elects no leader, two would start each run twice."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container="kfp-schedwf")
        self.api = ServiceRequirer(self, "kfp-api")
        self.cluster = ClusterResources(self, "manifests")
        self.metrics = Metrics(self, port=METRICS)

    def reconcile(self) -> None:
        self.require_single_unit(pipelines.ONE_UNIT)
        options = self.options(Options)
        host = self.api.get().host
        self.cluster.apply()
        program = (
            "/bin/controller --logtostderr=true --namespace= --logLevel=info"
            f" --clientQPS=10 --clientBurst=20 --metricsPort={METRICS}"
            f" --recurringRunResyncIntervalSeconds={options.resync_seconds}"
            f" --mlPipelineAPIServerName={host}"
            f" --mlPipelineServiceGRPCPort={pipelines.GRPC_PORT}"
        )
        self.workload.run(
            command=pipelines.with_token("scheduledworkflow-sa-token", program),
            environment={"CRON_SCHEDULE_TIMEZONE": options.timezone},
            check=Tcp(METRICS),
            version=pipelines.VERSION,
        )
        self.set_ports(METRICS)
        self.metrics.publish()


if __name__ == "__main__":
    ops.main(KfpSchedwf)
