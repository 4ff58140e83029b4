#!/usr/bin/env python3
"""Kubeflow Trainer and JobSet: https://www.kubeflow.org/docs/components/trainer/"""

from __future__ import annotations

from typing import Any

import jobs
import ops

from charmed_mlops import (
    Certificate,
    ClusterResources,
    File,
    Http,
    Metrics,
    Named,
    Reach,
    ServiceCharm,
    WebhookCertificate,
    Where,
    Workload,
)

CERTIFICATES = "/tmp/k8s-webhook-server/serving-certs"  # controller-runtime's default
CONFIG = "/tmp/controller_manager_config.yaml"  # the images' users may not write to /
# The two controllers share the pod's addresses: ports of webhook, health and metrics.
PORTS = {"trainer": (9443, 8081, 8080), "jobset": (9444, 8082, 8444)}


class Trainer(ServiceCharm):
    """Two controllers in one unit; each elects a leader of its own."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container="trainer")
        self.jobset = self.add_workload("jobset")
        self.certificate = WebhookCertificate(self)
        self.cluster = ClusterResources(self, "manifests")
        self.metrics = Metrics(self, port=PORTS["trainer"][2])

    def reconcile(self) -> None:
        level = self.number("log-level", 0, 5)
        certificate = self.certificate.current()
        self.cluster.apply(
            Reach(anyone=tuple(webhook for webhook, _, _ in PORTS.values())),
            ca=certificate.ca,
            images=self.images(),
            trainer_port=PORTS["trainer"][0],
            jobset_port=PORTS["jobset"][0],
        )
        # TrainJobs become JobSets: without their webhook the trainer could make none
        self._run(self.jobset, certificate, level, version=None)
        self._run(self.workload, certificate, level, version="2.1.0")
        self.set_ports(*(webhook for webhook, _, _ in PORTS.values()), PORTS["trainer"][2])
        self.metrics.publish()

    def _run(
        self, workload: Workload, certificate: Certificate, level: int, version: str | None
    ) -> None:
        webhook, health, metrics = PORTS[workload.name]
        workload.run(
            command=f"/manager --config={CONFIG} --zap-log-level={level}",
            files={
                CONFIG: self.render(
                    f"{workload.name}.yaml.j2", webhook=webhook, health=health, metrics=metrics
                ),
                f"{CERTIFICATES}/tls.crt": certificate.chain,
                f"{CERTIFICATES}/tls.key": File(certificate.key, mode=0o600),
            },
            check=Http(health, "/readyz"),
            alive=Http(health, "/healthz"),
            version=version,
        )

    def action_list_jobs(self, params: Where) -> dict[str, Any]:
        """What runs, what has ended, and how."""
        return jobs.listed(params)

    def action_suspend(self, params: Named) -> dict[str, str]:
        """End a job's pods for now."""
        return jobs.suspend(params, suspended=True)

    def action_resume(self, params: Named) -> dict[str, str]:
        """Let a suspended job go on."""
        return jobs.suspend(params, suspended=False)

    def action_failed_log(self, params: jobs.Log) -> dict[str, str]:
        """Why a job failed."""
        return jobs.failed_log(params)


if __name__ == "__main__":
    ops.main(Trainer)
