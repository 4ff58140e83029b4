#!/usr/bin/env python3
"""Katib's database manager: https://www.kubeflow.org/docs/components/katib/"""

from __future__ import annotations

import ops

from charmed_mlops import (
    Address,
    ClusterResources,
    DatabaseRequirer,
    Reach,
    ServiceCharm,
    ServiceProvider,
    Tcp,
)

PORT = 6789
COLLECTED = ("katib.kubeflow.org/metrics-collector-injection", "enabled")
"""The label of namespaces whose pods Katib gives a metrics collector, which writes to here."""


class KatibDBManager(ServiceCharm):
    """A gRPC service over one database; every unit serves."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container="katib-db-manager", ports=(PORT,))
        # its MySQL driver's data source name is fixed but for user, password, host, port and
        # database: katib v0.19.0, pkg/db/v1beta1/mysql/mysql.go
        self.database = DatabaseRequirer(self, "database", database="katib", tls=False)
        self.cluster = ClusterResources(self, "manifests")
        self.address_provider = ServiceProvider(self, "db-manager")

    def reconcile(self) -> None:
        database = self.database.get()
        self.workload.run(
            command="./katib-db-manager",
            working_dir="/app",
            environment={
                "DB_NAME": "mysql",
                "DB_USER": database.username,
                "DB_PASSWORD": database.password,
                "KATIB_MYSQL_DB_HOST": database.host,
                "KATIB_MYSQL_DB_PORT": str(database.port),
                "KATIB_MYSQL_DB_DATABASE": database.database,
            },
            check=Tcp(PORT),
            version="0.19.0",
        )
        self.cluster.protect(Reach(pods=(PORT,), namespaces=(COLLECTED,)))
        self.address_provider.publish(Address(self.address, PORT, "grpc"))


if __name__ == "__main__":
    ops.main(KatibDBManager)
