"""What is removed with a folder, and what is not."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from localkube.host.trees import remove_tree


def test_a_link_is_removed_and_what_it_leads_to_is_left_as_it_is(tmp_path: Path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    (outside / "file").chmod(0o600)
    outside.chmod(0o500)
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "to-folder").symlink_to(outside)
    (tree / "to-file").symlink_to(outside / "file")
    (tree / "to-nothing").symlink_to("/no/such")
    remove_tree(tree)
    assert not tree.exists()
    assert (outside / "file").stat().st_mode & 0o777 == 0o600
    assert outside.stat().st_mode & 0o777 == 0o500


def test_a_link_itself_goes_and_its_target_stays(tmp_path: Path):
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    remove_tree(tmp_path / "link")
    assert [entry.name for entry in tmp_path.iterdir()] == ["target"]


def test_what_is_missing_needs_no_removal(tmp_path: Path):
    remove_tree(tmp_path / "none")


_AS_NOBODY = """
import os, sys
from pathlib import Path
from localkube.host.trees import remove_tree
from localkube.host.errors import EngineError
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
try:
    remove_tree(Path(sys.argv[1]))
except EngineError as error:
    print(error)
"""


def _as_nobody(tree: Path) -> str:
    result = subprocess.run(
        [sys.executable, "-c", _AS_NOBODY, str(tree)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout


@pytest.fixture
def nobodys() -> Iterator[Path]:
    """A folder that another user owns and reaches: pytest's own are closed to others."""
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, 65534, 65534)
        yield Path(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_folders_without_permission_go_at_any_depth(nobodys: Path):
    script = (
        "mkdir -p t/a/b/c t/m; touch t/m/f t/a/b/c/f; chmod 0 t/a/b/c t/a/b t/a; chmod 555 t/m"
    )
    subprocess.run(["sh", "-c", script], cwd=nobodys, check=True, user=65534)
    assert _as_nobody(nobodys / "t") == ""
    assert not (nobodys / "t").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_another_user_s_file_is_named(nobodys: Path):
    (nobodys / "t/in").mkdir(parents=True)
    (nobodys / "t/in/file").touch()
    os.chown(nobodys / "t", 65534, 65534)
    assert _as_nobody(nobodys / "t").startswith(f"cannot remove {nobodys}/t/in/file: ")
    assert (nobodys / "t/in/file").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_a_file_or_link_in_another_user_s_folder_is_named(nobodys: Path):
    (nobodys / "t").mkdir()
    (nobodys / "t/file").touch()
    (nobodys / "t/link").symlink_to("/nowhere")
    for name in ("file", "link"):
        told = _as_nobody(nobodys / "t" / name)
        assert told.startswith(f"cannot remove {nobodys}/t/{name}: run the command as its owner")
