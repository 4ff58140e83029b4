"""The node: containerd, kubelet and what pods find beside them; in the namespaces of `inner`."""

from __future__ import annotations

import asyncio
import datetime
import json
import time
from pathlib import Path

import yaml
from lightkube import ApiError, AsyncClient
from lightkube.resources.core_v1 import Node as NodeResource

from localkube.building import netfilter
from localkube.controlplane.pki import Authority
from localkube.controlplane.plane import NODE_IP
from localkube.host.errors import EngineError
from localkube.host.supervision import Programs
from localkube.host.trees import remove_tree
from localkube.images import registry, snapshots
from localkube.images.image import Image
from localkube.images.layers import Layer
from localkube.images.upstream import mirrors
from localkube.node import configurations, egress, limits, names
from localkube.node.balancers import Balancers
from localkube.node.client import UNREACHABLE, client, may_pass
from localkube.node.configurations import NODE, PAUSE_IMAGE, SOCKET
from localkube.node.kubeproxy import KubeProxy
from localkube.node.network import Network
from localkube.node.policies import Policies
from localkube.node.programs import NodePrograms
from localkube.node.storage import Provisioner

_READY_SECONDS = 120.0
_POLL_SECONDS = 0.1


class Node:
    """A node of a cluster whose API server runs beside it."""

    def __init__(
        self,
        programs: NodePrograms,
        state: Path,
        kubeconfig: Path,
        find: registry.Find,
        *,
        host_paths: tuple[Path, ...] = (),
        way_out: bool = False,
        upstream: bool = False,
        bounded: bool = True,
    ):
        """Prepares; starts nothing.

        Args:
            programs: what it runs.
            state: the folder of the control plane and the node.
            kubeconfig: how to reach the API server.
            find: tells which images there are.
            host_paths: the host's folders that pods may have hostPath volumes in.
            way_out: whether pods reach what the host reaches; see `egress`.
            upstream: whether images that `find` has not come from where they are named for; the
                node alone reaches out for that. For either the process on the host's side gives
                a way out.
            bounded: whether there are control groups, without which pods have no limits.
        """
        self._host_paths = host_paths
        self._programs = programs
        self._way_out = way_out
        self._upstream = upstream
        self._bounded = bounded
        self._state = state
        self._kubeconfig = kubeconfig
        logs = state / "log"
        self._containerd = Programs(programs.containerd / "usr" / "bin", logs)
        self._kubelet = Programs(programs.kubelet, logs)
        self._proxy = KubeProxy(programs.kubernetes, state, kubeconfig, NODE)
        self._names = names.NameServer(
            programs.coredns, state, kubeconfig,
            egress.NAME_SERVER if way_out or upstream else "", pods=way_out,
        )  # fmt: skip
        self._policies = Policies(programs.kube_router, state, kubeconfig, NODE)
        pause = Image(
            [Layer(programs.pause.parent.name, programs.pause.parent)], entrypoint=["/pause"]
        )
        self._registry = registry.Registry(
            lambda name: pause if name == PAUSE_IMAGE else find(name),
            registry.digests(),
        )
        self._network = Network()
        self._has_network = False
        self._api: AsyncClient | None = None
        self._controllers: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Starts the node's programs; returns when the node is Ready and Services answer.

        Raises:
            EngineError: a program does not get ready; names its log. The kernel has no packet
                filter.
        """
        netfilter.require()
        began = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
        await self._network.start()
        self._has_network = True
        if self._way_out or self._upstream:
            await egress.use(pods=self._way_out)
        self._registry.start()
        self._names.start()
        arguments = self._configure()
        environment = self._programs.environment()
        self._containerd.start(
            "containerd", [f"--config={self._state / 'containerd.toml'}"], environment
        )
        await self._wait_for_containerd()
        self._kubelet.start("kubelet", arguments, environment)
        await self._serve(began)

    async def stop(self) -> None:
        """Stops the node's programs; containers and mounts end with the namespaces."""
        for task in self._controllers:
            task.cancel()
        if self._controllers:
            await asyncio.wait(self._controllers)
        if self._api is not None:
            await self._api.close()
        await self._policies.stop()
        await self._proxy.stop()
        await self._names.stop()
        await self._kubelet.stop()
        await self._containerd.stop()
        self._registry.stop()
        if self._has_network:
            self._network.stop()

    def _configure(self) -> list[str]:
        """Writes each program's configuration; kubelet's arguments."""
        state = self._state
        for name in ("cni", "containerd", "tmp"):
            (state / name).mkdir(parents=True, exist_ok=True)
        self._write_registries(state / "registries")
        authority = Authority(state / "pki")
        own = authority.issue("kubelet", f"system:node:{NODE}", "system:nodes", (NODE, NODE_IP))
        kubelet = configurations.kubelet(
            state, authority.pair.certificate, own.certificate, own.key, bounded=self._bounded
        )
        # No name server: the cluster's own will answer for the cluster alone.
        (state / "pods-resolv.conf").write_text("")
        (state / "kubelet.yaml").write_text(yaml.safe_dump(kubelet))
        (state / "cni" / f"{NODE}.conflist").write_text(json.dumps(configurations.network(state)))
        (state / "containerd.toml").write_text(
            configurations.containerd(
                state,
                self._programs.plugins,
                snapshots.choose(state / "containerd"),
                bounded=self._bounded,
            )
        )
        return [
            f"--config={state / 'kubelet.yaml'}",
            f"--kubeconfig={self._kubeconfig}",
            f"--root-dir={state / 'kubelet'}",
            f"--hostname-override={NODE}",
            f"--node-ip={NODE_IP}",
            "--v=1",
        ]

    def _write_registries(self, folder: Path) -> None:
        """Tells containerd whom to ask for images; of an earlier start nothing stays."""
        remove_tree(folder)
        told = {"_default": registry.hosts()}
        if self._upstream:
            known = {name: registry.hosts_before(url) for name, url in mirrors().items()}
            told = {"_default": registry.hosts_before(), **known}
        for name, text in told.items():
            (folder / name).mkdir(parents=True)
            (folder / name / "hosts.toml").write_text(text)

    async def _wait_for_containerd(self) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while True:
            try:
                _, writer = await asyncio.open_unix_connection(SOCKET)
            except OSError as error:
                if time.monotonic() > deadline:
                    log = self._state / "log" / "containerd.log"
                    raise EngineError(f"containerd does not answer ({error}); see {log}") from None
            else:
                writer.close()
                return
            await asyncio.sleep(_POLL_SECONDS)

    async def _serve(self, began: datetime.datetime) -> None:
        """Returns when the node said after `began` that it is Ready, and names are answered."""
        self._api = client(self._kubeconfig)
        await self._wait_ready(self._api, began)
        await names.make_service(self._api)
        self._policies.start()
        await self._proxy.start()
        await self._names.wait_ready()
        volumes = self._state / "volumes"
        await limits.apply(self._api, self._host_paths, volumes)
        for controller in (Provisioner(self._api, volumes, NODE), Balancers(self._api)):
            self._controllers.append(asyncio.create_task(controller.run()))

    async def _wait_ready(self, api: AsyncClient, began: datetime.datetime) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while not await _is_ready(api, began):
            if time.monotonic() > deadline:
                log = self._state / "log" / "kubelet.log"
                raise EngineError(f"the node was not ready in {_READY_SECONDS:.0f} s; see {log}")
            await asyncio.sleep(_POLL_SECONDS)


async def _is_ready(api: AsyncClient, began: datetime.datetime) -> bool:
    try:
        node = await api.get(NodeResource, NODE)
    except ApiError as error:
        if error.status.code != 404 and not may_pass(error):
            raise
        return False
    except UNREACHABLE:
        return False
    return any(
        one.type == "Ready"
        and one.status == "True"
        and one.lastHeartbeatTime is not None
        and one.lastHeartbeatTime >= began
        for one in (node.status and node.status.conditions) or []
    )
