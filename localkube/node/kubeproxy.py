"""Services: Kubernetes' own kube-proxy, on the packet filter of the node's own network."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

import yaml

from localkube.building import netfilter
from localkube.controlplane.plane import KUBERNETES_SERVICE_IP, NODE_IP
from localkube.host.errors import EngineError
from localkube.host.supervision import Programs
from localkube.node.network import PODS

_NAME = "kube-proxy"
_READY_SECONDS = 30.0
_TRY_SECONDS = 0.2
_POLL_SECONDS = 0.05
_KUBERNETES_PORT = 443


class KubeProxy:
    """kube-proxy as a child process; it writes rules for every Service of the cluster."""

    def __init__(self, programs: Path, state: Path, kubeconfig: Path, node: str):
        """Prepares; starts nothing.

        Args:
            programs: the folder with the program.
            state: the engine's state folder.
            kubeconfig: how to reach the API server.
            node: the name of the node, whose object has to be there.
        """
        self._programs = Programs(programs, state / "log")
        self._file = state / "kube-proxy.yaml"
        self._kubeconfig = kubeconfig
        self._node = node

    async def start(self) -> None:
        """Starts it and returns when a Service can be reached.

        Pods must not be started before: the kernel does not look at a connection's rules again,
        and a client's first packet that met none would have it wait for minutes.

        Raises:
            EngineError: no Service can be reached; names the log.
        """
        self._file.write_text(yaml.safe_dump(self._configuration()))
        self._programs.start(_NAME, [f"--config={self._file}", "--v=1"], netfilter.environment())
        deadline = time.monotonic() + _READY_SECONDS
        while not await _reaches(KUBERNETES_SERVICE_IP, _KUBERNETES_PORT):
            if time.monotonic() > deadline:
                raise EngineError(
                    f"kube-proxy served nothing in {_READY_SECONDS:.0f} s; see "
                    f"{self._file.parent / 'log' / _NAME}.log"
                )
            await asyncio.sleep(_POLL_SECONDS)

    async def stop(self) -> None:
        """Stops it; its rules go with the network."""
        await self._programs.stop()

    def _configuration(self) -> dict[str, object]:
        return {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "hostnameOverride": self._node,
            "clientConnection": {"kubeconfig": str(self._kubeconfig)},
            "clusterCIDR": str(PODS),
            "nodePortAddresses": [f"{NODE_IP}/32"],
            # A program that was just told of a Service asks for it at once.
            "nftables": {"minSyncPeriod": "100ms"},
            # The table of connections is the whole machine's: its size is not ours to set.
            "conntrack": {
                "maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s",
                "tcpCloseWaitTimeout": "0s", "udpTimeout": "0s", "udpStreamTimeout": "0s",
            },
            "healthzBindAddress": "127.0.0.1:10256",
            "metricsBindAddress": "127.0.0.1:10249",
        }  # fmt: skip


async def _reaches(host: str, port: int) -> bool:
    with contextlib.suppress(OSError, asyncio.TimeoutError):
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), _TRY_SECONDS)
        writer.close()
        return True
    return False
