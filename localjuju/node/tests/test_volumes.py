"""A pod's volumes, made and kept up to date."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from lightkube import codecs

from localjuju.node.environment import ConfigError
from localjuju.node.hostpaths import HostPaths
from localjuju.node.volumes import Volumes


class Cluster:
    """Objects that a test may change."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], dict[str, bytes]] = {
            ("ConfigMap", "c"): {"a": b"1", "b": b"2"},
            ("Secret", "s"): {"k": b"v"},
        }

    async def read(self, kind: str, name: str) -> Mapping[str, bytes] | None:
        return self.objects.get((kind, name))

    async def token(self, audience: str, seconds: int) -> str:
        return f"token for {audience or 'the API'} of {seconds} s"

    async def claim(self, name: str) -> Path:
        raise OSError(f"PersistentVolumeClaim {name} is not bound yet")


def volumes(folder: Path, cluster: Cluster, **source: object) -> Volumes:
    pod = codecs.from_dict(
        {
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "namespace": "m", "uid": "u", "labels": {"x": "y"}},
            "spec": {
                "containers": [{"name": "c", "image": "i"}],
                "volumes": [{"name": "v", **source}],
            },
        }
    )  # fmt: skip
    allowed = HostPaths([folder / "allowed"])
    return Volumes(pod, folder, "", cluster.read, cluster.token, cluster.claim, allowed)


def content(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): file.read_text()
        for file in folder.rglob("*")
        if file.is_file()
    }


async def test_a_config_map_is_files_and_changes_are_followed(tmp_path: Path):
    cluster = Cluster()
    made = volumes(tmp_path, cluster, configMap={"name": "c"})
    await made.prepare()
    assert content(tmp_path / "v") == {"a": "1", "b": "2"}
    cluster.objects["ConfigMap", "c"] = {"a": b"changed", "new": b"3"}
    await made.refresh()
    assert content(tmp_path / "v") == {"a": "changed", "new": "3"}
    del cluster.objects["ConfigMap", "c"]
    await made.refresh()
    assert content(tmp_path / "v") == {"a": "changed", "new": "3"}


async def test_items_choose_and_place(tmp_path: Path):
    source = {"secretName": "s", "items": [{"key": "k", "path": "deep/er"}]}
    await volumes(tmp_path, Cluster(), secret=source).prepare()
    assert content(tmp_path / "v") == {"deep/er": "v"}


async def test_projected_sources_share_a_folder(tmp_path: Path):
    sources = [
        {"serviceAccountToken": {"path": "token", "audience": "x", "expirationSeconds": 600}},
        {"configMap": {"name": "c", "items": [{"key": "a", "path": "a"}]}},
        {"downwardAPI": {"items": [
            {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}
        ]}},
    ]  # fmt: skip
    await volumes(tmp_path, Cluster(), projected={"sources": sources}).prepare()
    assert content(tmp_path / "v") == {
        "token": "token for x of 600 s", "a": "1", "labels": 'x="y"\n',
    }  # fmt: skip


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ({"configMap": {"name": "none"}}, 'configmap "none" not found'),
        ({"secret": {"secretName": "s", "items": [{"key": "z", "path": "z"}]}}, "has no key z"),
        ({"nfs": {"server": "a", "path": "/"}}, "not supported by localjuju"),
        ({"hostPath": {"path": "/no/such", "type": "Directory"}}, "LOCALJUJU_HOST_PATHS=/no/such"),
    ],
)
async def test_what_cannot_be_made_is_named(tmp_path: Path, source: dict[str, object], text: str):
    with pytest.raises(ConfigError, match=text):
        await volumes(tmp_path, Cluster(), **source).prepare()


async def test_optional_means_empty(tmp_path: Path):
    await volumes(tmp_path, Cluster(), configMap={"name": "no", "optional": True}).prepare()
    assert content(tmp_path / "v") == {}


async def test_an_unbound_claim_is_named(tmp_path: Path):
    with pytest.raises(OSError, match="PersistentVolumeClaim data is not bound yet"):
        await volumes(tmp_path, Cluster(), persistentVolumeClaim={"claimName": "data"}).prepare()


async def test_a_host_path_below_an_allowed_folder_is_made_and_seen(tmp_path: Path):
    made = volumes(tmp_path, Cluster(), hostPath={"path": str(tmp_path / "allowed/a/b")})
    await made.prepare()
    assert made.paths["v"] == tmp_path / "allowed/a/b"
    assert made.paths["v"].is_dir()


async def test_a_host_path_that_must_be_there_is_named(tmp_path: Path):
    source = {"path": str(tmp_path / "allowed/none"), "type": "Directory"}
    with pytest.raises(ConfigError, match="allowed/none is not there"):
        await volumes(tmp_path, Cluster(), hostPath=source).prepare()


@pytest.mark.parametrize("way", ["{0}/other/x", "{0}/allowed/../other/x", "{0}/allowed/link/x"])
async def test_a_host_path_that_leads_elsewhere_is_refused_and_nothing_made(
    tmp_path: Path, way: str
):
    (tmp_path / "allowed").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "allowed/link").symlink_to(tmp_path / "other")
    with pytest.raises(ConfigError, match="is not one of the engine's folders"):
        await volumes(tmp_path, Cluster(), hostPath={"path": way.format(tmp_path)}).prepare()
    assert not list((tmp_path / "other").iterdir())


async def test_the_user_may_name_more_host_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LOCALJUJU_HOST_PATHS", f"/no/such:{tmp_path}/data")
    found = HostPaths.of(tmp_path / "own")
    assert found.resolve(f"{tmp_path}/data/set") == tmp_path / "data/set"
    assert found.resolve(f"{tmp_path}/own") == tmp_path / "own"
    with pytest.raises(ConfigError):
        found.resolve("/")
