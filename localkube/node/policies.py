"""NetworkPolicies: kube-router's firewall, built once from its Go module."""

from __future__ import annotations

from pathlib import Path

from localkube.building import builds, golang, netfilter
from localkube.controlplane.plane import SERVICE_RANGE
from localkube.host import paths
from localkube.host.progress import Progress
from localkube.host.supervision import Programs

_NAME = "kube-router"
_VERSION = "v2.1.0"
_MODULE = f"github.com/cloudnativelabs/kube-router/v2@{_VERSION}"
_SUM = "h1:xWsptKtmZ44L+NjwFKoFAFlVdxCz8fka9A/eYJe95Ok="


def folder() -> Path:
    """Where the program is; `ensure` makes it."""
    return paths.cache() / "builds" / f"{_NAME}-{_VERSION}"


def ensure(progress: Progress) -> Path:
    """Builds the program where that has not been done.

    Raises:
        EngineError: the download or the build failed; names the log.
    """

    def make(target: Path) -> None:
        with progress.step(f"Building {_NAME} {_VERSION}"):
            module = golang.download(_MODULE, _SUM, _NAME)
            golang.build(module, [f"./cmd/{_NAME}"], target, _NAME)

    return builds.make_once(folder(), make)


class Policies:
    """kube-router as a child process, of whose parts only the firewall is on."""

    def __init__(self, state: Path, kubeconfig: Path, node: str):
        """Prepares; starts nothing.

        Args:
            state: the engine's state folder.
            kubeconfig: how to reach the API server.
            node: the name of the node, whose object has to be there.
        """
        self._programs = Programs(folder(), state / "log")
        self._arguments = [
            "--run-firewall=true",
            "--run-router=false",
            "--run-service-proxy=false",
            "--enable-cni=false",
            f"--kubeconfig={kubeconfig}",
            f"--hostname-override={node}",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            "--health-port=0",
        ]

    def start(self) -> None:
        """Starts it; policies are enforced from a moment later on."""
        self._programs.start(_NAME, self._arguments, netfilter.environment())

    async def stop(self) -> None:
        """Stops it; its rules go with the network."""
        await self._programs.stop()
