"""Takes from a page of the documentation what it tells the reader to run, and runs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_LIMIT_SECONDS = 900


def block(page: Path, heading: str, language: str = "bash") -> str:
    """The first fenced block of a language below a heading, before the next heading."""
    _, found, rest = page.read_text().partition(f"\n## {heading}\n")
    assert found, f"{page.name} has no section {heading!r}"
    section = rest.partition("\n## ")[0]
    fenced = re.search(rf"^```{language}\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    assert fenced, f"section {heading!r} of {page.name} has no block of {language}"
    return fenced[1]


def run(commands: str, **variables: str) -> str:
    """Runs commands as a reader does, by Bash in the project's folder; what they print.

    Args:
        commands: what the page shows; `./mlops` is run by the Python of the tests.
        variables: those that the page has the reader set.
    """
    script = commands.replace("./mlops ", '"$PYTHON" -m installer ')
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=ROOT,
        env=os.environ | variables | {"PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
        timeout=_LIMIT_SECONDS,
    )
    if done.returncode:
        pytest.fail(f"{commands}\n{done.stdout}\n{done.stderr}")
    return done.stdout
