#!/usr/bin/env python3
"""Kubeflow's PVCViewer controller: https://github.com/kubeflow/kubeflow"""

from __future__ import annotations

import ops

from charmed_mlops import ManagerCharm, Reach, WebhookCertificate, object_route
from charmed_mlops.manager import WEBHOOK_PORT

# A viewer changes files too, so reading the object is not enough.
ROUTE = object_route(
    "pvcviewers",
    "kubeflow.org",
    "pvcviewers",
    service="pvcviewer-{name}",
    rewrite="/",
    verb="update",
)


class PVCViewerController(ManagerCharm):
    """All units answer webhooks; the one that the program elects makes Deployments."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container="pvcviewer-controller")
        self.certificate = WebhookCertificate(self)

    def reconcile(self) -> None:
        certificate = self.certificate.current()
        self.apply_with_virtual_service(
            bool(self.config["virtual-service"]),
            Reach(anyone=(WEBHOOK_PORT,)),
            ca=certificate.ca,
        )
        self.run_manager(
            "--leader-elect",
            environment={"ISTIO_GATEWAY": f"{self.model.name}/none"},
            version="1.10.0",
            certificate=certificate,
        )
        self.gateway.publish(ROUTE)


if __name__ == "__main__":
    ops.main(PVCViewerController)
