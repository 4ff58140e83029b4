#!/usr/bin/env python3
"""MLflow's tracking server and model registry: https://mlflow.org"""

from __future__ import annotations

from typing import Any

import ops
import server

from charmed_mlops import (
    ClusterResources,
    DashboardLinks,
    DatabaseRequirer,
    GatewayRoute,
    Http,
    Link,
    Metrics,
    Reach,
    Route,
    S3Requirer,
    ServiceCharm,
)
from charmed_mlops.interfaces.gateway_route import Entrance
from charmed_mlops.results import listing


class MLflow(ServiceCharm):
    """Metadata in the database, artifacts in the object store, through the server."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container="mlflow", ports=(server.PORT,))
        self.database = DatabaseRequirer(self, "database", database="mlflow")
        # a tenant's own key reads what she registered: her models are served in her namespace
        folder = server.WORKSPACES if self.config["workspaces"] else ""
        self.store = S3Requirer(self, "object-store", tenants=folder)
        self.schema = server.Schema(self)
        self.metrics = Metrics(self, port=server.PORT)
        self.cluster = ClusterResources(self, "manifests")
        self.gateway = GatewayRoute(self)
        self.links = DashboardLinks(self)

    def reconcile(self) -> None:
        workers = self.number("workers", 1, 64)
        workspaces = bool(self.config["workspaces"])
        level = self.choice("log-level", "debug", "info", "warning", "error")
        door, entrance = self.gateway.url() or "", self.gateway.entrance()
        hosts = server.hosts(
            self.app.name,
            self.model.name,
            str(self.config["allowed-hosts"]),
            [door, entrance.url if entrance else ""],
        )
        origins = server.origins(str(self.config["cors-allowed-origins"]), door)
        self.metrics.publish()
        database, store = self.database.get(), self.store.get()
        files = database.files | store.files
        environment = server.environment(database, store)
        if workspaces:  # before it starts: it looks for namespaces and asks for users' rights
            environment |= server.workspaces(trusted=entrance is not None)
            self._declare(entrance)
        self.workload.require()
        self.workload.push(files)  # a command asks the database before the server runs
        self.schema.require(self.workload, environment)
        self.workload.run(
            command=server.command(workers, level, workspaces=workspaces),
            check=Http(server.PORT, "/health"),
            files=files,
            environment=environment | server.security(hosts, origins),
            version=server.VERSION,
        )
        self.workload.require_healthy()
        self.schema.settled()  # the server makes its tables before it answers
        if self.cluster.related and not workspaces:
            # at the end: tenants' settings are not what it runs on
            self._declare(None)
        # its pages have relative links only, so a prefix that it does not know does no harm, and
        # the address in the cluster stays the same
        prefix = f"/{self.app.name}/"
        self.gateway.publish(Route("web", prefix, self.address, server.PORT, rewrite="/"))
        self.links.publish(Link("MLflow", prefix))

    def _declare(self, entrance: Entrance | None) -> None:
        workspaces = bool(self.config["workspaces"])
        url = f"http://{self.address}:{server.PORT}"
        if entrance:
            url = f"{entrance.url}/{self.app.name}"
        # with workspaces the gateway names the user: nobody else may
        named = workspaces and entrance is not None
        self.cluster.apply(
            Reach() if named else Reach(pods=(server.PORT,)),
            workspaces=workspaces,
            entrance=entrance,
            url=url,
            plugin=(self.charm_dir / "src" / "client" / "plugin.py").read_text(),
        )

    def _environment(self) -> dict[str, str]:
        """For commands beside the server, which need the CAs as well."""
        database, store = self.database.get(), self.store.get()
        self.workload.require()
        self.workload.push(database.files | store.files)
        return server.environment(database, store)

    def action_gc(self, params: dict) -> dict[str, Any]:
        age = params.get("older-than", "30d")
        return listing("deleted", server.collect(self.workload, self._environment(), age))

    def action_upgrade_database(self, _: dict) -> dict[str, str]:
        self.schema.require_upgrader()
        server.upgrade_database(self.workload, self._environment())
        self.schema.settled()
        self.converge()
        return {"schema": server.VERSION}

    def action_get_artifact_location(self, _: dict) -> dict[str, str]:
        bucket = self.store.get()
        return {"uri": server.artifacts(bucket), "endpoint": bucket.endpoint}


if __name__ == "__main__":
    ops.main(MLflow)
