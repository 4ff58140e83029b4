"""What runs in the namespaces: control plane, node, model and door, started in this order."""

from __future__ import annotations

import asyncio
import logging
import signal
from pathlib import Path
from typing import Any

from localjuju.engine import nodes
from localjuju.engine.door import Door
from localjuju.model.controller import ModelController
from localkube.controlplane import ControlPlane
from localkube.host import system
from localkube.host.errors import EngineError

_READY_SECONDS = 120.0
_log = logging.getLogger(__name__)


def main(
    programs: Path,
    state: Path,
    images_socket: Path,
    *,
    leads_out: bool = False,
    upstream: bool = False,
) -> int:
    """Runs the engine until SIGTERM; returns an exit code.

    Called in the new namespaces, before any thread or event loop exists: the node forks the
    parent of all containers first.

    Args:
        programs: the folder that holds etcd and the Kubernetes programs.
        state: everything the engine keeps; `paths.state()`.
        images_socket: where the outer process answers requests for images.
        leads_out: whether pods reach what this machine reaches.
        upstream: whether images that the catalogue has not come from their registries.
    """
    system.share_processors(system.NICE_OF_ENGINE)
    node = nodes.enter(state, programs, images_socket, leads_out=leads_out, upstream=upstream)
    try:
        asyncio.run(_run(programs, state, node))
    except EngineError as error:
        _log.error("%s", error)
        return 1
    return 0


async def _run(programs: Path, state: Path, node: Any) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    control_plane = ControlPlane(programs, state)
    model = ModelController(state, control_plane.kubeconfig)
    door = Door(state / "door.sock")
    parts = (control_plane, node, door, model)
    started = []
    try:
        for part in parts:
            if stopping.is_set():
                break
            started.append(part)
            await part.start()
            if part is control_plane:
                await control_plane.wait_ready(_READY_SECONDS)
        _log.info("ready")
        await stopping.wait()
    finally:
        for part in reversed(started):
            await part.stop()
