"""The charm that CONTRIBUTING.md shows is a whole one, and small."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from charmed_mlops.testing import ROOT
from installer.pack import pack

NAME = "quota-guard"
LINES = 120


def shown() -> dict[str, str]:
    """The files that CONTRIBUTING.md shows: path in the charm's folder to text."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    section = text.partition("## The smallest charm, whole\n")[2].partition("\n## Tests\n")[0]
    return dict(re.findall(r"^`([\w./-]+)`:\n\n```\w+\n(.*?)^```$", section, re.M | re.S))


@pytest.fixture
def charms(tmp_path: Path) -> Path:
    """A folder of charms with that one alone."""
    folder = tmp_path / "charms" / NAME
    for path, text in shown().items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (folder / "icon.svg").write_bytes((ROOT / "charms/trainer/icon.svg").read_bytes())
    return folder.parent


def run_pytest(*arguments: object, charms: Path) -> None:
    """Runs pytest in a process of its own; all has to pass."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        *map(str, arguments),
    ]
    environment = {**os.environ, "CHARMS_UNDER_TEST": str(charms)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert re.search(r"^\d+ passed", done.stdout, re.M), done.stdout[-500:]


def test_its_files_have_at_most_120_lines():
    files = shown()
    assert {"charmcraft.yaml", "src/charm.py", "tests/unit/test_charm.py"} < set(files)
    code = {path: text for path, text in files.items() if path != "README.md"}
    lines = [line for text in code.values() for line in text.splitlines() if line.strip()]
    assert len(lines) <= LINES, len(lines)


def test_its_own_tests_pass(charms: Path):
    run_pytest(
        "-p", "charms.conftest", "--rootdir", charms, charms / NAME / "tests", charms=charms
    )


def test_it_is_all_that_a_charm_has_to_be(charms: Path):
    run_pytest(ROOT / "charms/tests/test_every_charm.py", charms=charms)


def test_it_is_packed(charms: Path):
    root = charms.parent
    for name in ("charmcraft.yaml", "lib", "installer", "LICENSE", "pyproject.toml", "uv.lock"):
        (root / name).symlink_to(ROOT / name)
    (packed,) = pack([NAME], root=root)
    assert packed.name == f"{NAME}.charm"


def test_it_has_the_style_of_the_others(charms: Path):
    command = [sys.executable, "-m", "ruff", "check", "--config", ROOT / "pyproject.toml", charms]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
