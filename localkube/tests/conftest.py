"""What the node's tests share."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from localjuju.progress import Progress
from localkube.programs import NodePrograms, ensure
from localkube.tests.clusters import Cluster, make_image, with_a_pod


def pytest_configure(config: pytest.Config) -> None:
    """Registers the marker of tests that start a whole cluster."""
    config.addinivalue_line("markers", "localkube: starts a real node; tox -e localkube")


@pytest.fixture(scope="session")
def programs() -> NodePrograms:
    """The node's programs, made where they are not there yet."""
    return ensure(Progress())


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image with a shell."""
    file = tmp_path_factory.mktemp("image") / "busybox.tar"
    make_image(file)
    return file


@pytest.fixture(scope="session")
def cluster(
    programs: NodePrograms, image: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """A cluster with a pod that runs."""
    found = with_a_pod(programs, image, tmp_path_factory.mktemp("state"))
    yield found
    assert found.end(signal.SIGTERM) == 0
