"""What the node's tests share."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Registers the marker of tests that start a whole cluster."""
    config.addinivalue_line("markers", "localkube: starts a real node; tox -e localkube")
