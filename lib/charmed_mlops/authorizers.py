"""An authorizer: a charm's `src/authorizer.py`, run in a plain Python image beside its proxy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from charmed_mlops.checks import Http

if TYPE_CHECKING:
    from charmed_mlops.charm import ServiceCharm
    from charmed_mlops.workload import Workload

SCRIPT = "/tmp/authorizer.py"
REVIEWS = "/tmp/charmed_mlops/reviews.py"
"""The script imports it by the name that it has here: Python looks in the script's folder."""


def run(
    charm: ServiceCharm, workload: Workload, port: int, *, leaving: float, **flags: object
) -> None:
    """Have the authorizer run.

    Args:
        charm: whose script it is.
        workload: the service; its image has Python.
        port: where it answers, on loopback.
        leaving: seconds that it goes on after SIGTERM, for the proxy beside it.
        flags: further flags of the script, by name.

    Raises:
        Waiting, Blocked: as Workload.run does.
    """
    given = {"port": port, **flags, "leaving": leaving}
    words = [f"--{name}={value}" for name, value in given.items()]
    workload.run(
        command=" ".join(["/usr/local/bin/python3", SCRIPT, *words]),
        files={
            SCRIPT: (charm.charm_dir / "src" / "authorizer.py").read_text(),
            REVIEWS: (Path(__file__).parent / "reviews.py").read_text(),
        },
        check=Http(port, "/healthz"),
        alive=Http(port, "/healthz"),
        kill_delay=leaving + 4,
    )
