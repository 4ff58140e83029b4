#!/usr/bin/env python3
"""Kubeflow's webhook for PodDefaults: https://www.kubeflow.org/docs/components/notebooks/"""

from __future__ import annotations

import ops

from charmed_mlops import ClusterResources, File, Reach, ServiceCharm, Tcp, WebhookCertificate

PORT = 4443
CHAIN, KEY = "/tmp/webhook/tls.crt", "/tmp/webhook/tls.key"  # its user may not write to /etc


class AdmissionWebhook(ServiceCharm):
    """Every unit answers."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container="admission-webhook")
        self.certificate = WebhookCertificate(self)
        self.cluster = ClusterResources(self, "manifests")

    def reconcile(self) -> None:
        certificate = self.certificate.current()
        self.cluster.apply(Reach(anyone=(PORT,)), ca=certificate.ca, port=PORT)
        self.workload.require()
        # The program reads new files by itself: a restart would refuse users' pods meanwhile.
        self.workload.push({CHAIN: certificate.chain, KEY: File(certificate.key, mode=0o600)})
        self.workload.run(
            command=f"/webhook -webhookPort={PORT} -tlsCertFile={CHAIN} -tlsKeyFile={KEY}",
            check=Tcp(PORT),
            alive=Tcp(PORT),
            version="1.10.0",
        )
        self.set_ports(PORT)


if __name__ == "__main__":
    ops.main(AdmissionWebhook)
