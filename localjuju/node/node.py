"""The node: registered with the API server, running the pods that are bound to it."""

from __future__ import annotations

import asyncio
import datetime
import logging
import os
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightkube import ApiError, AsyncClient
from lightkube.models.coordination_v1 import LeaseSpec
from lightkube.models.core_v1 import NodeSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import ConfigMap, Pod, Secret, Service
from lightkube.resources.core_v1 import Node as NodeObject
from lightkube.resources.discovery_v1 import EndpointSlice
from lightkube.types import PatchType

from localjuju.images import Image
from localjuju.node import dns, logs, spawn, volumes
from localjuju.node.hostpaths import HostPaths
from localjuju.node.kubelet import PORT, Kubelet
from localjuju.node.pod import PodWorker, Services
from localjuju.node.runtime import ExecResult, Runtime
from localjuju.node.storage import Provisioner
from localkube.building import versions
from localkube.host import paths
from localkube.host.errors import EngineError
from localkube.host.trees import remove_tree
from localkube.node import names
from localkube.node.client import (
    UNREACHABLE,
    Tokens,
    client,
    delete_exactly,
    follow,
    patch_status,
    until_done,
)
from localkube.node.kubeproxy import KubeProxy
from localkube.node.network import BALANCERS, NODE_IP, PODS, Addresses, Network
from localkube.node.policies import Policies

_PAUSE = "/charm/bin/pause"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_LEASE_SECONDS = 40
_REPORT_SECONDS = 20.0
_HEARTBEAT_SECONDS = 10.0
_STATUS_EVERY = 6  # heartbeats
_PODS = 250
_OWNER = "kubernetes.io/service-name"  # label of an EndpointSlice
_FINISHED = ("Succeeded", "Failed")
_log = logging.getLogger(__name__)


class Node:
    """The only node of the engine's cluster.

    Made before any thread or event loop exists, because the parent of all containers is forked
    from it.
    """

    def __init__(
        self,
        kubeconfig: Path,
        programs: Path,
        state: Path,
        pull: Callable[[str], Awaitable[Image]],
        name: str = "localhost",
    ):
        """Forks the spawner; nothing else happens until `start`.

        Args:
            kubeconfig: how to reach the API server; read by `start`.
            programs: the folder with kube-proxy.
            state: the engine's state folder.
            pull: makes the image for a reference ready; raises EngineError.
            name: the node's name.
        """
        self._runtime = Runtime(spawn.fork({_PAUSE: spawn.pause}))
        self._kubeconfig = kubeconfig
        self._state = state
        self._pull = pull
        self._name = name
        self._network = Network()
        self._proxy = KubeProxy(programs, state, kubeconfig, name)
        self._policies = Policies(state, kubeconfig, name)
        self._workers: dict[str, PodWorker] = {}
        self._names: dict[tuple[str, str], dns.ServiceNames] = {}
        self._name_server = dns.NameServer(
            lambda space, service: self._names.get((space, service))
        )
        self._services_changed = asyncio.Event()
        self._service_objects: dict[tuple[str, str], Any] = {}
        self._slices: dict[tuple[str, str], Any] = {}
        self._balancers = Addresses(BALANCERS)
        self._balanced: dict[tuple[str, str], str] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._listed = asyncio.Event()
        self._folders = -1

    async def start(self) -> None:
        """Brings up network, name server and kubelet, and begins to run pods."""
        pods = self._state / "pods"
        pods.mkdir(parents=True, exist_ok=True)
        # Socket paths may have 107 bytes: a path from this descriptor is short wherever it lies.
        self._folders = os.open(pods, os.O_PATH | os.O_DIRECTORY)
        self._runtime.start()
        await self._network.start()
        self._api: AsyncClient = client(self._kubeconfig)
        self._tokens = Tokens(self._api)
        host_paths = HostPaths.of(self._state / "agent", paths.cache() / "charm-venvs")
        self._provisioner = Provisioner(self._api, self._state / "volumes", host_paths)
        self._kubelet = Kubelet(self.worker, self._runtime, self._state, NODE_IP)
        await self._kubelet.start()
        await self._name_server.start(NODE_IP)
        await self._register()
        await names.make_service(self._api)
        self._policies.start()
        await self._proxy.start()
        self._pod_services = Services(
            folder=pods,
            logs=self._state / "log" / "pods",
            runtime=self._runtime,
            network=self._network,
            pull=self._pull,
            read=self._read,
            token=self._tokens.token,
            claim=self._provisioner.folder_of,
            report=lambda pod, status: patch_status(self._api, Pod, pod, status),
            forget=self._forget,
            builtin_binds={},
            host_paths=host_paths,
        )
        for work in (
            self._beat(), self._follow_pods(), self._follow_services(), self._follow_slices(),
            self._watch_services(), self._provisioner.run(),
        ):  # fmt: skip
            self._tasks.append(asyncio.create_task(work))
        # What the API server says of pods is from before: nobody is to take it for true.
        await self._listed.wait()
        told = [asyncio.create_task(w.reported.wait()) for w in self._workers.values()]
        if told:
            await asyncio.wait(told, timeout=_REPORT_SECONDS)

    async def stop(self) -> None:
        """Ends all pods' processes at once; their objects stay, the next start runs them again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for worker in self._workers.values():
            worker.task.cancel()
        workers = [worker.task for worker in self._workers.values()]
        await asyncio.gather(*workers, return_exceptions=True)
        await self._kubelet.stop()
        await self._name_server.stop()
        await self._policies.stop()
        await self._proxy.stop()
        await self._api.close()
        self._runtime.stop()
        self._network.stop()
        if self._folders >= 0:
            os.close(self._folders)

    # For the model ---------------------------------------------------------------------------

    def worker(self, namespace: str, pod: str) -> PodWorker:
        """The worker of a pod on this node.

        Raises:
            OSError: there is none.
        """
        for worker in self._workers.values():
            meta = worker.pod.metadata
            if (meta.namespace, meta.name) == (namespace, pod):
                return worker
        raise OSError(f"no pod {pod} in {namespace} on this node")

    def volume_path(self, namespace: str, pod: str, volume: str) -> Path:
        """The host's path of a volume of a pod on this node; short enough for Unix sockets.

        Valid in this process only.

        Raises:
            OSError: no such pod or volume (yet).
        """
        path = self.worker(namespace, pod).volume(volume)
        pods = self._state / "pods"
        if path.is_relative_to(pods):
            return Path(f"/proc/self/fd/{self._folders}") / path.relative_to(pods)
        return path

    async def exec(
        self,
        namespace: str,
        pod: str,
        container: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        stdin: bytes | None = None,
        on_line: Callable[[str, str], None] | None = None,
    ) -> ExecResult:
        """Runs a program in a container to its end.

        Args:
            env: its whole environment; None is the container's.
            on_line: called with `stdout` or `stderr` and each line as it comes.

        Raises:
            OSError: the container does not run, or the program cannot be started.
        """
        settings = self.worker(namespace, pod).container(container).exec_settings()
        pid, environment, folder, identity = settings
        return await self._runtime.exec(
            pid, argv, environment if env is None else env, cwd or folder,
            identity=identity, stdin=stdin, on_line=on_line,
        )  # fmt: skip

    # Pods ------------------------------------------------------------------------------------

    async def _follow_pods(self) -> None:
        async for pods in follow(
            self._api, Pod, namespace="*", fields={"spec.nodeName": self._name}
        ):
            seen = {pod.metadata.uid: pod for pod in pods.values()}
            for uid, pod in seen.items():
                if uid in self._workers:
                    self._workers[uid].update(pod)
                elif pod.status is None or pod.status.phase not in _FINISHED:
                    self._workers[uid] = PodWorker(pod, self._pod_services)
                    self._workers[uid].update(pod)
                elif pod.metadata.deletionTimestamp is not None:
                    await self._forget(pod)
            for uid, worker in list(self._workers.items()):
                if uid not in seen:
                    worker.vanished()
            self._remove_orphans(seen.keys() | self._workers.keys())
            self._listed.set()

    def _remove_orphans(self, known: set[str]) -> None:
        """Folders of pods that went away while the engine did not run."""
        for folder in (self._state / "pods").iterdir():
            if folder.name not in known:
                try:
                    remove_tree(folder)
                except (EngineError, OSError) as error:
                    _log.warning("a pod that has gone: %s", error)

    async def _forget(self, pod: Any, delete: bool = True) -> None:
        """Lets go of a pod that has ended; its object goes too, unless another has its name."""
        meta = pod.metadata
        self._tokens.forget(pod)
        if delete:
            await until_done(
                lambda: delete_exactly(self._api, Pod, pod), f"deletion of pod {meta.name}"
            )
        self._workers.pop(meta.uid, None)

    async def _read(self, namespace: str, kind: str, name: str) -> Mapping[str, bytes] | None:
        resource: Any = Secret if kind == "Secret" else ConfigMap
        try:
            item = await self._api.get(resource, name, namespace=namespace)
        except ApiError as error:
            if error.status.code == 404:
                return None
            raise OSError(f"{kind} {name}: {error}") from None
        except UNREACHABLE as error:
            raise OSError(f"{kind} {name}: {error}") from None
        return volumes.object_data(kind, item)

    # Services --------------------------------------------------------------------------------

    async def _follow_services(self) -> None:
        async for known in follow(self._api, Service, namespace="*"):
            self._service_objects = known
            self._services_changed.set()

    async def _follow_slices(self) -> None:
        async for known in follow(self._api, EndpointSlice, namespace="*"):
            self._slices = known
            self._services_changed.set()

    async def _watch_services(self) -> None:
        """Tells the name server of Services, and gives load balancers their addresses."""
        while True:
            await self._services_changed.wait()
            self._services_changed.clear()
            slices: dict[tuple[str, str], list[Any]] = {}
            for piece in self._slices.values():
                owner = (piece.metadata.labels or {}).get(_OWNER, "")
                slices.setdefault((piece.metadata.namespace, owner), []).append(piece)
            self._names = {
                key: dns.names_of(service, slices.get(key, []))
                for key, service in self._service_objects.items()
            }
            for key in self._balanced.keys() - self._service_objects.keys():
                self._balancers.give_back(self._balanced.pop(key))
            for key, service in self._service_objects.items():
                if service.spec.type == "LoadBalancer":
                    await self._balance(key, service)

    async def _balance(self, key: tuple[str, str], service: Any) -> None:
        """Gives a LoadBalancer Service its address, in its status too."""
        if key not in self._balanced:
            address = self._balanced[key] = self._balancers.take()
            status = {"loadBalancer": {"ingress": [{"ip": address}]}}
            await patch_status(self._api, Service, service, status)

    # The node object -------------------------------------------------------------------------

    async def _register(self) -> None:
        labels = {
            "kubernetes.io/hostname": self._name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": _ARCHITECTURES.get(os.uname().machine, ""),
        }
        node = NodeObject(
            metadata=ObjectMeta(name=self._name, labels=labels),
            spec=NodeSpec(podCIDR=str(PODS), podCIDRs=[str(PODS)]),
        )
        await until_done(lambda: self._api.apply(node, force=True), "node")
        await self._renew()
        await self._report()

    async def _beat(self) -> None:
        count = 0
        while True:
            await asyncio.sleep(_HEARTBEAT_SECONDS)
            await self._renew()
            count += 1
            if count % _STATUS_EVERY == 0:
                await self._report()
                known = {worker.log_folder for worker in self._workers.values()}
                await asyncio.to_thread(
                    logs.remove_old_pods, self._state / "log" / "pods", known, time.time()
                )

    async def _renew(self) -> None:
        lease = Lease(
            metadata=ObjectMeta(name=self._name, namespace="kube-node-lease"),
            spec=LeaseSpec(
                holderIdentity=self._name,
                leaseDurationSeconds=_LEASE_SECONDS,
                renewTime=datetime.datetime.now(datetime.timezone.utc),
            ),
        )
        await until_done(lambda: self._api.apply(lease, force=True), "lease of the node")

    async def _report(self) -> None:
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1024
        # Ten times the cores: requests are promises to share, here everybody shares two.
        capacity = {
            "cpu": str((os.cpu_count() or 1) * 10),
            "memory": f"{pages}Ki",
            "pods": str(_PODS),
            "ephemeral-storage": f"{shutil.disk_usage(self._state).total // 1024}Ki",
        }
        conditions = [
            {
                "type": kind, "status": "True" if kind == "Ready" else "False",
                "reason": "Localjuju", "message": "", "lastHeartbeatTime": now,
                "lastTransitionTime": now,
            }
            for kind in ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
        ]  # fmt: skip
        status = {
            "capacity": capacity,
            "allocatable": capacity,
            "conditions": conditions,
            "addresses": [
                {"type": "InternalIP", "address": NODE_IP},
                {"type": "Hostname", "address": self._name},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": PORT}},
            "nodeInfo": {
                "architecture": _ARCHITECTURES.get(os.uname().machine, ""),
                "operatingSystem": "linux", "kernelVersion": os.uname().release,
                "osImage": "localjuju", "containerRuntimeVersion": "localjuju://1",
                "kubeletVersion": f"v{versions.KUBERNETES}", "kubeProxyVersion": "",
                "machineID": "", "systemUUID": "", "bootID": "",
            },
        }  # fmt: skip
        await until_done(
            lambda: self._api.patch(
                NodeObject.Status, self._name, {"status": status}, patch_type=PatchType.STRATEGIC
            ),
            "status of the node",
        )
