"""A control plane and a door in namespaces of their own, for tests: no node, so no pods.

`python engine_without_pods.py PROGRAMS STATE` runs until its standard input ends.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from pyroute2 import IPRoute

from localjuju.engine.door import Door
from localkube.controlplane.plane import ControlPlane
from localkube.host import namespaces


def main() -> int:
    """Runs inside the namespaces."""
    with IPRoute() as network:
        network.link("set", index=1, state="up")
        network.link("add", ifname="pods", kind="bridge")
        index = next(iter(network.link_lookup(ifname="pods")))
        network.addr("add", index=index, address="10.1.0.1", prefixlen=16)
        network.link("set", index=index, state="up")
    asyncio.run(_serve(Path(sys.argv[1]), Path(sys.argv[2])))
    return 0


async def _serve(programs: Path, state: Path) -> None:
    control_plane = ControlPlane(programs, state)
    door = Door(state / "door.sock")
    await control_plane.start()
    await control_plane.wait_ready(60)
    await door.start()
    (state / "ready").touch()
    await asyncio.to_thread(sys.stdin.buffer.read)
    await door.stop()
    await control_plane.stop()


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("needs root")
    namespaces.enter(main, "test", os.getppid())
