#!/usr/bin/env python3
"""Kubeflow's first training API: https://www.kubeflow.org/docs/components/trainer/legacy-v1/"""

from __future__ import annotations

from typing import Annotated, Any

import jobs
import msgspec
import ops

from charmed_mlops import (
    ClusterResources,
    File,
    Http,
    Metrics,
    Reach,
    ServiceCharm,
    WebhookCertificate,
    Where,
)

WEBHOOK, HEALTH, METRICS = 9443, 8081, 8080
CERTIFICATES = "/tmp/k8s-webhook-server/serving-certs"  # fixed in the program


class Options(msgspec.Struct, kw_only=True):
    """The charm's options."""

    kinds: jobs.Kinds
    threads: Annotated[int, msgspec.Meta(ge=1, le=64)]
    gang_scheduler: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9.-]*\Z")]


class TrainingOperator(ServiceCharm):
    """Every unit answers webhooks; the one that the operators elect runs jobs."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container="training-operator")
        self.certificate = WebhookCertificate(self)
        self.cluster = ClusterResources(self, "manifests")
        self.metrics = Metrics(self, port=METRICS)

    def reconcile(self) -> None:
        options = self.options(Options)
        images = self.images()
        certificate = self.certificate.current()
        secret = f"{self.app.name}-own-certificate"
        self.cluster.apply(
            Reach(anyone=(WEBHOOK,)),
            ca=certificate.ca,
            kinds=options.kinds,
            all_kinds=jobs.KINDS,
            port=WEBHOOK,
            secret=secret,
        )
        schemes = " ".join(f"-enable-scheme={kind.lower()}" for kind in options.kinds)
        self.workload.run(
            command=(
                f"/manager {schemes} -controller-threads={options.threads}"
                f" -gang-scheduler-name={options.gang_scheduler} -leader-elect"
                f" -pytorch-init-container-image={images['pytorch-init']}"
                f" -mpi-kubectl-delivery-image={images['kubectl-delivery']}"
                f" -webhook-server-port={WEBHOOK} -webhook-service-name={self.app.name}"
                # It makes a certificate of its own in this Secret and looks for a webhook
                # configuration of a fixed name to put it in. Ours has another name, and the
                # certificate that is served is the one below: the charm renews it.
                f" -webhook-secret-name={secret}"
            ),
            environment={"MY_POD_NAMESPACE": self.model.name},
            files={
                f"{CERTIFICATES}/tls.crt": certificate.chain,
                f"{CERTIFICATES}/tls.key": File(certificate.key, mode=0o600),
            },
            check=Http(HEALTH, "/readyz"),
            alive=Http(HEALTH, "/healthz"),
            version="1.9.2",
        )
        self.set_ports(WEBHOOK, METRICS)
        self.metrics.publish()

    def action_list_jobs(self, params: Where) -> dict[str, Any]:
        """What runs, what has ended, and how."""
        return jobs.listed(params, self.options(Options).kinds)

    def action_suspend(self, params: jobs.Job) -> dict[str, str]:
        """End a job's pods for now."""
        return jobs.suspend(params, suspended=True)

    def action_resume(self, params: jobs.Job) -> dict[str, str]:
        """Let a suspended job go on."""
        return jobs.suspend(params, suspended=False)

    def action_failed_log(self, params: jobs.Log) -> dict[str, str]:
        """Why a job failed."""
        return jobs.failed_log(params)


if __name__ == "__main__":
    ops.main(TrainingOperator)
