"""Fixtures of all charms' unit tests; see charmed_mlops.testing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from charmed_mlops.testing import Charm, loaded


@pytest.fixture
def charm(request: pytest.FixtureRequest) -> Iterator[Charm]:
    """The charm whose folder the test file lies in: charms/NAME/tests/unit/test_….py."""
    with loaded(request.path.parents[2]) as found:
        yield found
