#!/usr/bin/env python3
"""Katib's web app: https://www.kubeflow.org/docs/components/katib/"""

from __future__ import annotations

import ops

from charmed_mlops import (
    ClusterResources,
    DashboardLinks,
    GatewayRoute,
    Link,
    Route,
    ServiceCharm,
    ServiceRequirer,
    Tcp,
    katib,
)

PORT = 8080
PREFIX = "/katib/"  # fixed in the program


class KatibUI(ServiceCharm):
    """All units answer; the program asks Kubernetes what each user may do."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container="katib-ui", ports=(PORT,))
        self.cluster = ClusterResources(self, "manifests")
        self.db_manager = ServiceRequirer(self, "db-manager")
        self.gateway = GatewayRoute(self)
        self.links = DashboardLinks(self)

    def reconcile(self) -> None:
        database = self.db_manager.get()
        self.cluster.apply()
        self.workload.run(
            command=f"./katib-ui --port={PORT}",
            working_dir="/app",
            environment=katib.environment(self.model.name, database)
            | {
                "APP_DISABLE_AUTH": "false",
                "USERID_HEADER": "kubeflow-userid",
                "USERID_PREFIX": "",
            },
            check=Tcp(PORT),
            version="0.19.0",
        )
        self.gateway.publish(Route("web", PREFIX, self.address, PORT, access="user"))
        self.links.publish(Link("Experiments (AutoML)", PREFIX, icon="kubeflow:katib"))


if __name__ == "__main__":
    ops.main(KatibUI)
