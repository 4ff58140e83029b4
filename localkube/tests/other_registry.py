"""`python -m localkube.tests.other_registry ADDRESS FOLDER`: a registry with one image of tests.

It is one of the cluster's own kind, asked by another name, and listens to another address.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from localkube.images import registry
from localkube.images.image import Image
from localkube.tests.clusters import TWO_LAYERS, find

NAME = "registry.example.org/team/elsewhere"


def _find(reference: str) -> Image | None:
    # A mirror is told whom it is asked in place of.
    return find(TWO_LAYERS[0]) if reference.startswith(NAME) else None


if __name__ == "__main__":
    registry.HOST = sys.argv[1]
    registry.Registry(_find, Path(sys.argv[2])).start()
    signal.pause()
