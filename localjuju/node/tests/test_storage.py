"""Where the folder of a claim is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lightkube import codecs
from lightkube.resources.core_v1 import PersistentVolume

from localjuju.node import storage
from localjuju.node.environment import ConfigError
from localjuju.node.hostpaths import HostPaths


class Cluster:
    """Volumes and one claim, bound to `pvc-1`."""

    def __init__(self, volume: Any):
        self.volume = volume

    async def get(self, kind: Any, name: str, namespace: str | None = None) -> Any:
        if kind is PersistentVolume:
            return self.volume
        return codecs.from_dict(
            {
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "metadata": {"name": name}, "spec": {"volumeName": "pvc-1"},
                "status": {"phase": "Bound"},
            }
        )  # fmt: skip


def volume_at(path: Path, *, ours: bool = True) -> Any:
    """A volume that the claim is bound to."""
    by = "localjuju/local" if ours else "somebody"
    return codecs.from_dict(
        {
            "apiVersion": "v1", "kind": "PersistentVolume",
            "metadata": {"name": "pvc-1", "annotations": {"pv.kubernetes.io/provisioned-by": by}},
            "spec": {
                "persistentVolumeReclaimPolicy": "Delete", "hostPath": {"path": str(path)},
                "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
            },
            "status": {"phase": "Bound"},
        }
    )  # fmt: skip


async def test_a_claim_is_a_folder_of_this_engine_s_own(tmp_path: Path):
    cluster: Any = Cluster(volume_at(tmp_path / "original/volumes/pvc-1"))
    provisioner = storage.Provisioner(cluster, tmp_path / "copy/volumes", HostPaths([]))
    assert await provisioner.folder_of("m", "data") == tmp_path / "copy/volumes/pvc-1"


async def test_a_volume_of_the_user_s_has_to_be_allowed(tmp_path: Path):
    cluster: Any = Cluster(volume_at(tmp_path / "data", ours=False))
    closed = storage.Provisioner(cluster, tmp_path / "volumes", HostPaths([]))
    with pytest.raises(ConfigError, match="LOCALJUJU_HOST_PATHS"):
        await closed.folder_of("m", "data")
    opened = storage.Provisioner(cluster, tmp_path / "volumes", HostPaths([tmp_path / "data"]))
    assert await opened.folder_of("m", "data") == tmp_path / "data"
