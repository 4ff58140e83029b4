#!/usr/bin/env python3
"""Kubeflow Model Registry's server: https://www.kubeflow.org/docs/components/model-registry/"""

from __future__ import annotations

from typing import Any

import ops
import registered
import server

from charmed_mlops import (
    Address,
    ClusterResources,
    DatabaseRequirer,
    GatewayRoute,
    Http,
    Reach,
    Route,
    ServiceCharm,
    ServiceProvider,
)


class ModelRegistry(ServiceCharm):
    """Every unit serves; the state is in the database."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container="model-registry", ports=(server.PORT,))
        # upstream's own name for it is ML Metadata's, which mlmd asks for
        self.database = DatabaseRequirer(self, "database", database="model_registry")
        self.cluster = ClusterResources(self, "manifests")
        self.gateway = GatewayRoute(self)
        self.address_provider = ServiceProvider(self, "model-registry")

    def reconcile(self) -> None:
        database = self.database.get()
        # the API asks nobody who he is, and lets everybody do everything
        pods = (server.PORT,) if self.config["open-to-pods"] else ()
        self.cluster.apply(
            Reach(pods=pods),
            display_name=str(self.config["display-name"]),
            description=str(self.config["description"]),
            selector=self.serving_pods().selector,
            port=server.PORT,
            pages=self.address_provider.related,
        )
        self.workload.run(
            command=server.command(database),
            files=database.files,
            environment=server.environment(database),
            check=Http(server.PORT, server.HEALTH),
            version=server.VERSION,
        )
        self.address_provider.publish(Address(self.address, server.PORT))
        self.gateway.publish(Route("api", server.PREFIX, self.address, server.PORT, access="user"))

    def action_list_models(self, params: registered.Where) -> dict[str, Any]:
        """What is registered."""
        return registered.listed(f"http://localhost:{server.PORT}", params)


if __name__ == "__main__":
    ops.main(ModelRegistry)
