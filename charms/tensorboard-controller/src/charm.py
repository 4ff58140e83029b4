#!/usr/bin/env python3
"""Kubeflow's TensorBoard controller: https://www.tensorflow.org/tensorboard"""

from __future__ import annotations

import ops

from charmed_mlops import ManagerCharm, object_route

ROUTE = object_route("tensorboard", "tensorboard.kubeflow.org", "tensorboards", rewrite="/")


class TensorboardController(ManagerCharm):
    """The unit that the program elects makes Deployments and Services of Tensorboards."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container="tensorboard-controller")

    def reconcile(self) -> None:
        images = self.images()
        self.apply_with_virtual_service(bool(self.config["virtual-service"]))
        self.run_manager(
            "--leader-elect",
            environment={
                "TENSORBOARD_IMAGE": images["tensorboard"],
                "RWO_PVC_SCHEDULING": str(self.config["rwo-scheduling"]).lower(),
                # it makes a VirtualService of each, which nothing reads, and wants these two
                "ISTIO_GATEWAY": f"{self.model.name}/none",
                "ISTIO_HOST": "*",
            },
            version="1.10.0",
        )
        self.gateway.publish(ROUTE)


if __name__ == "__main__":
    ops.main(TensorboardController)
