#!/usr/bin/env python3
"""Knative Serving's activator, autoscaler and webhook: https://knative.dev/docs/serving/"""

from __future__ import annotations

from typing import Any

import ops
import services
from settings import Options, config_maps

from charmed_mlops import (
    Address,
    ClusterResources,
    Http,
    Metrics,
    Reach,
    ServiceCharm,
    ServiceProvider,
    ServiceRequirer,
    Tcp,
    Waiting,
    WebhookCertificate,
    Where,
)

VERSION = "1.21.1"
# Fixed by the programs. The controller, whose 8080 is fixed as well, is a charm of its own.
ACTIVATOR, ACTIVATOR_HTTP2, AUTOSCALER = 8012, 8013, 8080
WEBHOOK = 8443
# The containers share the pod's addresses.
METRICS = {"activator": 9090, "autoscaler": 9091, "webhook": 9092}
PROFILING = {"activator": 8008, "autoscaler": 8009, "webhook": 8010}
PROXY = 8001
SCRIPT = "/tmp/api_proxy.py"
SECRET = "webhook-certs"  # cmd/webhook/main.go
# The programs answer only to the kubelet: knative.dev/networking, pkg/http/header
PROBE = {"User-Agent": "kube-probe/juju"}
# After SIGTERM the activator and the webhook go on for 45 s, so that no request is lost:
# knative.dev/pkg/network, DefaultDrainTimeout. Then the activator ends those that it has. With
# its pod it has less: Kubernetes gives that 30 s.
DRAIN = 120


class KnativeServing(ServiceCharm):
    """Every unit passes requests on; the autoscalers elect the one that scales."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container="activator")
        self.autoscaler = self.add_workload("autoscaler")
        self.webhook = self.add_workload("webhook")
        self.proxy = self.add_workload("api-proxy")
        self.certificate = WebhookCertificate(self)
        self.cluster = ClusterResources(self, "manifests")
        self.local_gateway = ServiceRequirer(self, "local-gateway")
        self.serving = ServiceProvider(self, "serving")
        self.serverless = ServiceProvider(self, "serverless")
        self.metrics = Metrics(self, port=METRICS)

    def reconcile(self) -> None:
        options = self.options(Options)
        certificate = self.certificate.current()
        self.cluster.apply(
            Reach(anyone=(WEBHOOK,)),
            ca=certificate.ca,
            config=config_maps(options, self.images()["queue"]),
            gateways=[self.local_gateway.application()],
            metrics=METRICS,
            secret=SECRET,
            content={
                "ca-cert.pem": certificate.ca,
                "server-cert.pem": certificate.chain,
                "server-key.pem": certificate.key,
            },
        )
        # before the ingress layer has said its address: its controller and ours need the kinds
        self.serving.publish(Address(self.juju_address, AUTOSCALER))
        self._run_proxy()
        self._run_webhook()
        self._run_autoscaler()
        self._run_activator()
        self.set_ports(ACTIVATOR, ACTIVATOR_HTTP2, AUTOSCALER, WEBHOOK, *METRICS.values())
        self.metrics.publish()
        self.serverless.publish(self.local_gateway.get())

    def _run_proxy(self) -> None:
        self.proxy.run(
            command=f"/usr/local/bin/python3 {SCRIPT} --port={PROXY}"
            f" --namespace={self.model.name} --secret={SECRET}",
            files={SCRIPT: (self.charm_dir / "src" / "api_proxy.py").read_text()},
            check=Http(PROXY, "/proxy-healthz"),
            alive=Http(PROXY, "/proxy-healthz"),
        )

    def _run_webhook(self) -> None:
        """The webhook, once the broker has put the certificate where it reads it.

        It does at each handshake, so that nothing restarts for a new one.

        It would make one of its own and write it, and its rules, into the webhook configurations.
        It finds all as it would have it and changes nothing.
        """
        self.webhook.run(
            command=f"/ko-app/webhook --server=http://127.0.0.1:{PROXY}",
            environment={
                **self._environment("webhook"),
                "WEBHOOK_NAME": self.app.name,
                "WEBHOOK_PORT": str(WEBHOOK),
                "WEBHOOK_DISABLE_NAMESPACE_OWNERSHIP": "true",
            },
            check=Tcp(WEBHOOK),
            kill_delay=DRAIN,
        )

    def _run_autoscaler(self) -> None:
        self.autoscaler.run(
            command="/ko-app/autoscaler",
            environment={**self._environment("autoscaler"), "POD_IP": self._pod_address()},
            check=Http(AUTOSCALER, "/", PROBE),
            alive=Http(AUTOSCALER, "/", PROBE),
        )

    def _run_activator(self) -> None:
        self.workload.run(
            command=f"/ko-app/activator --server=http://127.0.0.1:{PROXY}",
            environment={**self._environment("activator"), "POD_IP": self._pod_address()},
            # it is well when it has found an autoscaler
            check=Http(ACTIVATOR, "/", PROBE),
            alive=Http(ACTIVATOR, "/", PROBE),
            kill_delay=DRAIN,
            version=VERSION,
        )

    def _environment(self, program: str) -> dict[str, str]:
        return {
            "SYSTEM_NAMESPACE": self.model.name,
            "POD_NAME": self.unit.name.replace("/", "-"),
            "METRICS_PROMETHEUS_PORT": str(METRICS[program]),
            "PROFILING_PORT": str(PROFILING[program]),
        }

    def _pod_address(self) -> str:
        """The pod's IP address, by which units find each other and what is theirs.

        Raises:
            Waiting: Juju does not know it yet.
        """
        binding = self.model.get_binding("peers")
        address = binding.network.bind_address if binding else None
        if not address:
            raise Waiting("waiting for the pod's address")
        return str(address)

    def action_list_services(self, params: Where) -> dict[str, Any]:
        """What is served, at which URL, by how many pods."""
        return services.services(params)

    def action_list_revisions(self, params: Where) -> dict[str, Any]:
        """Which versions of what is served there are."""
        return services.revisions(params)


if __name__ == "__main__":
    ops.main(KnativeServing)
