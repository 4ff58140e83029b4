"""Debian packages from an archive of a folder: what is unpacked, and what is said of it."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
from pathlib import Path

import pytest

from localkube.building import debian
from localkube.host.progress import Progress

pytestmark = pytest.mark.skipif(shutil.which("apt-get") is None, reason="no Debian")

_NEEDS = {"one": "two, three", "two": "", "three": ""}


@pytest.fixture(autouse=True)
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The only archive is one with a package `one`, which needs `two` and `three`."""
    folder = tmp_path / "archive"
    described = ""
    for name, needs in _NEEDS.items():
        tree = tmp_path / "trees" / name
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "bin").mkdir()
        (tree / "bin" / name).write_text(name)
        control = f"Package: {name}\nVersion: 1.5-2\nArchitecture: all\nMaintainer: m <m@m.m>\n"
        control += f"Depends: {needs}\n" if needs else ""
        control += f"Description: {name}\n"
        (tree / "DEBIAN" / "control").write_text(control)
        # Scripts are never run.
        (tree / "DEBIAN" / "postinst").write_text("#!/bin/sh\ntouch /no-such-folder/file\n")
        (tree / "DEBIAN" / "postinst").chmod(0o755)
        folder.mkdir(exist_ok=True)
        file = folder / f"{name}_1.5-2_all.deb"
        subprocess.run(["dpkg-deb", "--build", tree, file], check=True, capture_output=True)
        content = file.read_bytes()
        described += f"{control}Filename: ./{file.name}\nSize: {len(content)}\n"
        described += f"SHA256: {hashlib.sha256(content).hexdigest()}\n\n"
    (folder / "Packages").write_text(described)
    (tmp_path / "sources.list").write_text(f"deb [trusted=yes] copy:{folder} ./\n")
    (tmp_path / "none").mkdir()
    (tmp_path / "apt.conf").write_text(
        f'Dir::Etc::sourcelist "{tmp_path}/sources.list";\n'
        f'Dir::Etc::sourceparts "{tmp_path}/none";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    monkeypatch.setenv("CHARMED_MLOPS_CACHE", str(tmp_path / "cache"))


def _unpack(tmp_path: Path, installed: str, version: str = "") -> Path:
    (tmp_path / "status").write_text(installed)
    root = tmp_path / "made" / "root"
    root.mkdir(parents=True)
    with Progress(io.StringIO()).step("one") as step:
        debian.unpack(["one"], root, step, version=version, installed=tmp_path / "status")
    return root


def _names(root: Path) -> list[str]:
    return sorted(file.name for file in (root / "bin").iterdir())


def test_a_package_comes_with_all_that_it_needs(tmp_path: Path):
    root = _unpack(tmp_path, "")
    assert _names(root) == ["one", "three", "two"]
    assert [entry.name for entry in root.parent.iterdir()] == ["root"]


def test_what_is_installed_below_is_left_out_and_counted_in(tmp_path: Path):
    two = "Package: two\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n"
    two += "Maintainer: m <m@m.m>\nDescription: two\n\n"
    root = _unpack(tmp_path, two)
    assert _names(root) == ["one", "three"]
    said = subprocess.run(
        [
            "dpkg-query", "--admindir", root / "var" / "lib" / "dpkg", "--show",
            "--showformat", "${Package} ${Version} ${Status}\n",
        ],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout.splitlines() == [
        "one 1.5-2 install ok installed",
        "three 1.5-2 install ok installed",
        "two 1 install ok installed",
    ]


def test_one_of_several_versions_is_taken(tmp_path: Path):
    assert "one" in _names(_unpack(tmp_path, "", version="1.4 or 1.5"))


def test_another_version_is_refused(tmp_path: Path):
    with pytest.raises(debian.OtherVersionError, match="this system's one is"):
        _unpack(tmp_path, "", version="1.6 or 1.7")
