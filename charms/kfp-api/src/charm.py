#!/usr/bin/env python3
"""Kubeflow Pipelines' API server: https://www.kubeflow.org/docs/components/pipelines/"""

from __future__ import annotations

from typing import Any, Literal

import artifacts
import msgspec
import ops
import runs
import server

from charmed_mlops import (
    Address,
    ClusterResources,
    DatabaseRequirer,
    Http,
    Metrics,
    Reach,
    S3Provider,
    S3Requirer,
    ServiceCharm,
    ServiceProvider,
    ServiceRequirer,
    Tcp,
    kubernetes,
    pipelines,
)

FRONT = "/tmp/envoy.yaml"


class Options(msgspec.Struct, kw_only=True):
    """The charm's options."""

    cache: bool
    samples: bool
    log_level: Literal["debug", "info", "warning", "error"]
    update_default_version: bool


class KfpApi(ServiceCharm):
    """Every unit serves; the state is in the database."""

    def __init__(self, framework: ops.Framework):
        ports = (pipelines.HTTP_PORT, pipelines.GRPC_PORT)
        super().__init__(framework, container="kfp-api", ports=ports)
        self.front = self.add_workload("front")
        self.database = DatabaseRequirer(self, "database", database="mlpipeline")
        bucket = f"{self.model.name}-pipelines"[:63]
        self.store = S3Requirer(self, "object-store", bucket, tenants=pipelines.ARTIFACTS)
        self.metadata = ServiceRequirer(self, "metadata")
        self.visualization = ServiceRequirer(self, "visualization")
        self.cluster = ClusterResources(self, "manifests")
        self.address_provider = ServiceProvider(self, "kfp-api")
        self.artifacts = S3Provider(self, "artifacts")
        self.metrics = Metrics(self, port=pipelines.HTTP_PORT)

    def reconcile(self) -> None:
        options = self.options(Options)
        images = self.images()
        database, bucket, metadata = self.database.get(), self.store.get(), self.metadata.get()
        for request in self.artifacts.requests():
            self.artifacts.answer(request, bucket)
        self.cluster.apply(
            # who may set the identity header may be anybody; runs' pods reach the front, which
            # takes that header away
            Reach(tenants=(pipelines.GRPC_PORT,)),
            launcher=pipelines.launcher(bucket, "$(tenant)"),
            metadata=metadata.host,
        )
        self.workload.run(
            command=server.command(options.log_level, samples=options.samples),
            files=database.files
            | bucket.files
            | ({} if options.samples else dict([server.NO_SAMPLES])),
            environment={
                **server.database(database),
                **server.store(bucket),
                **server.roots(database, bucket),
                **server.visualization(self.visualization.get_or_none()),
                **server.audience(kubernetes.audience()),
                **pipelines.USER,
                "MULTIUSER": "true",
                "POD_NAMESPACE": self.model.name,
                "CLUSTER_DOMAIN": "cluster.local",
                "DEFAULTPIPELINERUNNERSERVICEACCOUNT": "default-editor",
                # runs' pods call it: a Service of its namespace
                "ML_PIPELINE_SERVICE_NAME": self.address.partition(".")[0],
                "METADATA_SERVICE_NAME": pipelines.neighbour(metadata, self.model.name),
                "V2_DRIVER_IMAGE": images["driver"],
                "V2_LAUNCHER_IMAGE": images["launcher"],
                "CACHEENABLED": str(options.cache).lower(),
                "AUTO_UPDATE_PIPELINE_DEFAULT_VERSION": str(
                    options.update_default_version
                ).lower(),
                "LOG_LEVEL": options.log_level,
                "PIPELINE_LOG_LEVEL": "1",
                "PUBLISH_LOGS": "true",
                "COMPILED_PIPELINE_SPEC_PATCH": "{}",
            },
            check=Http(pipelines.HTTP_PORT, "/apis/v2beta1/healthz"),
            kill_delay=3,  # it goes on answering for long after SIGTERM
            version=pipelines.VERSION,
        )
        self.front.run(
            command=f"/usr/local/bin/envoy -c {FRONT}",
            files={
                FRONT: self.render(
                    "envoy.yaml.j2",
                    port=pipelines.GRPC_PORT,
                    stats=0,
                    host="127.0.0.1",
                    upstream=server.RPC_PORT,
                    grpc_web=False,
                    fence=None,
                    forget=[pipelines.USER["KUBEFLOW_USERID_HEADER"]],
                )
            },
            check=Tcp(pipelines.GRPC_PORT),
        )
        self.address_provider.publish(Address(self.address, pipelines.HTTP_PORT))
        self.metrics.publish()
        self.artifacts.require_valid()

    @property
    def _runs(self) -> runs.Runs:
        url = f"http://localhost:{pipelines.HTTP_PORT}"
        return runs.Runs(url, kubernetes.token(), self.cluster.tenants)

    def action_list_runs(self, params: runs.Where) -> dict[str, Any]:
        """What runs, what has ended, and how."""
        return runs.listed(self._runs, params)

    def action_retry(self, params: runs.Run) -> dict[str, str]:
        """Run again what failed."""
        return runs.do(self._runs, "retry", params)

    def action_terminate(self, params: runs.Run) -> dict[str, str]:
        """Stop a run."""
        return runs.do(self._runs, "terminate", params)

    def action_archive(self, params: runs.Run) -> dict[str, str]:
        """Put a run away."""
        return runs.do(self._runs, "archive", params)

    def action_purge(self, params: runs.Purge) -> dict[str, str]:
        """Delete old runs, or list them."""
        return runs.purge(self._runs, artifacts.Artifacts(self.store.get()), params)


if __name__ == "__main__":
    ops.main(KfpApi)
