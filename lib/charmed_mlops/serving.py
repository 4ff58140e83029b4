"""A Service that leads to the pods that serve, and to no other.

A pod is Ready from its start until a check of its Pebble fails, and before its unit's first hook
there is no check. Juju's own Service sends requests to it meanwhile. So a unit labels its pod
when it serves for the first time, and a Service of the application's own selects by that label.

Juju lets every application patch the pods of its model: protocol.md, section 3.6. Where something
else forbids it, the Service leads to every pod, as Juju's does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

import ops

from charmed_mlops import kubernetes
from charmed_mlops.errors import ActionFailed, Waiting
from charmed_mlops.interfaces.manifests import Manifest
from charmed_mlops.network import NAME_LABEL

LABEL = "charmed-mlops.io/serving"
_SUFFIX = "--serving"

logger = logging.getLogger(__name__)


def name_of(application: str) -> str:
    """The Service's name, which no application can have: Juju takes no hyphen after a hyphen.

    Source: https://github.com/juju/names, application.go
    """
    return f"{application}{_SUFFIX}"


def juju_name(host: str) -> str:
    """The DNS name of Juju's Service for one of a Service that leads to pods that serve."""
    name, dot, rest = host.partition(".")
    return f"{name.removesuffix(_SUFFIX)}{dot}{rest}"


class ServingPods(ops.Object):
    """The label that a pod of the application has when it serves."""

    # in the pod's own files: a new pod of the same unit has no label, and a new file
    _state = ops.StoredState()

    def __init__(self, charm: ops.CharmBase, before: Callable[[], bool]):
        """`before` says whether the Services select by the label so far; the leader may ask."""
        super().__init__(charm, "serving-pods")
        self._charm = charm
        self._before = before
        self._state.set_default(labelled=None)

    @property
    def by_label(self) -> bool:
        """Whether Services shall select by the label; what the leader says counts.

        They do from the application's first request on, so that nothing changes when the pod is
        labelled. An application of an earlier revision has pods without the label, which serve:
        there they do when the leader's pod has it. They do not while it cannot have it.
        """
        labelled = self._state.labelled
        if labelled is not None or not self._charm.unit.is_leader():
            return labelled is not False
        return self._before()

    @property
    def selector(self) -> dict[str, str]:
        """Of a Service; only the leader's counts."""
        application = {NAME_LABEL: self._charm.app.name}
        return {**application, LABEL: "true"} if self.by_label else application

    def service(self, ports: Iterable[int]) -> Manifest:
        """The Service with these TCP ports that leads to the pods that serve."""
        return {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name_of(self._charm.app.name)},
            "spec": {
                "selector": self.selector,
                "ports": [
                    {"name": f"port-{port}", "port": port, "protocol": "TCP"}
                    for port in sorted(ports)
                ],
            },
        }

    def label(self) -> bool:
        """Label this unit's pod, once; whether `selector` has become another by it.

        Raises:
            Waiting: the pod may get no requests, as the API server did not let it be labelled.
        """
        if self._state.labelled:
            return False
        before = self.by_label
        name = self._charm.unit.name.replace("/", "-")
        path = f"/api/v1/namespaces/{self._charm.model.name}/pods/{name}"
        try:
            kubernetes.patch(path, {"metadata": {"labels": {LABEL: "true"}}})
            self._state.labelled = True
        except kubernetes.NoCluster:
            return False
        except ActionFailed as reason:
            if not self._charm.unit.is_leader():
                raise Waiting(f"waiting to label the pod: {reason}") from None
            logger.warning("new pods get requests before they serve: %s", reason)
            self._state.labelled = False
        return self.by_label is not before
