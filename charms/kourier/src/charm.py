#!/usr/bin/env python3
"""Kourier, Knative Serving's ingress: https://github.com/knative-extensions/net-kourier"""

from __future__ import annotations

import logging
from typing import Annotated, Any, Literal

import loopback
import msgspec
import ops
import routes

from charmed_mlops import (
    ActionFailed,
    Address,
    Blocked,
    ClusterResources,
    GatewayRoute,
    Http,
    Metrics,
    Reach,
    ServiceCharm,
    ServiceProvider,
    Waiting,
    Where,
    authorizers,
    kubernetes,
    object_route,
)
from charmed_mlops.workload import File

# Fixed in the program, as are the Service's and the pods' label: net-kourier v0.48.0,
# pkg/reconciler/ingress/config/config.go and controller.go. PROBE is where the controller asks
# each unit's Envoy whether it knows a route; where the route is for the cluster alone, it asks at
# LOCAL (lister.go). So those two are the units' own, and callers come to FENCE.
LOCAL, PROBE, XDS = 8081, 8090, 18000
SERVICE = "kourier-internal"
POD_LABEL = {"app": "3scale-kourier-gateway"}
FENCE, AUTHORIZER = 8082, 9001
STATS, ADMIN, API = 9000, 9901, 9902
PEER, ASKED = "x-kourier-peer", "x-gateway-namespace"
KNOWN_SECONDS = 3
"""How long it is kept whose pod an address is."""
CONFIG, SCRIPT, ACCESS = "/tmp/envoy.yaml", "/tmp/gateway.sh", "/tmp/kubeconfig.yaml"
CERTIFICATE, KEY = "/tmp/api/tls.crt", "/tmp/api/tls.key"
KILL_SECONDS = 5
"""What Envoy gets to end, after it has drained."""

logger = logging.getLogger(__name__)


class Options(msgspec.Struct, kw_only=True):
    """The charm's options."""

    open_to_pods: bool
    access_log: bool
    idle_timeout: Annotated[int, msgspec.Meta(ge=0, le=3600)]
    drain_seconds: Annotated[int, msgspec.Meta(ge=1, le=20)]
    log_level: Literal["debug", "info", "warning", "error"]


class Kourier(ServiceCharm):
    """Every unit serves.

    Each unit's Envoy is told the routes by the controller of its own pod: all controllers follow
    the routes, and the one that they elect writes what has become of them (ObserveKind and
    ReconcileKind in net-kourier, pkg/reconciler/ingress/ingress.go).
    """

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container="gateway")
        self.controller = self.add_workload("controller")
        self.authorizer = self.add_workload("authorizer")
        self.gateway = GatewayRoute(self)
        self.cluster = ClusterResources(self, "manifests")
        self.serving = self.serving_pods()
        self.local_gateway = ServiceProvider(self, "local-gateway")
        self.metrics = Metrics(self, port=STATS, path="/stats/prometheus")

    def reconcile(self) -> None:
        options = self.options(Options)
        pair = self.app_secret("api-certificate", loopback.certificate)
        self._run_gateway(options, pair)
        self._run_authorizer(options)
        self.cluster.apply(
            Reach(pods=(FENCE,)),
            service=SERVICE,
            fence=FENCE,
            probed=[LOCAL, PROBE],
            selector=self.serving.selector,
            options=options,
        )
        self.set_ports(FENCE, STATS)
        self.local_gateway.publish(Address(f"{SERVICE}.{self.model.name}.svc.cluster.local", 80))
        self.gateway.publish(
            object_route("knative", "serving.knative.dev", "services", rewrite="/", own_host=True)
        )
        self.metrics.publish()
        self._run_controller(pair["certificate"])
        self._say_what_it_waits_for()

    def _run_gateway(self, options: Options, pair: dict[str, str]) -> None:
        """Envoy, which is ready once the controller has told it the routes."""
        if self.workload.is_to_start:
            self._label_pod()
        ports = {"fence": FENCE, "authorizer": AUTHORIZER, "local": LOCAL, "xds": XDS,
                 "stats": STATS, "admin": ADMIN, "api": API}  # fmt: skip
        paths = {"certificate": CERTIFICATE, "key": KEY}
        files = {
            CONFIG: self.render("envoy.yaml.j2", **paths, peer=PEER, asked=ASKED, **ports),
            SCRIPT: self.render("gateway.sh.j2", admin=ADMIN, seconds=options.drain_seconds),
            CERTIFICATE: pair["certificate"],
            KEY: File(pair["key"], mode=0o600),
        }
        self.workload.run(
            command=(
                f"/bin/bash {SCRIPT} -c {CONFIG} --log-level {options.log_level}"
                " --disable-hot-restart"
            ),
            files=files,
            check=Http(STATS, "/ready"),
            kill_delay=options.drain_seconds + KILL_SECONDS,
            version="1.21.0",
        )

    def _run_authorizer(self, options: Options) -> None:
        """What Envoy asks about each request; while it is away, nothing passes."""
        authorizers.run(
            self,
            self.authorizer,
            AUTHORIZER,
            peer=PEER,
            namespace=self.model.name,
            gateways=",".join(sorted(self.gateway.applications)),
            open=str(options.open_to_pods).lower(),
            ttl=KNOWN_SECONDS,
            leaving=options.drain_seconds + 1,  # Envoy asks while it drains
        )

    def _run_controller(self, ca: str) -> None:
        """The controller. It has no check: Envoy goes on with the routes that it knows."""
        try:
            self.controller.run(
                command="/ko-app/kourier",
                files={ACCESS: self.render("kubeconfig.yaml.j2", api=API, ca=ca)},
                environment={
                    "KUBECONFIG": ACCESS,
                    "SYSTEM_NAMESPACE": self.model.name,
                    "KOURIER_GATEWAY_NAMESPACE": self.model.name,
                    "POD_NAME": self.unit.name.replace("/", "-"),
                    # it then asks for certificates' Secrets alone; see envoy.yaml.j2
                    "ENABLE_SECRET_INFORMER_FILTERING_BY_CERT_UID": "true",
                    "CERTS_SECRET_NAME": "",
                    "CERTS_SECRET_NAMESPACE": "",
                    "KUBE_API_QPS": "200",
                    "KUBE_API_BURST": "200",
                },
            )
        except Blocked:
            # without Knative's kinds it ends at once
            self._require_knative()
            raise

    def _say_what_it_waits_for(self) -> None:
        """Raises Waiting where Envoy has no routes as Knative Serving is not there.

        The controller waits for its ConfigMap for a minute, ends, and is started again by Pebble.
        """
        check = f"{self.workload.name}-start"
        found = self.workload.container.get_checks(check).get(check)
        if found and found.status == ops.pebble.CheckStatus.DOWN:
            self._require_knative()

    def _require_knative(self) -> None:
        namespace = self.model.name
        for path, what in (
            (f"/api/v1/namespaces/{namespace}/configmaps/config-network", "config-network"),
            (routes.GROUP, "the kind Ingress"),
        ):
            try:
                kubernetes.get(path)
            except kubernetes.NotFound:
                raise Waiting(f"waiting for knative-serving to bring {what}") from None
            except ActionFailed as reason:
                logger.debug("cannot tell whether Knative Serving is there: %s", reason)
                return

    def _label_pod(self) -> None:
        """Give the pod the label by which the controller knows that a gateway has gone."""
        name = self.unit.name.replace("/", "-")
        path = f"/api/v1/namespaces/{self.model.name}/pods/{name}"
        try:
            kubernetes.patch(path, {"metadata": {"labels": POD_LABEL}})
        except ActionFailed as reason:
            logger.info("the pod has no label of a gateway: %s", reason)

    def action_list_routes(self, params: Where) -> dict[str, Any]:
        """Hosts, and where they lead."""
        return routes.listed(params)


if __name__ == "__main__":
    ops.main(Kourier)
