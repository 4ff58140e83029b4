"""What runs in the namespaces: control plane and node."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from pathlib import Path

from localkube.controlplane.plane import ControlPlane
from localkube.host import namespaces, paths, private
from localkube.host.cgroups import Groups
from localkube.host.errors import EngineError
from localkube.images.registry import Find
from localkube.node import limits, names
from localkube.node.node import Node
from localkube.node.programs import NodePrograms
from localkube.outer import READY

_API_SECONDS = 120.0
_log = logging.getLogger(__name__)


def main(
    programs: NodePrograms,
    state: Path,
    groups: Groups,
    find: Find,
    *,
    way_out: bool = False,
    upstream: bool = False,
) -> int:
    """Runs the cluster until SIGTERM; returns an exit code.

    Called in new namespaces.

    Args:
        programs: what it runs.
        state: everything the cluster keeps.
        groups: made, and empty.
        find: tells which images there are.
        way_out: as `Node` has it.
        upstream: as `Node` has it.
    """
    own = (Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parents[1])
    groups.enter()
    private.hide(state, [paths.cache(), *own])
    namespaces.use_resolver(names.OWN, state)
    control_plane = ControlPlane(programs.kubernetes, state)
    node = Node(
        programs,
        state,
        control_plane.kubeconfig,
        find,
        host_paths=limits.named(),
        way_out=way_out,
        upstream=upstream,
        bounded=groups.version != 0,
    )
    try:
        asyncio.run(_run(state, control_plane, node))
    except EngineError as error:
        _log.error("%s", error)
        return 1
    return 0


async def _run(state: Path, control_plane: ControlPlane, node: Node) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    begun = asyncio.create_task(_start(control_plane, node))
    stop = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({begun, stop}, return_when=asyncio.FIRST_COMPLETED)
        if begun.done():
            await begun
            (state / READY).touch()
            _log.info("ready")
            await stop
    finally:
        (state / READY).unlink(missing_ok=True)
        begun.cancel()
        await asyncio.wait({begun})
        await node.stop()
        await control_plane.stop()


async def _start(control_plane: ControlPlane, node: Node) -> None:
    await control_plane.start()
    await control_plane.wait_ready(_API_SECONDS)
    await node.start()
