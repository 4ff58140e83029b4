"""The default StorageClass: each claim becomes a folder of the cluster's own."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

from lightkube import AsyncClient
from lightkube.models.core_v1 import (
    LocalVolumeSource,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    ObjectReference,
    PersistentVolumeSpec,
    VolumeNodeAffinity,
)
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import PersistentVolume, PersistentVolumeClaim
from lightkube.resources.storage_v1 import StorageClass

from localkube.host.errors import EngineError
from localkube.host.trees import remove_tree
from localkube.node.client import follow, until_done

CLASS = "local"
PROVISIONER = "localkube/local"
_PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
# The controller manager sets it on a claim that waits for us, with a pod where the class says so.
_ASKED = "volume.kubernetes.io/storage-provisioner"
_log = logging.getLogger(__name__)


class Provisioner:
    """Makes a volume for every claim that waits for one of ours; removes what was released.

    The volumes are of type `local`: kubelet gives them a pod's fsGroup, which it does not for
    `hostPath`. A claim's size is not enforced.
    """

    def __init__(self, api: AsyncClient, folder: Path, node: str):
        """Prepares; does nothing.

        Args:
            api: the cluster's.
            folder: of the volumes' folders.
            node: the name of the node, whose folders they are.
        """
        self._api = api
        self._folder = folder
        here = NodeSelectorRequirement(key="kubernetes.io/hostname", operator="In", values=[node])
        self._affinity = VolumeNodeAffinity(
            required=NodeSelector([NodeSelectorTerm(matchExpressions=[here])])
        )

    async def run(self) -> None:
        """Works until cancelled."""
        await self._make_class()
        await asyncio.gather(self._provision(), self.reclaim())

    async def _make_class(self) -> None:
        default = {"storageclass.kubernetes.io/is-default-class": "true"}
        made = StorageClass(
            metadata=ObjectMeta(name=CLASS, annotations=default),
            provisioner=PROVISIONER,
            reclaimPolicy="Delete",
            volumeBindingMode="WaitForFirstConsumer",
        )
        await until_done(lambda: self._api.apply(made, force=True), "storage class")

    async def _provision(self) -> None:
        async for claims in follow(self._api, PersistentVolumeClaim, namespace="*"):
            for claim in list(claims.values()):
                if is_asked(claim):
                    await self._make(claim)

    async def _make(self, claim: Any) -> None:
        """Makes a volume for a claim, and its folder."""
        meta = claim.metadata
        name = f"pvc-{meta.uid}"
        folder = self.own_folder(name)
        requests = (claim.spec.resources.requests if claim.spec.resources else None) or {}
        volume = PersistentVolume(
            metadata=ObjectMeta(name=name, annotations={_PROVISIONED_BY: PROVISIONER}),
            spec=PersistentVolumeSpec(
                capacity={"storage": requests.get("storage", "1Gi")},
                accessModes=claim.spec.accessModes,
                persistentVolumeReclaimPolicy="Delete",
                storageClassName=claim.spec.storageClassName,
                claimRef=ObjectReference(
                    apiVersion="v1", kind="PersistentVolumeClaim", name=meta.name,
                    namespace=meta.namespace, uid=meta.uid,
                ),
                local=LocalVolumeSource(path=str(folder)),
                nodeAffinity=self._affinity,
            ),
        )  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)  # for every user, where the pod names no fsGroup
        await until_done(lambda: self._api.create(volume), f"volume {name}")

    async def reclaim(self) -> None:
        """Removes volumes whose claim has gone, with their folders; works until cancelled."""
        async for volumes in follow(self._api, PersistentVolume):
            for volume in list(volumes.values()):
                if (
                    _is_own(volume)
                    and volume.status is not None
                    and volume.status.phase in ("Released", "Failed")
                    and volume.spec.persistentVolumeReclaimPolicy == "Delete"
                ):
                    await self._remove(volume.metadata.name)

    async def _remove(self, name: str) -> None:
        try:
            await asyncio.to_thread(remove_tree, self.own_folder(name))
        except (EngineError, OSError) as error:
            _log.warning("volume %s stays: %s", name, error)
            return
        await until_done(lambda: self._api.delete(PersistentVolume, name), "volume")

    def own_folder(self, volume: str) -> Path:
        """The folder of a volume of our making: by its name, below this cluster's own folder.

        What the object says of its path may be from another state folder, which this one is a
        copy of, or anybody's word.

        Raises:
            OSError: the name leads elsewhere.
        """
        folder = self._folder.resolve() / volume
        if folder.parent != self._folder.resolve() or volume in ("", ".", ".."):
            raise OSError(f"{volume} is no volume of this engine")
        return folder


def _is_own(volume: Any) -> bool:
    """Whether this provisioner made the volume."""
    return (volume.metadata.annotations or {}).get(_PROVISIONED_BY) == PROVISIONER


def is_asked(claim: Any) -> bool:
    """Whether a claim waits for a folder of ours."""
    asked = (claim.metadata.annotations or {}).get(_ASKED)
    return (
        asked == PROVISIONER
        and not claim.spec.volumeName
        and claim.spec.volumeMode != "Block"
        and claim.metadata.deletionTimestamp is None
    )
