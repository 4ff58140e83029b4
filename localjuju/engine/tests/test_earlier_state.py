"""Which state folders the real node takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from localjuju.engine import limits
from localkube.host.errors import EngineError


def test_a_state_folder_of_an_earlier_version_is_refused_and_kept(tmp_path: Path):
    volume = tmp_path / "volumes" / "pvc-1" / "data"
    for folder in (tmp_path / "pods", volume.parent):
        folder.mkdir(parents=True)
    volume.write_text("somebody's")
    with pytest.raises(EngineError, match=r"by an earlier version.*then \./mlops down"):
        limits.refuse_earlier(tmp_path)
    assert volume.read_text() == "somebody's"


@pytest.mark.parametrize("names", [[], ["etcd"], ["containerd.toml", "pods"]])
def test_a_new_folder_and_one_of_its_own_are_taken(tmp_path: Path, names: list[str]):
    for name in names:
        (tmp_path / name).touch()
    limits.refuse_earlier(tmp_path)
