#!/usr/bin/env python3
"""Kubeflow's notebook controller: https://www.kubeflow.org/docs/components/notebooks/"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import notebooks
import ops

from charmed_mlops import ManagerCharm, Named, Where, object_route

# What people open runs code with the notebook's rights, so reading the object is not enough.
# Images of VS Code and RStudio serve `/`, which the spawner says by the notebook's annotations.
ROUTE = object_route(
    "notebook", "kubeflow.org", "notebooks", verb="update", annotations="notebooks.kubeflow.org"
)


class Options(msgspec.Struct, kw_only=True):
    """The charm's options."""

    culling: bool
    cull_idle_minutes: Annotated[int, msgspec.Meta(ge=1)]
    idleness_check_minutes: Annotated[int, msgspec.Meta(ge=1, le=1440)]
    add_fsgroup: bool


class NotebookController(ManagerCharm):
    """The unit that the program elects makes StatefulSets and Services of Notebooks."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container="notebook-controller")

    def reconcile(self) -> None:
        options = self.options(Options)
        self.cluster.apply(gateways=self.gateways)
        self.run_manager(
            "-enable-leader-election",
            environment={
                "USE_ISTIO": "false",  # the gateway has one route for all notebooks
                "CLUSTER_DOMAIN": "cluster.local",
                "ENABLE_CULLING": str(options.culling).lower(),
                "CULL_IDLE_TIME": str(options.cull_idle_minutes),
                "IDLENESS_CHECK_PERIOD": str(options.idleness_check_minutes),
                "ADD_FSGROUP": str(options.add_fsgroup).lower(),
            },
            version="1.10.0",
        )
        self.gateway.publish(ROUTE)

    def action_list_notebooks(self, params: Where) -> dict[str, Any]:
        """What runs, what is stopped, what does not come up."""
        return notebooks.listed(params)

    def action_list_idle(self, params: notebooks.Idle) -> dict[str, Any]:
        """What runs without being used."""
        return notebooks.idle(params)

    def action_stop(self, params: Named) -> dict[str, str]:
        """End a notebook's pod."""
        return notebooks.stop(params)

    def action_start(self, params: Named) -> dict[str, str]:
        """Let a stopped notebook run again."""
        return notebooks.start(params)

    def action_stop_all(self, params: notebooks.All) -> dict[str, str]:
        """End the pods of all notebooks."""
        return notebooks.stop_all(params)


if __name__ == "__main__":
    ops.main(NotebookController)
