"""The Python environment of a data scientist's client: what the tutorial and the tests train in.

Its scikit-learn and numpy are those of the model server, so that a model means the same there.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from localjuju import pythons
from localkube.building import builds
from localkube.host import paths
from localkube.host.progress import Progress

_LOCK = Path(__file__).parent / "locks" / "training.txt"


def python(progress: Progress | None = None) -> Path:
    """The environment's Python; made first where it is not in the cache.

    Raises:
        EngineError: it cannot be made; names the log.
    """
    base = pythons.find()
    key = hashlib.sha256(f"{base.program}{_LOCK.read_text()}".encode()).hexdigest()[:12]
    folder = paths.cache() / "images" / f"training-{key}"

    def make(partial: Path) -> None:
        uv = (sys.executable, "-m", "uv")
        with (progress or Progress()).step("Python environment for training"):
            builds.run(
                [*uv, "venv", "-q", "--relocatable", "--no-project", "--python", base.program,
                 partial / "venv"],
                "training",
            )  # fmt: skip
            builds.run(
                [*uv, "pip", "install", "--compile-bytecode", "--python",
                 partial / "venv" / "bin" / "python", "-r", _LOCK],
                "training",
            )  # fmt: skip

    return builds.make_once(folder, make) / "venv" / "bin" / "python"


if __name__ == "__main__":
    print(python())
