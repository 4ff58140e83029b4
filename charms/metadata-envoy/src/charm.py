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
)

CONFIG = "/tmp/envoy.yaml"
PORT, STATS_PORT = 9090, 9902
SERVICE = "/ml_metadata.MetadataStoreService/"


class MetadataEnvoy(ServiceCharm):
    """No state: every unit serves."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container="metadata-envoy")
        self.metadata = ServiceRequirer(self, "metadata")
        self.gateway = GatewayRoute(self, "gateway")
        self.cluster = ClusterResources(self, "manifests")
        self.address_provider = ServiceProvider(self, "metadata-envoy")
        self.metrics = Metrics(self, port=STATS_PORT, path="/stats/prometheus")

    def reconcile(self) -> None:
        metadata = self.metadata.get()
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
                )
            },
            check=Tcp(PORT),
            version="1.37.0",
        )
        self.set_ports(PORT, STATS_PORT)
        self.address_provider.publish(Address(self.address, PORT))
        # the interface calls the gRPC service's own path, not one below /pipeline/
        self.gateway.publish(Route("metadata", SERVICE, self.address, PORT))
        self.metrics.publish()
        self.cluster.protect()


if __name__ == "__main__":
    ops.main(MetadataEnvoy)
