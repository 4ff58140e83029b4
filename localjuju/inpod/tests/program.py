"""Builds what the tests start."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from localkube.building import golang

MODULE = Path(__file__).parents[1]


def build(program: Path) -> Path:
    """Makes the static program of pods; what it does depends on the name that it gets."""
    go_command("build", "-o", program, ".")
    return program


def go_command(*arguments: str | Path) -> None:
    """Runs Go in the module's folder.

    Raises:
        AssertionError: it failed; says what it printed.
    """
    done = subprocess.run(
        [golang.go(), *arguments], cwd=MODULE, env={**os.environ, "CGO_ENABLED": "0"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
