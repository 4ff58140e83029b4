"""A cluster that has the catalogue's images."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from localjuju.images import layers
from localkube.host.progress import Progress
from localkube.images.image import Image
from localkube.node.programs import ensure
from localkube.tests import clusters


def find(reference: str) -> Image | None:
    """The images of the node's own tests, and those of the catalogue."""
    return clusters.find(reference) or layers.find(reference)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[clusters.Cluster]:
    """A cluster with a pod `one`."""
    state = tmp_path_factory.mktemp("state")
    found = clusters.with_a_pod(ensure(Progress()), state, f"--images={__name__}:find")
    yield found
    assert found.end(signal.SIGTERM) == 0
