#!/usr/bin/env python3
"""ML Metadata's store: https://github.com/google/ml-metadata"""

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
    pipelines,
)

# large artifacts' properties are more than gRPC takes by default
_CHANNEL = ",".join(
    [
        "grpc.max_metadata_size=16384",
        "grpc.max_receive_message_length=104857600",
        "grpc.max_send_message_length=104857600",
    ]
)


class Mlmd(ServiceCharm):
    """A gRPC service over one database; every unit serves."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container="mlmd")
        self.database = DatabaseRequirer(self, "database", database="metadb")
        self.cluster = ClusterResources(self, "manifests")
        self.address_provider = ServiceProvider(self, "metadata")

    def reconcile(self) -> None:
        database = self.database.get()
        self.workload.run(
            # the server takes the password by a flag only: a shell puts it there, so that it is
            # in the environment and not in the plan's command
            command="/bin/sh -c 'exec /bin/metadata_store_server"
            f" --grpc_port={pipelines.METADATA_PORT}"
            ' "--mysql_config_database=$MYSQL_DATABASE" "--mysql_config_host=$MYSQL_HOST"'
            ' "--mysql_config_port=$MYSQL_PORT" "--mysql_config_user=$DBCONFIG_USER"'
            ' "--mysql_config_password=$DBCONFIG_PASSWORD"'
            f" --enable_database_upgrade=true --grpc_channel_arguments={_CHANNEL}'",
            environment={
                "MYSQL_DATABASE": database.database,
                "MYSQL_HOST": database.host,
                "MYSQL_PORT": str(database.port),
                "DBCONFIG_USER": database.username,
                "DBCONFIG_PASSWORD": database.password,
            },
            check=Tcp(pipelines.METADATA_PORT),
            version="1.14.0",
        )
        self.set_ports(pipelines.METADATA_PORT)
        self.address_provider.publish(Address(self.address, pipelines.METADATA_PORT, "grpc"))
        self.cluster.protect(Reach(pods=(pipelines.METADATA_PORT,)))


if __name__ == "__main__":
    ops.main(Mlmd)
