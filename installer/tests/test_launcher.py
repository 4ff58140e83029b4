"""`mlops` and the making of `.venv`, in copies of the project."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from installer import bootstrap, run_tests
from installer.pack import ROOT


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project without charms, its `.venv` being the one that runs this test."""
    root = tmp_path / "copy"
    root.mkdir()
    for name in ("mlops", "uv.lock", "pyproject.toml"):
        shutil.copy2(ROOT / name, root / name)
    for name in ("installer", "localjuju", "localkube"):
        (root / name).symlink_to(ROOT / name)
    (root / ".venv").mkdir()
    (root / ".venv/bin").symlink_to(Path(sys.prefix) / "bin")
    (root / ".venv/mlops.stamp").write_text(bootstrap.stamp(root) + "\n")
    return root


@pytest.fixture
def bare_copy(copy: Path) -> Path:
    """A copy that has to make its environment, for which it has nothing but the bootstrap."""
    (copy / ".venv/bin").unlink()
    shutil.rmtree(copy / ".venv")
    (copy / "installer").unlink()
    (copy / "installer").mkdir()
    shutil.copy2(ROOT / "installer/bootstrap.py", copy / "installer/bootstrap.py")
    return copy


def _run(root: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    settings = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(root / "mlops"), *arguments],
        cwd="/",
        env={**settings, **environment},
        capture_output=True,
        text=True,
    )


def test_warm_start_loads_nothing_heavy_from_any_folder(copy: Path):
    result = subprocess.run(
        [str(copy / "mlops"), "help"],
        env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"},
        capture_output=True,
        text=True,
        cwd="/",
    )
    assert result.returncode == 0, result.stderr
    assert "usage: ./mlops COMMAND" in result.stdout
    loaded = [line.rpartition("|")[2].strip() for line in result.stderr.splitlines()]
    # what the interpreter loads for itself, such as the site's own, comes first
    ours = set(loaded[loaded.index("installer") :])
    assert "localkube.host.errors" in ours
    assert not ours & {"argparse", "asyncio", "json", "rich", "subprocess", "tempfile", "yaml"}


def test_unknown_command(copy: Path):
    result = _run(copy, "nothing")
    assert result.returncode == 2
    assert result.stderr == "ERROR no command nothing: ./mlops help lists them\n"


@pytest.mark.parametrize("word", ["version", "--version"])
def test_it_tells_its_version(copy: Path, word: str):
    result = _run(copy, word)
    assert f'\nversion = "{result.stdout.strip()}"\n' in (ROOT / "pyproject.toml").read_text()


def test_help_of_the_tests_names_every_tier(capsys: pytest.CaptureFixture[str]):
    assert run_tests.main(["--help"]) == 0
    said = capsys.readouterr().out
    tiers = re.findall(r"^\[testenv:(\w+)\]", (ROOT / "tox.ini").read_text(), re.MULTILINE)
    assert len(tiers) >= 6
    assert [each for each in tiers if f"\n  {each} " not in said] == []


def test_works_through_a_link(copy: Path, tmp_path: Path):
    link = tmp_path / "link"
    link.symlink_to(copy / "mlops")
    result = subprocess.run([str(link), "help"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_without_python_it_names_the_package(copy: Path, tmp_path: Path):
    (copy / ".venv/mlops.stamp").unlink()
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "readlink", "sha256sum"):
        (programs / name).symlink_to(str(shutil.which(name)))
    result = _run(copy, "help", PATH=str(programs))
    assert result.returncode == 1
    assert "apt-get install python3 python3-venv" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_without_venv_it_names_the_package(bare_copy: Path, tmp_path: Path):
    # as Debian's python3 without python3-venv: the module is not there
    (tmp_path / "ensurepip.py").write_text("raise ImportError\n")
    cache = tmp_path / "cache"
    result = _run(bare_copy, "help", PYTHONPATH=str(tmp_path), CHARMED_MLOPS_CACHE=str(cache))
    assert result.returncode == 1
    assert re.match(r"ERROR .*: apt-get install python3\.\d+-venv\n$", result.stderr)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
def test_full_disk_is_one_line(bare_copy: Path, tmp_path: Path):
    cache = tmp_path / "cache"
    cache.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", cache], check=True)
    try:
        result = _run(bare_copy, "help", CHARMED_MLOPS_CACHE=str(cache))
    finally:
        subprocess.run(["umount", cache], check=True)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("ERROR No space left on device: ")
    assert result.stderr.endswith("name a folder on another disk with CHARMED_MLOPS_CACHE\n")


def test_uv_is_the_one_that_the_lock_pins():
    requirement = bootstrap.uv_requirement((ROOT / "uv.lock").read_text())
    assert requirement.startswith("uv==")
    assert requirement.count("--hash=sha256:") > 2


def test_lock_without_uv_is_refused():
    with pytest.raises(bootstrap.BootstrapError, match="does not pin uv"):
        bootstrap.uv_requirement("version = 1\n")


def test_a_failed_program_tells_its_last_words(tmp_path: Path):
    script = "import sys; sys.exit('first\\nno space left on device')"
    with pytest.raises(bootstrap.BootstrapError) as caught:
        bootstrap.run([sys.executable, "-c", script], tmp_path / "log", "uv sync")
    assert str(caught.value).startswith("uv sync failed: no space left on device (log: ")


def test_stamp_changes_with_the_lock_and_the_place(copy: Path, tmp_path: Path):
    before = bootstrap.stamp(copy)
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy2(copy / "uv.lock", other / "uv.lock")
    assert bootstrap.stamp(other) != before
    with (copy / "uv.lock").open("a") as lock:
        lock.write("\n")
    assert bootstrap.stamp(copy) != before


def test_a_copy_of_the_launcher_names_the_cure(tmp_path: Path):
    copy = tmp_path / "mlops"
    shutil.copy2(ROOT / "mlops", copy)
    result = subprocess.run([copy, "status"], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (1, "")
    cure = "run the project's own ./mlops, or make a symlink to it"
    assert result.stderr == f"ERROR uv.lock is not beside {copy}: {cure}\n"
