"""The default StorageClass: each claim becomes a folder of the engine's state."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import Any

from lightkube import ApiError, AsyncClient
from lightkube.models.core_v1 import (
    HostPathVolumeSource,
    ObjectReference,
    PersistentVolumeSpec,
)
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import PersistentVolume, PersistentVolumeClaim
from lightkube.resources.storage_v1 import StorageClass

from localjuju.errors import EngineError
from localjuju.node.cluster import UNREACHABLE, follow, until_done
from localjuju.node.hostpaths import HostPaths
from localjuju.trees import remove_tree

CLASS = "local"
_PROVISIONER = "localjuju/local"
_log = logging.getLogger(__name__)
_PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"


class Provisioner:
    """Makes a volume for every claim of our class; removes volumes whose claim has gone."""

    def __init__(self, api: AsyncClient, folder: Path, host_paths: HostPaths):
        self._api = api
        self._folder = folder
        self._host_paths = host_paths

    async def run(self) -> None:
        """Works until cancelled."""
        await self._make_class()
        await asyncio.gather(self._provision(), self._reclaim())

    async def _make_class(self) -> None:
        default = {"storageclass.kubernetes.io/is-default-class": "true"}
        made = StorageClass(
            metadata=ObjectMeta(name=CLASS, annotations=default),
            provisioner=_PROVISIONER,
            reclaimPolicy="Delete",
            volumeBindingMode="Immediate",
        )
        await until_done(lambda: self._api.apply(made, force=True), "storage class")

    async def _provision(self) -> None:
        async for claims in follow(self._api, PersistentVolumeClaim, namespace="*"):
            for claim in list(claims.values()):
                if (
                    claim.spec.storageClassName == CLASS
                    and not claim.spec.volumeName
                    and (claim.status is None or claim.status.phase != "Bound")
                ):
                    await self._make(claim)

    async def _make(self, claim: Any) -> None:
        meta = claim.metadata
        name = f"pvc-{meta.uid}"
        folder = self._folder / name
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)
        requests = (claim.spec.resources.requests if claim.spec.resources else None) or {}
        volume = PersistentVolume(
            metadata=ObjectMeta(name=name, annotations={_PROVISIONED_BY: _PROVISIONER}),
            spec=PersistentVolumeSpec(
                capacity={"storage": requests.get("storage", "1Gi")},
                accessModes=claim.spec.accessModes,
                persistentVolumeReclaimPolicy="Delete",
                storageClassName=CLASS,
                hostPath=HostPathVolumeSource(path=str(folder), type="DirectoryOrCreate"),
                claimRef=ObjectReference(
                    apiVersion="v1", kind="PersistentVolumeClaim", name=meta.name,
                    namespace=meta.namespace, uid=meta.uid,
                ),
            ),
        )  # fmt: skip
        await until_done(lambda: self._api.create(volume), f"volume {name}")

    async def _reclaim(self) -> None:
        async for volumes in follow(self._api, PersistentVolume):
            for volume in list(volumes.values()):
                annotations = volume.metadata.annotations or {}
                if (
                    annotations.get(_PROVISIONED_BY) == _PROVISIONER
                    and volume.status is not None
                    and volume.status.phase in ("Released", "Failed")
                    and volume.spec.persistentVolumeReclaimPolicy == "Delete"
                ):
                    name = volume.metadata.name
                    try:
                        await asyncio.to_thread(remove_tree, self.own_folder(name))
                    except (EngineError, OSError) as error:
                        _log.warning("volume %s stays: %s", name, error)
                        continue
                    await until_done(
                        lambda name=name: self._api.delete(PersistentVolume, name), "volume"
                    )

    def own_folder(self, volume: str) -> Path:
        """The folder of a volume of our making: by its name, below this engine's own folder.

        What the object says of its path may be from another state folder, which this one is a
        copy of, or anybody's word.

        Raises:
            OSError: the name leads elsewhere.
        """
        folder = self._folder.resolve() / volume
        if folder.parent != self._folder.resolve() or volume in ("", ".", ".."):
            raise OSError(f"{volume} is no volume of this engine")
        return folder

    async def folder_of(self, namespace: str, name: str) -> Path:
        """The folder of a bound claim.

        Raises:
            OSError: it is not bound (yet), or its volume is of a kind not supported here.
            ConfigError: its volume is a folder of the host that is not allowed.
        """
        try:
            claim = await self._api.get(PersistentVolumeClaim, name, namespace=namespace)
            bound = claim.spec.volumeName if claim.spec else None
            if not bound or not claim.status or claim.status.phase != "Bound":
                raise OSError(f"PersistentVolumeClaim {name} is not bound yet")
            volume = await self._api.get(PersistentVolume, bound)
        except (ApiError, *UNREACHABLE) as error:
            raise OSError(f"PersistentVolumeClaim {name}: {error}") from None
        path = self._path(volume)
        with contextlib.suppress(OSError):
            path.mkdir(parents=True, exist_ok=True)
        return path

    def _path(self, volume: Any) -> Path:
        name = volume.metadata.name
        source = volume.spec.hostPath if volume.spec else None
        if source is None:
            raise OSError(f"volume {name} is of a kind not supported by localjuju")
        if (volume.metadata.annotations or {}).get(_PROVISIONED_BY) == _PROVISIONER:
            return self.own_folder(name)
        return self._host_paths.resolve(source.path)
