"""NetworkPolicies: kube-router's firewall."""

from __future__ import annotations

from pathlib import Path

from localkube.building import netfilter
from localkube.controlplane.plane import SERVICE_RANGE
from localkube.host.supervision import Programs

_NAME = "kube-router"


class Policies:
    """kube-router as a child process, of whose parts only the firewall is on."""

    def __init__(self, programs: Path, state: Path, kubeconfig: Path, node: str):
        """Prepares; starts nothing.

        Args:
            programs: the folder with the program.
            state: the engine's state folder.
            kubeconfig: how to reach the API server.
            node: the name of the node, whose object has to be there.
        """
        self._programs = Programs(programs, state / "log")
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
