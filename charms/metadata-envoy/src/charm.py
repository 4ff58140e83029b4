#!/usr/bin/env python3
"""gRPC-Web for ML Metadata: https://www.envoyproxy.io"""

from __future__ import annotations

import ops

from charmed_mlops import (
    Address,
    ClusterResources,
    GatewayRoute,
    Metrics,
    Route,
    ServiceCharm,
    ServiceProvider,
    ServiceRequirer,
    Tcp,
    authorizers,
    pipelines,
)

CONFIG = "/tmp/envoy.yaml"
PORT, STATS_PORT, AUTHORIZER, INSIDE = 9090, 9902, 9001, 9091
SERVICE = "/ml_metadata.MetadataStoreService/"
FENCE = {
    "authorizer": AUTHORIZER,
    "prefix": "/check",
    "headers": [pipelines.USER["KUBEFLOW_USERID_HEADER"]],
    "longest": 65536,  # a call that reads is some ids, or a name
    "seconds": 15,
    "inside": INSIDE,
}


class MetadataEnvoy(ServiceCharm):
    """No state: every unit serves."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container="metadata-envoy", ports=(PORT, STATS_PORT))
        self.authorizer = self.add_workload("authorizer")
        self.metadata = ServiceRequirer(self, "metadata")
        self.gateway = GatewayRoute(self, "gateway")
        self.cluster = ClusterResources(self, "manifests")
        self.address_provider = ServiceProvider(self, "metadata-envoy")
        self.metrics = Metrics(self, port=STATS_PORT, path="/stats/prometheus")

    def reconcile(self) -> None:
        metadata = self.metadata.get()
        # Envoy first: while it finds no authorizer it lets nothing through. It asks without a
        # gateway, too: no moment is unfenced while that relation comes or goes
        self.workload.run(
            command=f"/usr/local/bin/envoy -c {CONFIG}",
            files={
                CONFIG: self.render(
                    "envoy.yaml.j2",
                    port=PORT,
                    stats=STATS_PORT,
                    host=metadata.host,
                    upstream=metadata.port,
                    grpc_web=True,
                    forget=[],
                    fence=FENCE,
                )
            },
            check=Tcp(PORT),
            version="1.37.0",
        )
        authorizers.run(self, self.authorizer, AUTHORIZER, store=INSIDE, ttl=5, leaving=1)
        self.cluster.apply()
        self.address_provider.publish(Address(self.address, PORT))
        # the interface calls the gRPC service's own path, not one below /pipeline/
        self.gateway.publish(Route("metadata", SERVICE, self.address, PORT))
        self.metrics.publish()


if __name__ == "__main__":
    ops.main(MetadataEnvoy)
