"""Pebble's tests ask the program itself, through its socket."""

from __future__ import annotations

from pathlib import Path

import pytest

from localjuju.inpod.tests.program import build


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pebble, as pods run it."""
    return build(tmp_path_factory.mktemp("built") / "pebble")
