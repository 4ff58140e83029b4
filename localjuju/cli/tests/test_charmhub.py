"""Charms that are named as Charmhub's, from the folder that LOCALJUJU_CHARMS names."""

from __future__ import annotations

from pathlib import Path

import pytest

from localjuju.cli import charmhub
from localjuju.cli.bundle import load
from localjuju.cli.context import UsageError
from localjuju.cli.tests.test_bundle import charm, write
from localjuju.model.charm import read
from localkube.host.errors import EngineError

RESOURCES = {
    "image": {"type": "oci-image", "upstream-source": "docker.io/library/web:1"},
    "unnamed": {"type": "oci-image"},
    "file": {"type": "file", "filename": "x", "upstream-source": "no-image"},
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "hub"
    folder.mkdir()
    charm(folder, "web", resources=RESOURCES)
    monkeypatch.setenv("LOCALJUJU_CHARMS", str(folder))
    return folder


@pytest.mark.parametrize("name", ["web", "ch:web"])
def test_a_charm_is_found_by_its_name(hub: Path, name: str):
    assert charmhub.find(name) == hub / "web.charm"


def test_the_name_that_charmcraft_gives_a_file_is_found_too(hub: Path):
    (hub / "web.charm").rename(hub / "web_ubuntu-24.04-amd64.charm")
    charm(hub, "web-ui")
    assert charmhub.find("web") == hub / "web_ubuntu-24.04-amd64.charm"


def test_of_several_files_none_is_chosen(hub: Path):
    charm(hub, "web_amd64")
    with pytest.raises(UsageError, match=r"may be web\.charm and web_amd64\.charm in .*its path"):
        charmhub.find("web")


@pytest.mark.parametrize("name", ["we", "../hub/web", "*", ""])
def test_what_is_no_name_of_a_file_there_is_not_found(hub: Path, name: str):
    with pytest.raises(
        UsageError, match=r"there is no .*\.charm in .*hub, which LOCALJUJU_CHARMS"
    ):
        charmhub.find(name)


def test_without_such_a_folder_the_line_names_the_variable(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("LOCALJUJU_CHARMS", raising=False)
    with pytest.raises(UsageError, match=r"Charmhub's: not supported .*with LOCALJUJU_CHARMS"):
        charmhub.find("postgresql-k8s")


def test_its_images_are_those_that_it_names_as_sources(hub: Path):
    found = charmhub.resources(read(hub / "web.charm"), {"image": "12", "unnamed": "./image.tar"})
    assert found == {"image": "docker.io/library/web:1", "unnamed": "./image.tar"}


def test_a_bundle_names_it_and_revisions_of_its_resources(hub: Path, tmp_path: Path):
    text = """
        bundle: kubernetes
        applications:
          one: {charm: web, channel: latest/edge, revision: 7, resources: {image: 12, unnamed: 3}}
          two: {charm: 'ch:web', resources: {unnamed: docker.io/library/other:2}}
    """
    one, two = load(write(tmp_path, "bundle.yaml", text), []).applications
    assert (one.charm, two.charm) == (hub / "web.charm", hub / "web.charm")
    assert one.resources == {"image": "docker.io/library/web:1"}
    assert two.resources == {
        "image": "docker.io/library/web:1", "unnamed": "docker.io/library/other:2",
    }  # fmt: skip


def test_a_bundle_s_charm_that_is_not_there_is_one_line(hub: Path, tmp_path: Path):
    text = "applications: {one: {charm: mysql}}"
    with pytest.raises(EngineError, match=r'application "one": "mysql" is Charmhub\'s'):
        load(write(tmp_path, "bundle.yaml", text), [])
