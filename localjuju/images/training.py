"""The Python environments of a data scientist's clients: what the tutorial and the tests run in.

The scikit-learn and numpy of `training` are those of the model server, so that a model means the
same there.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from localjuju import pythons
from localkube.building import builds
from localkube.host import paths
from localkube.host.progress import Progress

_LOCKS = Path(__file__).parent / "locks"


def python(progress: Progress | None = None, name: str = "training") -> Path:
    """The environment's Python; made first where it is not in the cache.

    Args:
        progress: where its making is shown.
        name: of the lock: `training`, or `model-registry-client` with upstream's client.

    Raises:
        EngineError: it cannot be made; names the log.
    """
    base = pythons.find()
    lock = _LOCKS / f"{name}.txt"
    key = hashlib.sha256(f"{base.program}{lock.read_text()}".encode()).hexdigest()[:12]
    folder = paths.cache() / "images" / f"{name}-{key}"

    def make(partial: Path) -> None:
        uv = (sys.executable, "-m", "uv")
        with (progress or Progress()).step(f"Python environment for {name}"):
            builds.run(
                [*uv, "venv", "-q", "--relocatable", "--no-project", "--python", base.program,
                 partial / "venv"],
                name,
            )  # fmt: skip
            builds.run(
                [*uv, "pip", "install", "--compile-bytecode", "--python",
                 partial / "venv" / "bin" / "python", "-r", lock],
                name,
            )  # fmt: skip

    return builds.make_once(folder, make) / "venv" / "bin" / "python"


if __name__ == "__main__":
    print(python())
