"""A charm's authorizer runs in an image that has nothing but Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from charmed_mlops.authorizers import REVIEWS, SCRIPT
from charmed_mlops.testing import ROOT, loaded

FOLDERS = sorted(path.parents[1] for path in (ROOT / "charms").glob("*/src/authorizer.py"))


@pytest.mark.parametrize("folder", FOLDERS, ids=[each.name for each in FOLDERS])
def test_what_the_charm_pushes_is_all_that_it_needs(folder: Path, tmp_path: Path):
    with loaded(folder) as charm:
        out = charm.settled()
        for path in (SCRIPT, REVIEWS):
            file = tmp_path / path.removeprefix("/tmp/")
            file.parent.mkdir(exist_ok=True)
            file.write_text(charm.file(out, path, "authorizer"))
    script = tmp_path / Path(SCRIPT).name
    asked = [sys.executable, "-E", "-s", "-S", str(script), "--help"]  # no site's packages
    answer = subprocess.run(asked, capture_output=True, text=True, env={}, timeout=30)
    assert answer.returncode == 0, answer.stderr
    assert "--leaving" in answer.stdout
