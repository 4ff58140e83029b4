"""Whose a folder is: the marker says it, never the path."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from localkube.host import ownership, paths
from localkube.host.errors import EngineError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A default cache folder of this test's own."""
    monkeypatch.delenv("CHARMED_MLOPS_CACHE", raising=False)
    monkeypatch.delenv("CHARMED_MLOPS_STATE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    return tmp_path / "xdg/charmed-mlops"


def test_a_new_and_an_empty_folder_become_ours(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    for name in ("new/below", "empty"):
        made = ownership.claim(tmp_path / name, "V")
        assert made == ownership.claim(tmp_path / name, "V")
        assert ownership.is_ours(tmp_path / name)


def test_two_folders_have_different_identities(tmp_path: Path):
    assert ownership.claim(tmp_path / "a", "V") != ownership.claim(tmp_path / "b", "V")


def test_claims_at_the_same_time_agree(tmp_path: Path):
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: ownership.claim(tmp_path / "a", "V"), range(32)))
    assert len(found) == 1


def test_a_folder_with_other_things_is_refused_and_left_alone(tmp_path: Path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home/thesis.txt").touch()
    with pytest.raises(EngineError, match=r"home has files .* empty folder with V$"):
        ownership.claim(tmp_path / "home", "V")
    assert [entry.name for entry in (tmp_path / "home").iterdir()] == ["thesis.txt"]


def test_the_default_folders_of_an_older_version_are_ours(cache: Path):
    (cache / "engine/etcd").mkdir(parents=True)
    assert ownership.is_ours(paths.state())
    assert ownership.claim_state() == ownership.identity(cache / "engine")


def test_a_cache_folder_with_other_things_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CHARMED_MLOPS_CACHE", str(tmp_path / "home"))
    (tmp_path / "home/engine").mkdir(parents=True)
    (tmp_path / "home/engine/diesel.txt").touch()
    assert not ownership.claim_cache()
    assert not ownership.is_ours(paths.state())
    with pytest.raises(EngineError, match="CHARMED_MLOPS_STATE"):
        ownership.claim_state()


def test_an_interrupted_removal_leaves_the_folder_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "state"
    ownership.claim(folder, "V")
    for name in ("a", "b", "c"):
        (folder / name).mkdir()
    removed = []

    def interrupted(path: Path) -> None:
        if len(removed) == 3:
            raise KeyboardInterrupt
        removed.append(path.name)
        path.rmdir()

    monkeypatch.setattr(ownership, "remove_tree", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ownership.remove(folder)
    assert sorted(removed) == ["a", "b", "c"]
    assert ownership.is_ours(folder)


def test_what_is_not_ours_is_not_removed(tmp_path: Path):
    with pytest.raises(EngineError, match="is not the engine's"):
        ownership.remove(tmp_path)
    assert tmp_path.exists()
