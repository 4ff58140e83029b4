"""What the node's tests share."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from localkube.host.progress import Progress
from localkube.node import egress
from localkube.node.programs import NodePrograms, ensure
from localkube.tests.clusters import Cluster, with_a_pod


@pytest.fixture(scope="session")
def programs() -> NodePrograms:
    """The node's programs, made where they are not there yet."""
    return ensure(Progress())


@pytest.fixture(scope="session")
def way_out() -> None:
    """The program of the way out is there: a cluster without a network cannot fetch it."""
    egress.ensure(Progress())


@pytest.fixture
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a cluster's state folder may come to be: its path is short, which a cluster needs."""
    return tmp_path_factory.mktemp("cluster") / "state"


@pytest.fixture(scope="session")
def cluster(programs: NodePrograms, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with a pod that runs."""
    found = with_a_pod(programs, tmp_path_factory.mktemp("state"))
    yield found
    assert found.end(signal.SIGTERM) == 0
