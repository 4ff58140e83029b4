"""Fixtures of all charms' unit tests; see charmed_mlops.testing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from charmed_mlops.testing import Charm, loaded


@pytest.fixture
def charm(request: pytest.FixtureRequest) -> Iterator[Charm]:
    """The charm whose folder the test file lies in: charms/NAME/tests/unit/test_….py."""
    folder = request.path.parents[2]
    with loaded(folder) as charm_type:
        yield Charm(folder, charm_type)
