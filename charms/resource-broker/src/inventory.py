"""What the broker has applied, recorded in the cluster before it is applied.

One Secret per application in the model's namespace (a Secret, as the digests of small contents
could be guessed). It outlives the relation and the broker's pod, so a removal that a fault cut
short goes on where it was.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from kube import Cluster, Object, Ref

logger = logging.getLogger(__name__)

# What marks an object. installer/leftovers.py knows the same: it removes what a dead model left.
MODEL = "charmed-mlops.io/model"
MODEL_UUID = "charmed-mlops.io/model-uuid"
APPLICATION = "charmed-mlops.io/application"
KEPT = "charmed-mlops.io/kept"
MANAGED_BY = "app.kubernetes.io/managed-by"
CREATED_BY = "app.juju.is/created-by"
"""A webhook of Juju's writes it on what an application makes or changes.

Since 3.6.11 also `managed-by`, where there is none. Source: juju/juju,
internal/provider/kubernetes/utils/labels.go, `LabelsForAppCreated`.
"""
_KIND = "charmed-mlops.io/inventory"
OUTLIVES = {"juju-resource-lifecycle": "persistent"}
"""Of a definition: Juju leaves it when the model is destroyed.

Else it deletes the definitions that the model's applications made, and first the custom resources
of these kinds in every namespace, tenants' too. Source: juju/juju,
internal/provider/kubernetes/teardown.go and customresourcedefinitions.go.
"""


@dataclass
class Inventory:
    """The objects of one application.

    Attributes:
        application: whose they are.
        objects: digest of what was applied; "" for what was not yet applied as declared.
        fields: digest of the fields that applying made the broker's, see `applied_fields`.
    """

    application: str
    objects: dict[Ref, str] = field(default_factory=dict)
    fields: dict[Ref, str] = field(default_factory=dict)


class Book:
    """Reads and writes the inventories of one model."""

    def __init__(
        self,
        cluster: Cluster,
        broker: str,
        namespace: str,
        related: Collection[str] = (),
        uuid: str = "",
    ):
        """The records of one model.

        Args:
            cluster: the API server.
            broker: the broker's name.
            namespace: the model's.
            related: the applications that are there: nobody takes over what one has kept.
            uuid: the model's; a later model may have the same name.
        """
        self._cluster = cluster
        self._related = set(related)
        self.broker = broker
        self.namespace = namespace
        self.uuid = uuid

    def labels(self, application: str) -> dict[str, str]:
        """What marks an object of the application."""
        return {
            MANAGED_BY: self.broker,
            MODEL: self.namespace,
            **({MODEL_UUID: self.uuid} if self.uuid else {}),
            APPLICATION: application,
        }

    def manager(self, application: str) -> str:
        """The field manager of server-side apply."""
        return f"{self.broker}/{application}"

    def owns(self, application: str, found: Object) -> bool:
        """Whether the object is the application's, or was kept for the next that declares it."""
        labels = found["metadata"].get("labels") or {}
        mine = self.labels(application)
        if all(labels.get(key) == mine[key] for key in (MODEL, APPLICATION)):
            return True
        present = labels.get(MODEL) == self.namespace and labels.get(APPLICATION) in self._related
        return labels.get(KEPT) == "true" and not present

    def read(self, application: str) -> Inventory:
        """The application's inventory, empty if it has none."""
        found = self._cluster.get(self._ref(application))
        return _parse(found) if found else Inventory(application)

    def all(self) -> Mapping[str, Inventory]:
        """Every inventory of this model, by application."""
        selector = f"{_KIND}=true,{MODEL}={self.namespace},{MANAGED_BY}={self.broker}"
        found = self._cluster.list("v1", "Secret", selector, self.namespace)
        inventories = [_parse(item) for item in found]
        return {inventory.application: inventory for inventory in inventories}

    def write(self, inventory: Inventory) -> None:
        """Record it; an empty one is removed."""
        ref = self._ref(inventory.application)
        if not inventory.objects:
            self._cluster.delete(ref)
            return
        entries = [
            [ref.api, ref.kind, ref.namespace, ref.name, digest, inventory.fields.get(ref, "")]
            for ref, digest in sorted(inventory.objects.items())
        ]
        labels = {**self.labels(inventory.application), _KIND: "true"}
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": ref.name, "namespace": ref.namespace, "labels": labels},
            "data": {"objects": base64.b64encode(json.dumps(entries).encode()).decode()},
        }
        self._cluster.apply(ref, body, self.broker)

    def _ref(self, application: str) -> Ref:
        return Ref("v1", "Secret", self.namespace, f"{self.broker}.{application}")


def _parse(found: Object) -> Inventory:
    application = found["metadata"]["labels"][APPLICATION]
    try:
        entries = json.loads(base64.b64decode(found["data"]["objects"]))
        objects = {Ref(*map(str, entry[:4])): str(entry[4]) for entry in entries}
        # an older broker did not record the fields
        fields = {Ref(*map(str, entry[:4])): str(entry[5]) for entry in entries if entry[5:]}
    except (KeyError, ValueError, TypeError, IndexError):
        logger.error("the inventory of %s cannot be read: run the action reapply", application)
        objects, fields = {}, {}
    return Inventory(application, objects, fields)
