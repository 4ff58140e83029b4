"""Images from Go modules and wheels: what the catalogue's entries say reaches the build."""

from __future__ import annotations

import io
import json
import subprocess
import zipfile
from pathlib import Path

import pytest

from localjuju.images import makers
from localjuju.images.entries import GoEntry, PypiEntry, PypiFilesEntry
from localkube.building import golang
from localkube.host.errors import EngineError
from localkube.host.progress import Progress

_MODULE = "example.com/signals"
_FILES = {
    "go.mod": f"module {_MODULE}\n\ngo 1.25\n",
    "main.go": "package main\n\nfunc main() { println(name) }\n",
    # by its name, Go reads it on macOS only; the project has a link of Linux' name to it
    "signal_darwin.go": 'package main\n\nconst name = "SIGURG"\n',
}


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module proxy on disk with one module; returns the module's checksum."""
    folder = tmp_path / "proxy" / _MODULE / "@v"
    folder.mkdir(parents=True)
    (folder / "list").write_text("v1.0.0\n")
    (folder / "v1.0.0.info").write_text('{"Version": "v1.0.0"}')
    (folder / "v1.0.0.mod").write_text(_FILES["go.mod"])
    with zipfile.ZipFile(folder / "v1.0.0.zip", "w") as archive:
        for name, text in _FILES.items():
            archive.writestr(f"{_MODULE}@v1.0.0/{name}", text)
    monkeypatch.setenv("CHARMED_MLOPS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GOPROXY", f"file://{tmp_path / 'proxy'}")
    monkeypatch.setenv("GOSUMDB", "off")
    monkeypatch.setenv("GOMODCACHE", str(tmp_path / "mod"))
    monkeypatch.setenv("GOFLAGS", "-modcacherw")  # else pytest cannot remove it
    command = [golang.go(), "mod", "download", "-json", f"{_MODULE}@v1.0.0"]
    said = subprocess.run(command, check=True, capture_output=True, cwd="/")
    return json.loads(said.stdout)["Sum"]


def _made(entry: GoEntry | PypiEntry | PypiFilesEntry, folder: Path) -> Path:
    folder.mkdir()
    makers.make(entry, folder, folder, Progress(io.StringIO()))
    return folder / "rootfs"


def _entry(checksum: str, links: dict[str, str]) -> GoEntry:
    return GoEntry(
        reference="example.com/signals:1",
        kind="go",
        module=f"{_MODULE}@v1.0.0",
        sum=checksum,
        programs={".": "/usr/bin/signals"},
        files={"katib_ui.html": "/app/page.html"},
        links=links,
    )


def test_a_link_that_a_module_s_archive_cannot_hold_is_restored(module: str, tmp_path: Path):
    entry = _entry(module, {"signal_linux.go": "signal_darwin.go"})
    rootfs = _made(entry, tmp_path / "image")
    said = subprocess.run([rootfs / "usr/bin/signals"], capture_output=True, text=True, check=True)
    assert said.stderr == "SIGURG\n"
    assert "<title>" in (rootfs / "app/page.html").read_text()
    assert not (tmp_path / "image" / "module").exists()
    assert not (tmp_path / "mod" / f"{_MODULE}@v1.0.0" / "signal_linux.go").exists()


def test_without_the_link_the_build_fails_and_names_its_log(module: str, tmp_path: Path):
    with pytest.raises(EngineError, match=r"signals@v1\.0\.0.*log"):
        _made(_entry(module, {}), tmp_path / "image")


def test_another_content_than_the_catalogue_s_is_refused(module: str, tmp_path: Path):
    with pytest.raises(EngineError, match="do not use it before you know why"):
        _made(_entry("h1:another", {}), tmp_path / "image")


def test_a_python_version_that_is_not_here_is_named_with_its_cure(tmp_path: Path):
    entry = PypiEntry(
        reference="example.com/old:1", kind="pypi", lock="python.txt", programs={}, python="2.1"
    )
    with pytest.raises(EngineError, match=r"Python 2\.1.*install python2\.1.*LOCALJUJU_IMAGES"):
        _made(entry, tmp_path / "image")


def _wheel(folder: Path) -> Path:
    """A wheel with a program that is no Python, and a library of it."""
    file = folder / "tool-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        for name, text, mode in (
            ("tool/bin/run", "#!/bin/sh\n", 0o755),
            ("tool/lib/deep/one.jar", "a jar", 0o644),
            ("tool/__init__.py", "", 0o644),
            (
                "tool-1.0.dist-info/METADATA",
                "Metadata-Version: 2.1\nName: tool\nVersion: 1.0\n",
                0,
            ),
            ("tool-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n", 0),
            ("tool-1.0.dist-info/RECORD", "", 0),
        ):
            member = zipfile.ZipInfo(name)
            member.external_attr = mode << 16
            archive.writestr(member, text)
    return file


def test_folders_that_a_python_package_brings_are_an_image_s_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CHARMED_MLOPS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    lock = tmp_path / "lock.txt"
    lock.write_text(f"tool @ {_wheel(tmp_path).as_uri()}\n")
    entry = PypiFilesEntry(
        reference="example.com/tool:1",
        kind="pypi-files",
        lock=str(lock),
        folders={"tool/bin": "/opt/tool/bin", "tool/lib": "/opt/tool/lib"},
        packages=(),
        files={"spark_entrypoint.sh": "/opt/entrypoint.sh"},
        links={"/opt/java/openjdk": "/usr/lib/jvm/default-java"},
    )
    rootfs = _made(entry, tmp_path / "image")
    assert (rootfs / "opt/tool/bin/run").stat().st_mode & 0o111
    assert (rootfs / "opt/tool/lib/deep/one.jar").read_text() == "a jar"
    assert (rootfs / "opt/entrypoint.sh").stat().st_mode & 0o111
    assert (rootfs / "opt/java/openjdk").readlink() == Path("/usr/lib/jvm/default-java")
    assert [each.name for each in (tmp_path / "image").iterdir()] == ["rootfs"]
