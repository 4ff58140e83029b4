"""Fixtures of the fence; see callers.py."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from callers import Fence, real  # pyright: ignore[reportMissingImports]


@pytest.fixture(scope="module")
def all_real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fence]:
    """Started once for a file of tests."""
    with real(tmp_path_factory.mktemp("fence")) as found:
        yield found


@pytest.fixture
def fence(all_real: Fence) -> Fence:
    """The fence, with the pods as they are at first."""
    all_real.reset()
    return all_real
