"""Fixtures of the fence; see fences.py."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from fences import Fence, played, real  # pyright: ignore[reportMissingImports]


@pytest.fixture(scope="module")
def all_real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fence]:
    """Started once for a file of tests."""
    with real(tmp_path_factory.mktemp("fence")) as found:
        yield found


@pytest.fixture
def whole(all_real: Fence) -> Fence:
    """All that is real, with the rights as they are at first."""
    all_real.reviews.reset()
    return all_real


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Fence]:
    """The authorizer alone."""
    with played(tmp_path) as found:
        yield found


@pytest.fixture
def caching(tmp_path: Path) -> Iterator[Fence]:
    """The authorizer alone, which keeps its answers."""
    with played(tmp_path, ttl=60) as found:
        yield found


@pytest.fixture(params=["alone", "whole"])
def fence(request: pytest.FixtureRequest) -> Fence:
    """One after the other."""
    return request.getfixturevalue(request.param)
