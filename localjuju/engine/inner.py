"""What runs in the namespaces: control plane, node, door and model, started in this order."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from functools import partial
from pathlib import Path

from localjuju.engine import limits
from localjuju.engine.door import Door
from localjuju.engine.names import DOOR
from localjuju.model.controller import ModelController
from localkube.controlplane.plane import ControlPlane
from localkube.host import namespaces, paths, private
from localkube.host.errors import EngineError
from localkube.host.progress import Progress
from localkube.images import finder
from localkube.node import limits as node_limits
from localkube.node import names, programs
from localkube.node.node import Node

_READY_SECONDS = 120.0
_log = logging.getLogger(__name__)


def main(
    state: Path, *, leads_out: bool = False, upstream: bool = False, juju: bool = False
) -> int:
    """Runs the engine until SIGTERM; returns an exit code.

    Called in the new namespaces.

    Args:
        state: everything the engine keeps; `paths.state()`.
        leads_out: whether pods reach what this machine reaches.
        upstream: whether images that the catalogue has not come from their registries.
        juju: whether a real Juju is the cluster's; no model is run then.
    """
    made = programs.ensure(Progress())
    groups = limits.groups(state)
    node = Node(
        made,
        state,
        state / "kubeconfig",
        partial(finder.ask, state / finder.SOCKET),
        host_paths=(*(() if juju else _of_agents(state)), *node_limits.named()),
        way_out=leads_out,
        upstream=upstream,
        bounded=groups.version != 0,
    )
    groups.enter()
    own = (Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parents[2])
    private.hide(state, (paths.cache(), *own))
    namespaces.use_resolver(names.OWN, state)
    try:
        asyncio.run(_run(ControlPlane(made.kubernetes, state), node, state, juju))
    except EngineError as error:
        _log.error("%s", error)
        return 1
    return 0


def _of_agents(state: Path) -> tuple[Path, Path]:
    """The folders of this host that the pods of a model mount: the socket, the charms' Python."""
    return state / "agent", paths.cache() / "charm-venvs"


async def _run(control_plane: ControlPlane, node: Node, state: Path, juju: bool) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    door = Door(state / DOOR)
    model = () if juju else (ModelController(state, control_plane.kubeconfig),)
    parts = (control_plane, node, door, *model)
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
