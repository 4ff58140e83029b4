"""A pod's volumes, made and kept up to date."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from lightkube import codecs

from localjuju.node.environment import ConfigError
from localjuju.node.hostpaths import HostPaths
from localjuju.node.volumes import Volumes, below


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


def volumes(
    folder: Path, cluster: Cluster, security: Mapping[str, object] | None = None, **source: Any
) -> Volumes:
    pod = codecs.from_dict(
        {
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "namespace": "m", "uid": "u", "labels": {"x": "y"}},
            "spec": {
                "containers": [{"name": "c", "image": "i"}],
                "volumes": [{"name": "v", **source}],
                "securityContext": dict(security or {}),
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
async def test_what_cannot_be_made_is_named(tmp_path: Path, source: dict[str, Any], text: str):
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


def ways(path: Path) -> tuple[str, int]:
    """Permissions and group, as `stat` prints them."""
    info = path.stat()
    return f"{stat.S_IMODE(info.st_mode):o}", info.st_gid


async def test_files_have_the_mode_that_the_pod_says(tmp_path: Path):
    source = {
        "secretName": "s", "defaultMode": 0o400,
        "items": [{"key": "k", "path": "a"}, {"key": "k", "path": "b", "mode": 0o440}],
    }  # fmt: skip
    await volumes(tmp_path, Cluster(), secret=source).prepare()
    assert [ways(tmp_path / "v" / name)[0] for name in ("a", "b")] == ["400", "440"]


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another group as root")


@as_root
async def test_a_pod_s_group_reads_what_the_node_writes(tmp_path: Path):
    cluster, group = Cluster(), {"fsGroup": 170}
    source = {"secretName": "s", "defaultMode": 0o400}
    made = volumes(tmp_path, cluster, group, secret=source)
    await made.prepare()
    assert ways(tmp_path / "v/k") == ("440", 170)
    cluster.objects["Secret", "s"] = {"k": b"new"}
    await made.refresh()
    assert (tmp_path / "v/k").read_text() == "new"
    assert ways(tmp_path / "v/k") == ("440", 170)
    assert made.read_only == {"v"}


@as_root
async def test_a_token_is_the_group_s_alone(tmp_path: Path):
    sources = [{"serviceAccountToken": {"path": "token"}}]
    projected = {"sources": sources, "defaultMode": 0o644}
    await volumes(tmp_path, Cluster(), {"fsGroup": 170}, projected=projected).prepare()
    assert ways(tmp_path / "v/token") == ("640", 170)


@as_root
async def test_a_pod_s_group_owns_an_empty_dir_and_a_refresh_leaves_it_alone(tmp_path: Path):
    made = volumes(tmp_path, Cluster(), {"fsGroup": 170}, emptyDir={})
    await made.prepare()
    assert ways(tmp_path / "v") == ("2777", 170)
    (tmp_path / "v").chmod(0o700)
    await made.refresh()
    assert ways(tmp_path / "v")[0] == "700"


@as_root
@pytest.mark.parametrize(("policy", "mode"), [("Always", "660"), ("OnRootMismatch", "600")])
async def test_a_claim_is_given_to_the_group_once_or_always(
    tmp_path: Path, policy: str, mode: str
):
    class Bound(Cluster):
        async def claim(self, name: str) -> Path:
            return tmp_path / name

    (tmp_path / "data").mkdir()
    security = {"fsGroup": 170, "fsGroupChangePolicy": policy}
    claim = {"claimName": "data"}
    made = volumes(tmp_path, Bound(), security, persistentVolumeClaim=claim)
    await made.prepare()
    assert ways(tmp_path / "data") == ("2775", 170)
    (tmp_path / "data/file").touch(0o600)
    await made.prepare()
    assert ways(tmp_path / "data/file") == (mode, 170)


def test_a_folder_of_a_volume_is_made_like_the_volume(tmp_path: Path):
    tmp_path.chmod(0o2775)
    assert ways(below(tmp_path, "a/b"))[0] == "2775"


def test_a_folder_of_a_volume_that_leads_out_of_it_is_refused(tmp_path: Path):
    (tmp_path / "v").mkdir()
    (tmp_path / "v/link").symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="leads out of its volume"):
        below(tmp_path / "v", "link/other")
    assert not (tmp_path / "other").exists()
