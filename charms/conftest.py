"""Fixtures of all charms' unit tests; see charmed_mlops.testing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from charmed_mlops import kubernetes
from charmed_mlops.testing import Charm, loaded
from charms.kubernetes_double import Api, served


@pytest.fixture
def charm(request: pytest.FixtureRequest) -> Iterator[Charm]:
    """The charm whose folder the test file lies in: charms/NAME/tests/unit/test_….py."""
    with loaded(request.path.parents[2]) as found:
        yield found


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """A Kubernetes API that actions call in place of the cluster's."""
    found = Api()
    with served(found, tmp_path) as (port, account):
        monkeypatch.setattr(kubernetes, "_ACCOUNT", account)
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(port))
        yield found
