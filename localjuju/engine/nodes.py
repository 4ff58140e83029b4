"""Which node the engine runs: its own, or the real one of `localkube`."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localjuju.engine.choices import Choices
from localjuju.engine.pulls import PullServer, pull
from localjuju.images import Catalogue
from localkube import controlplane
from localkube.host import namespaces, ownership, paths
from localkube.host.errors import EngineError
from localkube.host.progress import Progress

if TYPE_CHECKING:
    from localkube.node.egress import Egress

VARIABLE = "LOCALJUJU_NODE"


def is_real() -> bool:
    """Whether the node is kubelet and containerd."""
    return os.environ.get(VARIABLE) == "localkube"


def groups(state: Path) -> Any:
    """The control groups of the real node.

    Raises:
        EngineError: this host has not the hierarchies that are needed.
    """
    from localkube.host.cgroups import Groups

    return Groups(f"charmed-mlops-{ownership.identity(state)}")


def check(state: Path) -> None:
    """What can be told before anything of an engine is made.

    Raises:
        EngineError: this machine or the state folder is not as the real node needs it.
    """
    if not is_real():
        return
    from localkube.host import surroundings

    surroundings.require_root()
    groups(state).check()
    refuse_earlier(state)


def refuse_earlier(state: Path) -> None:
    """Raises EngineError where the folder is of the node before kubelet and containerd."""
    if (state / "pods").exists() and not (state / "containerd.toml").exists():
        raise EngineError(
            f"{state} was made by an earlier version, whose volumes and pods are not taken over: "
            "save what you need with that version, then ./mlops down, which removes all of it"
        )


def ensure_programs(progress: Progress) -> Path:
    """The folder of the control plane's programs; all that run are made where they are missing.

    Raises:
        EngineError: a build failed; names the log.
    """
    if is_real():
        from localkube.node import programs

        return programs.ensure(progress).kubernetes
    return controlplane.ensure_programs(progress)


class _Finder:
    def __init__(self, state: Path, registries: Collection[str]):
        from localjuju.images import layers
        from localkube.images import finder

        find = partial(layers.find_beside, registries)
        self._finder = finder.Finder(state / "images.sock", find)

    async def start(self) -> None:
        self._finder.start()

    async def stop(self) -> None:
        await asyncio.to_thread(self._finder.stop)


def answering(made: Choices) -> list[str]:
    """The registries that images may come from: none where they are to be the catalogue's.

    Raises:
        EngineError: a setting is not as it has to be.
    """
    if not is_real() or made.images == "catalogue":
        return []
    from localjuju.images import layers
    from localkube.images import upstream

    return upstream.answering(layers.registries())


def images(
    state: Path, progress: Progress, registries: Collection[str] = ()
) -> PullServer | _Finder:
    """What answers in the outer process which images there are.

    Args:
        state: everything the engine keeps.
        progress: shows what is made.
        registries: those that images may come from in place of stand-ins.
    """
    if is_real():
        return _Finder(state, registries)
    catalogue = Catalogue.load()
    return PullServer(
        state / "images.sock", lambda reference: catalogue.ensure(reference, progress)
    )


def way_out(state: Path, progress: Progress) -> Egress:
    """What gives the engine's network a way out, from the outer process.

    Raises:
        EngineError: the engine's own node has none, or a download failed.
    """
    from localkube.node import egress

    if not is_real():
        raise EngineError(f"the engine's own node has no way out: set {VARIABLE}=localkube")
    return egress.Egress(egress.ensure(progress), state / "log" / "egress.log")


def enter(
    state: Path, programs: Path, images_socket: Path, *, leads_out: bool, upstream: bool
) -> Any:
    """Prepares this process, the first in new namespaces, and gives the node it is to run.

    Args:
        state: everything the engine keeps.
        programs: the folder of the control plane's programs.
        images_socket: where the outer process answers requests for images.
        leads_out: whether pods reach what this machine reaches.
        upstream: whether images that the catalogue has not come from their registries.
    """
    if not is_real():
        from localjuju.node import Node as OwnNode
        from localkube.node.network import NODE_IP

        namespaces.use_resolver(NODE_IP, state)
        return OwnNode(state / "kubeconfig", programs, state, partial(pull, images_socket))
    from localkube.host import private
    from localkube.images import finder
    from localkube.node import limits, names
    from localkube.node.node import Node as RealNode
    from localkube.node.programs import ensure

    groups(state).enter()
    kept = (paths.cache(), Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parents[2])
    private.hide(state, kept)
    namespaces.use_resolver(names.OWN, state)
    return RealNode(
        ensure(Progress()),
        state,
        state / "kubeconfig",
        partial(finder.ask, images_socket),
        host_paths=(state / "agent", paths.cache() / "charm-venvs", *limits.named()),
        way_out=leads_out,
        upstream=upstream,
    )
