"""A Service that leads to the pods that serve, and to no other.

A pod is Ready from its start until a check of its Pebble fails, and before its unit's first hook
there is no check. Juju's own Service sends requests to it meanwhile. So a unit labels its pod
when it serves for the first time, and a Service of the application's own selects by that label.

Juju lets every application patch the pods of its model: protocol.md, section 3.6.
"""

from __future__ import annotations

import logging

import ops

from charmed_mlops import kubernetes
from charmed_mlops.errors import ActionFailed, Waiting
from charmed_mlops.network import NAME_LABEL
from charmed_mlops.peers import Peers

LABEL = "charmed-mlops.io/serving"
_KEY = "serving-label"

logger = logging.getLogger(__name__)


class ServingPods(ops.Object):
    """The labels that the pods of the application have which serve."""

    # in the pod's own files: a new pod of the same unit has no label, and a new file
    _state = ops.StoredState()

    def __init__(self, charm: ops.CharmBase, peers: Peers):
        super().__init__(charm, "serving-pods")
        self._charm = charm
        self._peers = peers
        self._state.set_default(labelled=False)

    @property
    def selector(self) -> dict[str, str]:
        """For a Service; without the label as long as no leader could write it.

        Raises:
            Waiting: the peer relation is not there yet.
        """
        application = {NAME_LABEL: self._charm.app.name}
        return {**application, LABEL: "true"} if self._peers.get(_KEY) else application

    def label(self) -> bool:
        """Label this unit's pod, once; whether `selector` has become another by it.

        Raises:
            Waiting: the pod gets no requests, as the API server did not let it be labelled.
        """
        if not self._state.labelled:
            name = self._charm.unit.name.replace("/", "-")
            path = f"/api/v1/namespaces/{self._charm.model.name}/pods/{name}"
            try:
                kubernetes.patch(path, {"metadata": {"labels": {LABEL: "true"}}})
            except ActionFailed as reason:
                if self._peers.get(_KEY):
                    raise Waiting(f"waiting to label the pod: {reason}") from None
                logger.warning("new pods get requests before they serve: %s", reason)
                return False
            self._state.labelled = True
        if self._peers.get(_KEY) or not self._charm.unit.is_leader():
            return False
        self._peers.set(_KEY, True)
        return True
