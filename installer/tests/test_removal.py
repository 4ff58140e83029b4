"""What `down` may remove, and what it must not."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from installer import down, target
from localjuju.errors import EngineError


def test_nothing_to_remove(state: Path, capsys: pytest.CaptureFixture[str]):
    state.rmdir()
    assert down.main([]) == 0
    assert capsys.readouterr().out == "nothing to remove\n"


def test_says_what_it_removed(state: Path, capsys: pytest.CaptureFixture[str]):
    (state / "etcd").mkdir()
    (state / "etcd/data").write_bytes(b"x" * 4_000_000)
    target.Target("local", "mine").remember()
    assert down.main([]) == 0
    assert not state.exists()
    assert capsys.readouterr().out.startswith(f"removed: {state} (4 MB")
    assert target.current() == target.Target("local", "mlops")


def test_all_leaves_what_is_not_ours(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cache = tmp_path / "cache"
    (cache / "builds/programs").mkdir(parents=True)
    (cache / "photos").mkdir()
    monkeypatch.setenv("CHARMED_MLOPS_CACHE", str(cache))
    down.main(["--all"])
    assert [entry.name for entry in cache.iterdir()] == ["photos"]


def test_folders_without_permission_go(tmp_path: Path):
    tree = tmp_path / "tree"
    (tree / "work/work").mkdir(parents=True)
    (tree / "module").mkdir()
    (tree / "module/file.go").touch()
    (tree / "module").chmod(0o555)
    (tree / "work/work").chmod(0o000)
    down.remove_tree(tree)
    assert not tree.exists()


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder that every user may write to; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_another_user_s_folders_without_permission_go(shared_folder: Path):
    script = "mkdir -p t/w/w t/m; touch t/m/f; chmod 0 t/w/w; chmod 555 t/m"
    subprocess.run(["sh", "-c", script], cwd=shared_folder, check=True, user=65534)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setuid(65534)
            down.remove_tree(shared_folder / "t")
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert not (shared_folder / "t").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
def test_what_is_mounted_is_never_removed(state: Path):
    data = state / "volume"
    data.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", data], check=True)
    try:
        (data / "precious").touch()
        with pytest.raises(EngineError, match=f"{data} is mounted: umount {data}"):
            down.main([])
        assert (data / "precious").exists()
    finally:
        subprocess.run(["umount", data], check=True)
