"""Fixtures of all charms' unit tests; see charmed_mlops.testing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from charmed_mlops import kubernetes
from charmed_mlops.testing import Charm, loaded
from charms import kubernetes_server
from charms.kubernetes_double import Api, served


def pytest_configure(config: pytest.Config) -> None:
    """Registers the marker of tests that need built Kubernetes programs."""
    config.addinivalue_line("markers", "engine: needs kube-apiserver and etcd, built once by `up`")


@pytest.fixture(scope="session")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Of the administrator of a real API server."""
    with kubernetes_server.started(tmp_path_factory.mktemp("api")) as found:
        yield found


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
