#!/usr/bin/env python3
"""Kubeflow's Spark operator: https://www.kubeflow.org/docs/components/spark-operator/"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import applications
import msgspec
import ops

from charmed_mlops import (
    Certificate,
    ClusterResources,
    Http,
    Metrics,
    Reach,
    ServiceCharm,
    WebhookCertificate,
    Where,
)

# The two services share the pod's addresses.
WEBHOOK, METRICS = 9443, 8080
HEALTH = {"controller": 8081, "webhook": 8082}
PROGRAM = "/usr/bin/entrypoint.sh"  # runs the operator under tini, which reaps spark-submit's
CERTIFICATES = "/tmp/k8s-webhook-server/serving-certs"


class Options(msgspec.Struct, kw_only=True):
    """The charm's options."""

    threads: Annotated[int, msgspec.Meta(ge=1, le=64)]
    ui_service: bool
    gang_scheduler: Literal["", "volcano", "yunikorn"]
    log_level: Literal["debug", "info", "error"]


class SparkOperator(ServiceCharm):
    """Every unit answers webhooks; the one that the controllers elect runs applications."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container="spark-operator")
        self.webhook = self.add_workload("spark-operator", "webhook")
        # the program reads a key of PKCS #1 only, which elliptic curves do not have
        self.certificate = WebhookCertificate(self, rsa=True)
        self.secret = f"{self.app.name}-webhook-certificate"
        self.cluster = ClusterResources(self, "manifests")
        self.metrics = Metrics(self, port=METRICS)

    def reconcile(self) -> None:
        options = self.options(Options)
        certificate = self.certificate.current()
        self.cluster.apply(
            Reach(anyone=(WEBHOOK,)),
            ca=certificate.ca,
            port=WEBHOOK,
            secret=self.secret,
            content={
                "ca.crt": certificate.ca,
                "tls.crt": certificate.chain,
                "tls.key": certificate.key,
            },
            podgroups=options.gang_scheduler == "volcano",
        )
        self._run_webhook(options, certificate)
        self._run_controller(options)
        self.set_ports(WEBHOOK, METRICS)
        self.metrics.publish()

    def _run_webhook(self, options: Options, certificate: Certificate) -> None:
        """The webhook, once the broker has put the certificate where it looks for one.

        It takes no certificate from a file. Told that cert-manager makes it, it reads a Secret
        when it starts and leaves the webhook configurations alone.
        """
        self.webhook.run(
            command=(
                f"{PROGRAM} webhook start --zap-log-level={options.log_level}"
                f" --zap-encoder=console --webhook-port={WEBHOOK} --enable-cert-manager=true"
                f" --webhook-secret-name={self.secret}"
                f" --webhook-secret-namespace={self.model.name}"
                f" --webhook-svc-name={self.app.name} --webhook-svc-namespace={self.model.name}"
                f" --webhook-cert-dir={CERTIFICATES}"
                f" --health-probe-bind-address=:{HEALTH['webhook']}"
            ),
            check=Http(HEALTH["webhook"], "/readyz"),
            alive=Http(HEALTH["webhook"], "/healthz"),
            restart_on=certificate.chain,
        )

    def _run_controller(self, options: Options) -> None:
        scheduler = options.gang_scheduler
        gang = f" --enable-batch-scheduler=true --default-batch-scheduler={scheduler}"
        self.workload.run(
            command=(
                f"{PROGRAM} controller start --zap-log-level={options.log_level}"
                f" --zap-encoder=console --controller-threads={options.threads}"
                f" --enable-ui-service={str(options.ui_service).lower()}"
                f"{gang if scheduler else ''}"
                f" --enable-metrics=true --metrics-bind-address=:{METRICS}"
                " --metrics-labels=app_type"
                f" --leader-election=true --leader-election-lock-name={self.app.name}-lock"
                f" --leader-election-lock-namespace={self.model.name}"
                f" --health-probe-bind-address=:{HEALTH['controller']}"
            ),
            check=Http(HEALTH["controller"], "/readyz"),
            alive=Http(HEALTH["controller"], "/healthz"),
            version="2.5.0",
        )

    def action_list_applications(self, params: Where) -> dict[str, Any]:
        """What runs, what has ended, and how."""
        return applications.listed(params)

    def action_suspend(self, params: applications.Application) -> dict[str, str]:
        """End an application's pods for now."""
        return applications.suspend(params, suspended=True)

    def action_resume(self, params: applications.Application) -> dict[str, str]:
        """Let a suspended application begin anew."""
        return applications.suspend(params, suspended=False)

    def action_driver_log(self, params: applications.Log) -> dict[str, str]:
        """What a driver said last."""
        return applications.driver_log(params)


if __name__ == "__main__":
    ops.main(SparkOperator)
