"""Finds the Python that runs charms and Python images: 3.12, as ubuntu@24.04 has it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

VERSION = "3.12"  # of the base, ubuntu@24.04


@dataclass(frozen=True)
class Interpreter:
    """A Python interpreter.

    Attributes:
        program: its real path, of no virtual environment.
        version: such as `3.12`.
    """

    program: Path
    version: str


@cache
def find(version: str = VERSION) -> Interpreter:
    """This version wherever it is found (system, pyenv, uv), else the running one's own."""
    for candidate in _candidates(version):
        if _version(candidate) == version:
            return Interpreter(candidate.resolve(), version)
    major, minor = sys.version_info[:2]
    own = Path(sys.base_prefix) / "bin" / f"python{major}.{minor}"
    return Interpreter(own.resolve(), f"{major}.{minor}")


def prefix(program: Path) -> Path:
    """The folder of the installation: what has to be visible for the program to run."""
    return program.resolve().parent.parent


def _candidates(version: str) -> Iterator[Path]:
    """Pythons of that version, as real paths: a shim would not work where its tool is not."""
    name = f"python{version}"
    if f"{sys.version_info[0]}.{sys.version_info[1]}" == version:
        yield Path(sys.base_prefix) / "bin" / name
    for folder in ("/usr/bin", "/usr/local/bin"):
        yield Path(folder) / name
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    managed = Path(
        os.environ.get("UV_PYTHON_INSTALL_DIR") or Path.home() / ".local/share/uv/python"
    )
    for folder, pattern in (
        (pyenv / "versions", f"{version}*/bin/{name}"),
        (managed, f"cpython-{version}*/bin/{name}"),
    ):
        yield from sorted(folder.glob(pattern), reverse=True)


def _version(program: Path) -> str | None:
    """Its version, asked of the program itself; None where it does not run."""
    if not os.access(program, os.X_OK):
        return None
    try:
        result = subprocess.run(
            [str(program), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None
