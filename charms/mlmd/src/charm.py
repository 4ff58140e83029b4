#!/usr/bin/env python3
"""ML Metadata's store: https://github.com/google/ml-metadata"""

from __future__ import annotations

import ops

from charmed_mlops import (
    Address,
    ClusterResources,
    DatabaseRequirer,
    File,
    Reach,
    ServiceCharm,
    ServiceProvider,
    Tcp,
    pipelines,
)
from charmed_mlops.interfaces.mysql import CA_FILE

CONFIG = "/tmp/store.pbtxt"

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
        super().__init__(framework, container="mlmd", ports=(pipelines.METADATA_PORT,))
        self.database = DatabaseRequirer(self, "database", database="metadb")
        self.cluster = ClusterResources(self, "manifests")
        self.address_provider = ServiceProvider(self, "metadata")

    def reconcile(self) -> None:
        database = self.database.get()
        self.workload.run(
            command="/bin/metadata_store_server"
            f" --grpc_port={pipelines.METADATA_PORT}"
            # by default it would keep all in memory where it cannot read the file
            " --metadata_source_config_type=config_file"
            f" --metadata_store_server_config_file={CONFIG}"
            f" --grpc_channel_arguments={_CHANNEL}",
            files=database.files
            | {
                CONFIG: File(
                    self.render("store.pbtxt.j2", database=database, ca=CA_FILE), mode=0o600
                )
            },
            check=Tcp(pipelines.METADATA_PORT),
            version="1.14.0",
        )
        self.cluster.protect(Reach(pods=(pipelines.METADATA_PORT,)))
        self.address_provider.publish(Address(self.address, pipelines.METADATA_PORT, "grpc"))


if __name__ == "__main__":
    ops.main(Mlmd)
