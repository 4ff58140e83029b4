#!/usr/bin/env python3
"""Kubeflow Model Registry's web page: https://www.kubeflow.org/docs/components/model-registry/"""

from __future__ import annotations

import ops

from charmed_mlops import (
    ClusterResources,
    DashboardLinks,
    GatewayRoute,
    Http,
    Link,
    Route,
    ServiceCharm,
    ServiceRequirer,
    Tcp,
)

PORT = 8080
FORWARD = 8081
PREFIX = "/model-registry/"  # fixed in the page
CONFIG = "/tmp/envoy.yaml"
# Source of the flags: model-registry v0.3.7, clients/ui/bff/cmd/main.go. In dev-mode the program
# calls this port of its own pod and not the address that a Service says: tenants make Services,
# and would have it call whatever this pod reaches, also by redirects of a server of their own.
COMMAND = (
    f"/bff --port={PORT} --deployment-mode=kubeflow --auth-method=internal --dev-mode=true"
    f" --dev-mode-model-registry-port={FORWARD} --dev-mode-catalog-port={FORWARD}"
)


class ModelRegistryUI(ServiceCharm):
    """All units answer; the program asks Kubernetes what each user may see."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container="model-registry-ui", ports=(PORT,))
        self.forward = self.add_workload("forward")
        self.registry = ServiceRequirer(self, "model-registry")
        self.cluster = ClusterResources(self, "manifests")
        self.gateway = GatewayRoute(self)
        self.links = DashboardLinks(self)

    def reconcile(self) -> None:
        registry = self.registry.get()
        self.cluster.apply()
        self.forward.run(
            command=f"/usr/local/bin/envoy -c {CONFIG}",
            files={
                CONFIG: self.render(
                    "envoy.yaml.j2", port=FORWARD, host=registry.host, upstream=registry.port
                )
            },
            check=Tcp(FORWARD),
        )
        self.workload.run(
            command=COMMAND,
            working_dir="/",
            check=Http(PORT, "/healthcheck"),
            version="0.3.7",
        )
        self.gateway.publish(Route("web", PREFIX, self.address, PORT, rewrite="/", access="user"))
        self.links.publish(Link("Model Registry", PREFIX, icon="assignment"))


if __name__ == "__main__":
    ops.main(ModelRegistryUI)
