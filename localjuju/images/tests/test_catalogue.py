"""The catalogue: which entry a reference means, and what a wrong file says."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
import yaml

from localjuju.images import Catalogue, Entry
from localjuju.images.catalogue import normalise
from localjuju.model import provision
from localkube.host.errors import EngineError
from localkube.host.progress import Progress


@pytest.mark.parametrize(
    ("reference", "meant"),
    [
        ("mariadb:10.11.19", "docker.io/library/mariadb:10.11.19"),
        ("kserve/kserve-controller:v1", "docker.io/kserve/kserve-controller:v1"),
        ("ghcr.io/a/b", "ghcr.io/a/b:latest"),
        ("localhost/x:1", "localhost/x:1"),
        ("localhost:5000/x", "localhost:5000/x:latest"),
    ],
)
def test_a_reference_is_read_as_docker_reads_it(reference: str, meant: str):
    assert normalise(reference) == meant


def test_every_image_of_the_slice_has_an_entry():
    catalogue = Catalogue.load()
    for reference in (
        "docker.io/library/mariadb:10.11.19", "docker.io/versity/versitygw:v1.8.0",
        "ghcr.io/mlflow/mlflow:v3.17.2-full", "kserve/kserve-controller:v0.16.0",
        "kserve/storage-initializer:v0.16.0", "docker.io/seldonio/mlserver:1.7.1",
    ):  # fmt: skip
        assert not catalogue.find(reference).stand_in


def test_another_tag_is_another_image():
    with pytest.raises(EngineError, match=r"no entry for image mariadb:11 .*LOCALJUJU_IMAGES"):
        Catalogue.load().find("mariadb:11")


def path_entry(folder: Path, path: str, reference: str = "mariadb:10.11.19") -> Path:
    file = folder / "own.yaml"
    file.write_text(f"images: [{{reference: '{reference}', kind: path, path: '{path}'}}]\n")
    return file


def test_the_user_s_file_replaces_an_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "tree").mkdir()
    monkeypatch.setenv("LOCALJUJU_IMAGES", str(path_entry(tmp_path, "tree")))
    catalogue = Catalogue.load()
    tree = catalogue.ensure("mariadb:10.11.19", Progress(io.StringIO()))
    assert (catalogue.find("mariadb:10.11.19").kind, tree) == ("path", tmp_path / "tree")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"images: [", "while parsing"),
        (b"\xff\xfe\x00", "codec can't decode"),
        (b"images: [{kind: path}]", "path.reference: Field required"),
        (b"images: [{kind: surprise, reference: a}]", "does not match any of the expected tags"),
        (b"images: [{kind: path, reference: a, path: /x, colour: red}]", "colour"),
    ],
)
def test_a_wrong_file_is_one_line_that_names_it(tmp_path: Path, content: bytes, text: str):
    file = tmp_path / "own.yaml"
    file.write_bytes(content)
    with pytest.raises(EngineError, match=text) as caught:
        Catalogue.load([file])
    assert "\n" not in str(caught.value)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("base", "text"),
    [
        ("docker.io/own/top:1", "own/top:1: its base docker.io/own/top:1 lies over itself"),
        ("docker.io/own/none:1", "no entry for image docker.io/own/none:1"),
    ],
)
def test_a_base_that_cannot_be_is_named(tmp_path: Path, base: str, text: str):
    file = tmp_path / "images.yaml"
    entry = {"reference": "docker.io/own/top:1", "kind": "path", "path": "tree", "base": base}
    file.write_text(yaml.safe_dump({"images": [entry]}))
    with pytest.raises(EngineError, match=re.escape(text)):
        Catalogue.load([file])


def test_a_missing_folder_is_named(tmp_path: Path):
    catalogue = Catalogue.load([path_entry(tmp_path, "/nowhere/at/all")])
    with pytest.raises(EngineError, match="folder /nowhere/at/all is not there"):
        catalogue.ensure("mariadb:10.11.19", Progress(io.StringIO()))


def test_the_image_of_the_agent_is_that_of_the_version_juju_says_it_has():
    assert Catalogue.load().has(provision.AGENT_IMAGE)


def own_entry(folder: Path, entry: str, monkeypatch: pytest.MonkeyPatch) -> Entry:
    """An entry of the user's."""
    (folder / "tree").mkdir()
    (folder / "own.yaml").write_text(
        f"images: [{{reference: a, kind: path, path: tree, {entry}}}]"
    )
    monkeypatch.setenv("LOCALJUJU_IMAGES", str(folder / "own.yaml"))
    return Catalogue.load().find("a")


@pytest.mark.parametrize(
    ("entry", "ids"),
    [
        ("workdir: /", (0, None)),
        ("user: 65532", (65532, None)),
        ('user: "65532:7"', (65532, 7)),
        ("user: node, users: {node: 1000}", (1000, 1000)),
        ("user: 'dex:dex', users: {dex: '1001:5'}", (1001, 1001)),
        ("user: jovyan, users: {jovyan: '1000:100'}", (1000, 100)),
    ],
)
def test_an_image_has_the_user_of_its_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str, ids: tuple[int, int | None]
):
    assert own_entry(tmp_path, entry, monkeypatch).ids() == ids


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ("user: nobody-here", "users has no nobody-here"),
        ("users: {a: b}", "b is no user id"),
        ("writable: [home]", "home is no absolute path"),
        ("writable: [/a/../b]", "is no absolute path"),
    ],
)
def test_a_user_that_cannot_be_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str, text: str
):
    with pytest.raises(EngineError, match=f"own.yaml: .*{text}"):
        own_entry(tmp_path, entry, monkeypatch)


def test_users_of_upstream_s_images_that_are_not_root():
    catalogue = Catalogue.load()
    users = {
        reference.rpartition("/")[2].partition(":")[0]: catalogue.find(reference).user
        for reference in catalogue.references()
    }
    for name in ("kserve-controller", "trainer-controller-manager", "jobset", "kfam"):
        assert users[name].startswith("65532")
    assert users["dex"] == "dex:dex"
    assert users["central-dashboard"] == "node"
    assert not users["mariadb"]


@pytest.mark.parametrize(
    "reference",
    [
        "docker.io/seldonio/mlserver:1.7.1",  # it makes .metrics there
        "ghcr.io/kubeflow/kubeflow/notebook-servers/jupyter-scipy:v1.10.0",
    ],
)
def test_what_writes_in_its_working_folder_starts_in_one_of_its_own(reference: str):
    entry = Catalogue.load().find(reference)
    assert entry.workdir in entry.writable
