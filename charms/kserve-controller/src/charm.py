#!/usr/bin/env python3
"""KServe's controller manager: serves models. https://kserve.github.io/website/"""

from __future__ import annotations

import json
from typing import Any

import api
import kserve
import ops

from charmed_mlops import (
    Blocked,
    ClusterResources,
    File,
    GatewayRoute,
    Http,
    Metrics,
    Reach,
    S3Requirer,
    ServiceCharm,
    ServiceRequirer,
    Where,
    object_route,
    pipelines,
    proxy,
)
from charmed_mlops.certificates import WebhookCertificate
from charmed_mlops.results import listing

VERSION = "0.16.0"
CERTIFICATES = "/tmp/k8s-webhook-server/serving-certs"  # controller-runtime's default
ROUTES = [
    object_route(
        "serving",
        "serving.kserve.io",
        "inferenceservices",
        service=f"{{name}}-{component}",
        part=part,
        rewrite="/",
        own_host=True,  # a Knative Service is one of many behind one address
    )
    for component, part in (
        ("predictor", ""), ("transformer", "transformer"), ("explainer", "explainer")
    )
]  # fmt: skip
"""To the Service of each component, as pkg/constants names it."""


class KServeController(ServiceCharm):
    """Turns InferenceServices into Deployments, or into Knative Services."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container="kserve-controller")
        self.certificate = WebhookCertificate(self)
        self.cluster = ClusterResources(self, "manifests")
        self.object_store = S3Requirer(self, "object-store")
        self.gateway = GatewayRoute(self)
        self.serverless = ServiceRequirer(self, "serverless")
        self.metrics = Metrics(self, port=8080)

    def reconcile(self) -> None:
        options = self.options(kserve.Options)
        images = self.images()
        resources = options.resources
        knative = self._knative(options)
        settings = kserve.settings(images, resources, options.domain, options.deployment_mode)
        bucket = self.object_store.get_or_none()
        certificate = self.certificate.current()
        self.cluster.apply(
            Reach(anyone=(9443,)),
            images=images,
            resources=resources,
            settings=settings,
            proxy=proxy.variables(options.http_proxy, options.https_proxy, options.no_proxy),
            storage=bucket.environment() if bucket else None,
            storage_secret=f"{self.app.name}-storage",
            tenant_secret=pipelines.ARTIFACT_SECRET,
            ca=certificate.ca,
            gateways=self.gateway.applications,
            knative=knative,
        )
        self.workload.run(
            command="/manager --metrics-addr=:8080 --health-probe-addr=:8081 --webhook-port=9443"
            f" --leader-elect --zap-log-level={options.log_level}",
            files={
                f"{CERTIFICATES}/tls.crt": certificate.chain,
                f"{CERTIFICATES}/tls.key": File(certificate.key, mode=0o600),
            },
            # the manager reads the ConfigMap each time, but for these sections, and looks for
            # Knative's kinds only when it starts
            restart_on=json.dumps(
                [settings["deploy"], settings["ingress"], knative], sort_keys=True
            ),
            environment={
                "POD_NAMESPACE": self.model.name,
                "KNATIVE_CONFIG_AUTOSCALER_NAMESPACE": self.model.name,
                "SYSTEM_NAMESPACE": self.model.name,  # where config-domain is looked for
            },
            check=Http(8081, "/readyz"),
            version=VERSION,
        )
        self.set_ports(8080, 9443)
        self.gateway.publish(*ROUTES)
        self.metrics.publish()

    def _knative(self, options: kserve.Options) -> bool:
        """Whether there is Knative Serving, which gives its address once it is up.

        Raises:
            Blocked: there is none, and the options ask for it.
            Waiting: it is not up yet.
        """
        if self.serverless.get_or_none() is not None:
            return True
        if options.deployment_mode == "Knative":
            raise Blocked(
                "config deployment-mode is Knative: juju integrate "
                f"{self.app.name}:serverless knative-serving, or set Standard"
            )
        return False

    def action_list_inference_services(self, params: Where) -> dict[str, Any]:
        """What is served, and what is not ready and why."""
        found = api.inference_services(params, self.gateway.url())
        waiting = [
            f"{each['namespace']}/{each['name']}" for each in found if each["ready"] != "True"
        ]
        results = listing("inference-services", found)
        return {**results, "not-ready": ",".join(waiting)} if waiting else results

    def action_list_runtimes(self, _: dict) -> dict[str, Any]:
        """Which model formats can be served, with which image."""
        return listing("runtimes", api.runtimes())


if __name__ == "__main__":
    ops.main(KServeController)
