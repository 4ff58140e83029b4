"""What the default StorageClass removes: folders of its own, whatever an object says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from lightkube import codecs
from lightkube.resources.core_v1 import PersistentVolume

from localkube.node import storage


class Cluster:
    """Notes what is deleted."""

    def __init__(self) -> None:
        self.deleted: list[str] = []

    async def delete(self, kind: Any, name: str) -> None:
        assert kind is PersistentVolume
        self.deleted.append(name)


def released(path: Path, *, ours: bool = True) -> Any:
    """A volume that nobody claims any more."""
    by = storage.PROVISIONER if ours else "somebody"
    return codecs.from_dict(
        {
            "apiVersion": "v1", "kind": "PersistentVolume",
            "metadata": {"name": "pvc-1", "annotations": {"pv.kubernetes.io/provisioned-by": by}},
            "spec": {
                "persistentVolumeReclaimPolicy": "Delete", "hostPath": {"path": str(path)},
                "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
            },
            "status": {"phase": "Released"},
        }
    )  # fmt: skip


async def reclaim(volume: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Shows the volume to the provisioner of `folder` once; returns the objects it deleted."""
    cluster = Cluster()

    async def once(*_: Any, **__: Any) -> AsyncIterator[dict[str, Any]]:
        yield {"pvc-1": volume}

    monkeypatch.setattr(storage, "follow", once)
    await storage.Provisioner(cluster, folder, "node").reclaim()  # type: ignore
    return cluster.deleted


async def test_a_released_volume_goes_with_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "volumes/pvc-1/data").mkdir(parents=True)
    deleted = await reclaim(
        released(tmp_path / "volumes/pvc-1"), tmp_path / "volumes", monkeypatch
    )
    assert deleted == ["pvc-1"]
    assert not list((tmp_path / "volumes").iterdir())


async def test_a_copied_state_folder_never_touches_the_original_s_volumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("original", "copy"):
        (tmp_path / name / "volumes/pvc-1/data").mkdir(parents=True)
    volume = released(tmp_path / "original/volumes/pvc-1")
    assert await reclaim(volume, tmp_path / "copy/volumes", monkeypatch) == ["pvc-1"]
    assert (tmp_path / "original/volumes/pvc-1/data").exists()
    assert not (tmp_path / "copy/volumes/pvc-1").exists()


async def test_a_path_that_somebody_wrote_into_a_volume_is_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "home").mkdir()
    (tmp_path / "home/thesis.txt").touch()
    await reclaim(released(tmp_path / "home"), tmp_path / "volumes", monkeypatch)
    assert (tmp_path / "home/thesis.txt").exists()


async def test_a_volume_that_is_a_link_takes_nothing_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "home").mkdir()
    (tmp_path / "volumes").mkdir()
    (tmp_path / "home/thesis.txt").touch()
    (tmp_path / "volumes/pvc-1").symlink_to(tmp_path / "home")
    await reclaim(released(tmp_path / "home"), tmp_path / "volumes", monkeypatch)
    assert (tmp_path / "home/thesis.txt").exists()


@pytest.mark.parametrize("name", ["..", "../x", "/etc", "", "a/b", "."])
def test_a_name_that_leads_elsewhere_is_no_volume(tmp_path: Path, name: str):
    cluster: Any = None
    with pytest.raises(OSError, match="no volume of this engine"):
        storage.Provisioner(cluster, tmp_path, "node").own_folder(name)


def claim(**changes: Any) -> Any:
    """A claim that the controller manager tells us of."""
    found = {
        "annotations": {"volume.kubernetes.io/storage-provisioner": storage.PROVISIONER},
        "deletionTimestamp": None, "volumeName": None, "volumeMode": "Filesystem", **changes,
    }  # fmt: skip
    return codecs.from_dict(
        {
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {
                "name": "data",
                **{key: found[key] for key in ("annotations", "deletionTimestamp")},
            },
            "spec": {key: found[key] for key in ("volumeName", "volumeMode")},
        }
    )  # fmt: skip


def test_a_claim_that_waits_for_a_folder_of_ours_gets_one():
    assert storage.is_asked(claim())


@pytest.mark.parametrize(
    "changes",
    [
        {"annotations": None},  # as long as no pod uses it
        {"annotations": {"volume.kubernetes.io/storage-provisioner": "example.org/other"}},
        {"volumeName": "pvc-1"},
        {"volumeMode": "Block"},
        {"deletionTimestamp": "2026-01-01T00:00:00Z"},
    ],
)
def test_another_claim_is_left_alone(changes: dict[str, Any]):
    assert not storage.is_asked(claim(**changes))
