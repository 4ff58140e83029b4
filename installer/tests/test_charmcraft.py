"""The quick packer against charmcraft itself; `tox -e pack` installs charmcraft and runs this.

charmcraft builds only on the charm's base. Elsewhere it is told that this is ubuntu@24.04 (the
library that asks honours UNIXCONFDIR) and, where python-apt is the system's alone, is lent that.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from installer import charm_python
from installer.pack import ROOT, pack
from localjuju import pythons

_BIN = Path(sys.executable).parent
_OS_RELEASE = 'NAME="Ubuntu"\nID=ubuntu\nVERSION_ID="24.04"\nVERSION_CODENAME=noble\n'
_NAMES = sorted(file.parent.name for file in ROOT.glob("charms/*/charmcraft.yaml"))

pytestmark = pytest.mark.skipif(
    not (_BIN / "charmcraft").exists(), reason="charmcraft is installed by tox -e pack alone"
)


def _lend_python_apt() -> None:
    """Makes the system's python-apt importable; craft-parts needs it."""
    site = next(Path(sys.prefix).glob("lib/python3.*/site-packages"))
    for source in Path("/usr/lib/python3/dist-packages").glob("apt*"):
        if source.name.startswith(("apt_", "apt.", "aptsources")) or source.name == "apt":
            target = site / source.name
            if not target.exists():
                target.symlink_to(source)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment for charmcraft: 3.12 and uv on the PATH, the base it asks for."""
    if os.geteuid() != 0:
        pytest.skip("charmcraft's destructive mode needs root")
    python = pythons.find()
    if python.version != pythons.VERSION:
        pytest.skip(f"needs python{pythons.VERSION}")
    _lend_python_apt()
    folder = tmp_path_factory.mktemp("conf")
    (folder / "os-release").write_text(_OS_RELEASE)
    return {
        "PATH": f"{_BIN}:{Path(charm_python.uv()).parent}:{python.program.parent}:/usr/bin:/bin",
        "UNIXCONFDIR": str(folder),
        "HOME": str(folder),
        "XDG_RUNTIME_DIR": str(folder),
        **{name: value for name, value in os.environ.items() if name[:3] in ("UV_", "SSL")},
    }


def _content(charm: Path) -> dict[str, bytes]:
    """Everything in a charm that is not an environment's own bookkeeping."""
    with zipfile.ZipFile(charm) as archive:
        return {
            name: archive.read(name)
            for name in archive.namelist()
            if not name.endswith(("/", ".pyc"))
            and (not name.startswith("venv/") or "/site-packages/" in name)
        }


@pytest.mark.parametrize("name", _NAMES)
def test_same_tree_as_charmcraft(name: str, programs: dict[str, str], tmp_path: Path):
    [quick] = pack([name], full=True)
    ours = _content(quick)
    project = tmp_path / name
    shutil.copytree(ROOT / "build" / name, project)
    result = subprocess.run(
        [str(_BIN / "charmcraft"), "pack", "--destructive-mode"],
        cwd=project, env=programs, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    theirs = _content(next(project.glob("*.charm")))
    generated = {"metadata.yaml", "config.yaml", "actions.yaml", "manifest.yaml"}
    mine, wanted = ({n for n in tree if "/site-packages/" not in n} for tree in (ours, theirs))
    assert mine == wanted
    for path in mine - generated:
        assert ours[path] == theirs[path], path
    for path in (mine & generated) - {"manifest.yaml"}:
        assert yaml.safe_load(ours[path]) == yaml.safe_load(theirs[path]), path
    manifests = [yaml.safe_load(tree["manifest.yaml"]) for tree in (ours, theirs)]
    for key in ("bases", "analysis"):
        assert manifests[0][key] == manifests[1][key]
    # the packages: the same files, but for what says who installed them
    packages = [
        {n for n in tree if "/site-packages/" in n and _is_package_file(n)}
        for tree in (ours, theirs)
    ]
    assert packages[0] == packages[1]


def _is_package_file(name: str) -> bool:
    own = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json")
    return name.rpartition("/")[2] not in own


@pytest.mark.parametrize("name", _NAMES)
def test_charmcraft_finds_no_fault(name: str, programs: dict[str, str]):
    [charm] = pack([name], full=True)
    result = subprocess.run(
        [str(_BIN / "charmcraft"), "analyse", str(charm)],
        env=programs,
        capture_output=True,
        text=True,
    )
    said = result.stdout + result.stderr
    # pip-check may warn: without an environment in the charm it looks at this machine's
    assert "[ERROR]" not in said, said
    assert "language: [PYTHON]" in said
    assert "entrypoint: [OK]" in said
