"""The engine's default StorageClass, and the folders of claims."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

from lightkube import ApiError, AsyncClient
from lightkube.models.core_v1 import HostPathVolumeSource
from lightkube.resources.core_v1 import PersistentVolume, PersistentVolumeClaim

from localjuju.node.hostpaths import HostPaths
from localkube.node.client import UNREACHABLE, follow
from localkube.node.storage import Folders

CLASS = "local"
_PROVISIONER = "localjuju/local"


class Provisioner:
    """Makes a volume for every claim of our class; removes volumes whose claim has gone."""

    def __init__(self, api: AsyncClient, folder: Path, host_paths: HostPaths):
        self._api = api
        self._folders = Folders(api, folder, _PROVISIONER)
        self._host_paths = host_paths

    async def run(self) -> None:
        """Works until cancelled."""
        await self._folders.make_class(CLASS, "Immediate")
        await asyncio.gather(self._provision(), self._folders.reclaim())

    async def _provision(self) -> None:
        async for claims in follow(self._api, PersistentVolumeClaim, namespace="*"):
            for claim in list(claims.values()):
                if (
                    claim.spec.storageClassName == CLASS
                    and not claim.spec.volumeName
                    and (claim.status is None or claim.status.phase != "Bound")
                ):
                    path = self._folders.own_folder(f"pvc-{claim.metadata.uid}")
                    source = HostPathVolumeSource(path=str(path), type="DirectoryOrCreate")
                    await self._folders.make(claim, hostPath=source)

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
        if self._folders.is_own(volume):
            return self._folders.own_folder(name)
        return self._host_paths.resolve(source.path)
