"""What of a package's files is in an image, and where."""

from __future__ import annotations

from pathlib import Path

import pytest

from localjuju.images import base


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree as packages leave it that know /bin and /lib as folders, and with documentation."""
    for name in ("bin/tool", "usr/bin/other", "lib/triplet/a.so", "usr/lib/triplet/b.so",
                 "usr/share/doc/tool/copyright", "usr/share/tool/data"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "bin" / "link").symlink_to("tool")
    base.tidy(tmp_path)
    return tmp_path


def test_folders_beside_usr_become_links_into_it(tree: Path):
    for name in ("bin", "lib"):
        assert (tree / name).readlink() == Path("usr", name)
    assert (tree / "usr/bin/tool").read_text() == "bin/tool"
    assert (tree / "usr/bin/link").readlink() == Path("tool")
    assert {file.name for file in (tree / "usr/lib/triplet").iterdir()} == {"a.so", "b.so"}


def test_what_is_so_already_stays_so(tree: Path):
    base.tidy(tree)
    assert (tree / "bin").readlink() == Path("usr/bin")
    assert (tree / "bin/other").read_text() == "usr/bin/other"


def test_documentation_is_left_out(tree: Path):
    assert [entry.name for entry in (tree / "usr/share").iterdir()] == ["tool"]
