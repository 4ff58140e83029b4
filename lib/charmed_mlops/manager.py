"""What the charms of controllers with paths behind the gateway share: one manager, run alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ops

from charmed_mlops.certificates import Certificate
from charmed_mlops.charm import ServiceCharm
from charmed_mlops.checks import Http
from charmed_mlops.cluster import ClusterResources
from charmed_mlops.errors import Blocked
from charmed_mlops.interfaces.gateway_route import GatewayRoute, Route
from charmed_mlops.metrics import Metrics
from charmed_mlops.network import NOBODY, Reach
from charmed_mlops.workload import File

# controller-runtime's defaults
METRICS_PORT, HEALTH_PORT, WEBHOOK_PORT = 8080, 8081, 9443
CERTIFICATES = "/tmp/k8s-webhook-server/serving-certs"


def object_route(
    path: str,
    group: str,
    plural: str,
    *,
    service: str = "{name}",
    part: str = "",
    rewrite: str | None = None,
    verb: str = "get",
    annotations: str = "",
    own_host: bool = False,
) -> Route:
    """The route /PATH/NAMESPACE/NAME/[PART/] to a Service that a controller makes of an object.

    Args:
        path: its first part.
        group: the kind's API group.
        plural: the kind's plural.
        service: the Service's name in the object's namespace.
        part: of the object, where it has several Services.
        rewrite: what the Service gets in place of the prefix.
        verb: what one must be allowed to do with objects of the kind to open one.
        annotations: domain of the objects' annotations that say what the Service gets.
        own_host: whether the Service is asked for by its own name.
    """
    return Route(
        name=f"{plural}-{part}" if part else plural,
        prefix=f"/{path}/{{namespace}}/{{name}}/" + (f"{part}/" if part else ""),
        host=f"{service}.{{namespace}}.svc.cluster.local",
        port=80,
        rewrite=rewrite,
        access="namespace",
        group=group,
        resource=plural,
        verb=verb,
        annotations=annotations,
        own_host=own_host,
    )


class ManagerCharm(ServiceCharm):
    """Runs `/manager`, a program on controller-runtime whose objects people open in a browser.

    The charm declares the endpoints `manifests`, `gateway` and `metrics-endpoint`.
    """

    def __init__(self, framework: ops.Framework, container: str):
        super().__init__(framework, container=container)
        self.cluster = ClusterResources(self, "manifests")
        self.gateway = GatewayRoute(self)
        self.metrics = Metrics(self, port=METRICS_PORT)

    @property
    def gateways(self) -> list[str]:
        """The applications that may reach what the controller runs."""
        return self.gateway.applications

    def apply_with_virtual_service(
        self, declared: bool, reach: Reach = NOBODY, **context: Any
    ) -> None:
        """Apply the cluster objects, with Istio's kind VirtualService for a program that insists.

        Objects of the kind do nothing here.

        Args:
            declared: option `virtual-service`, whether this application declares the kind.
            reach: who reaches the application besides the related ones.
            context: what the templates get besides.

        Raises:
            Blocked, Waiting: as `ClusterResources.apply` does.
        """
        try:
            self.cluster.apply(reach, gateways=self.gateways, virtual_service=declared, **context)
        except Blocked as reason:
            if "virtualservices." not in str(reason):
                raise
            fix = f"juju config {self.app.name} virtual-service=false"
            raise Blocked(f"VirtualService is declared already: {fix}") from reason

    def run_manager(
        self,
        *flags: str,
        environment: Mapping[str, str],
        version: str,
        certificate: Certificate | None = None,
    ) -> None:
        """Have the manager run with these flags, and its ports open.

        Args:
            flags: of its command line.
            environment: its variables.
            version: what `juju status` shows.
            certificate: of its webhook server, if it has one.

        Raises:
            Waiting: the container does not answer yet.
        """
        files: dict[str, str | bytes | File] = {}
        if certificate:
            files[f"{CERTIFICATES}/tls.crt"] = certificate.chain
            files[f"{CERTIFICATES}/tls.key"] = File(certificate.key, mode=0o600)
        self.workload.run(
            command=" ".join(("/manager", *flags)),
            files=files,
            environment=environment,
            check=Http(HEALTH_PORT, "/readyz"),
            alive=Http(HEALTH_PORT, "/healthz"),
            version=version,
        )
        self.set_ports(METRICS_PORT, *([WEBHOOK_PORT] if certificate else []))
        self.metrics.publish()
