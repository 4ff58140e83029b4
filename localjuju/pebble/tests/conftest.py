"""The tests of the API run against both programs: the one in Python and the one in Go."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program in Go, built from localjuju/inpod."""
    if shutil.which("go") is None:
        pytest.skip("needs Go")
    binary = tmp_path_factory.mktemp("built") / "pebble"
    subprocess.run(
        ["go", "build", "-o", binary, "."], cwd=_REPOSITORY / "localjuju/inpod", check=True,
        env={**os.environ, "CGO_ENABLED": "0"},
    )  # fmt: skip
    return binary


@pytest.fixture(params=["python", "go"])
def program(request: pytest.FixtureRequest) -> list[str]:
    """What to put before `run`."""
    if request.param == "python":
        return [sys.executable, "-m", "localjuju.pebble"]
    return [str(request.getfixturevalue("built"))]
