"""One pod of the node: its sandbox, its containers in order, its status, its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localjuju.images import Image
from localjuju.node import environment, volumes
from localjuju.node.container import Container, Sandbox, now
from localjuju.node.hostpaths import HostPaths
from localjuju.node.runtime import Runtime
from localjuju.node.values import NODE_IP
from localkube.host.errors import EngineError
from localkube.host.trees import remove_tree
from localkube.node.network import Network

_DNS = "10.152.183.10"
_REFRESH_SECONDS = 10.0
_RETRY_SECONDS = 1.0
_KILL_SECONDS = 5.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Services:
    """What every pod of the node works with."""

    folder: Path
    logs: Path
    runtime: Runtime
    network: Network
    pull: Callable[[str], Awaitable[Image]]
    read: Callable[[str, str, str], Awaitable[Mapping[str, bytes] | None]]
    token: Callable[[Any, str, int], Awaitable[str]]
    claim: Callable[[str, str], Awaitable[Path]]
    report: Callable[[Any, dict[str, Any]], Awaitable[None]]
    forget: Callable[[Any, bool], Awaitable[None]]
    """`forget(pod, delete)`: lets go of a pod that has ended; deletes its object if told to."""
    builtin_binds: Mapping[str, Sequence[str]]
    host_paths: HostPaths


class PodWorker:
    """Brings a pod up, keeps its status true, and takes it down when it is deleted."""

    def __init__(self, pod: Any, services: Services):
        self.pod = pod
        self._services = services
        self._folder = services.folder / pod.metadata.uid
        self._volumes = volumes.Volumes(
            pod,
            self._folder / "volumes",
            "",
            lambda kind, name: services.read(pod.metadata.namespace, kind, name),
            lambda audience, seconds: services.token(pod, audience, seconds),
            lambda name: services.claim(pod.metadata.namespace, name),
            services.host_paths,
        )
        self._ip = ""
        self._sandbox_pid: int | None = None
        self._changed = asyncio.Event()
        self._deleted = asyncio.Event()
        self.reported = asyncio.Event()
        """Set once the API server has been told how the pod is in this run of the engine."""
        self._problem = ""
        self._vanished = False
        self._start_time = now()
        self._sidecars: list[asyncio.Task[None]] = []
        self.init: list[Container] = []
        self.containers: list[Container] = []
        self.task = asyncio.create_task(self._run())

    # What others ask -------------------------------------------------------------------------

    def update(self, pod: Any) -> None:
        """Takes over a newer version of the object; a deletion begins the end."""
        self.pod = pod
        if pod.metadata.deletionTimestamp is not None:
            self._deleted.set()

    def vanished(self) -> None:
        """The object is gone without our doing (force): ends at once.

        There is nothing left to delete: a pod of that name is another one by now.
        """
        self._vanished = True
        self.pod.metadata.deletionGracePeriodSeconds = 0
        self._deleted.set()

    @property
    def log_folder(self) -> str:
        """The name of the folder of its logs."""
        return f"{self.pod.metadata.namespace}_{self.pod.metadata.name}"

    def volume(self, name: str) -> Path:
        """The folder of a volume on the host.

        Raises:
            OSError: the pod has no such volume, or not yet.
        """
        try:
            return self._volumes.paths[name]
        except KeyError:
            raise OSError(f"pod {self.pod.metadata.name} has no volume {name} yet") from None

    def container(self, name: str) -> Container:
        """A container by name.

        Raises:
            OSError: there is none, or not yet.
        """
        for container in (*self.containers, *self.init):
            if container.name == name:
                return container
        raise OSError(f"pod {self.pod.metadata.name} has no container {name} yet")

    # Its life --------------------------------------------------------------------------------

    async def _run(self) -> None:
        reporting = asyncio.create_task(self._report())
        living = asyncio.create_task(self._live())
        deleted = asyncio.create_task(self._deleted.wait())
        try:
            await asyncio.wait({living, deleted}, return_when=asyncio.FIRST_COMPLETED)
            if living.done() and not living.cancelled() and living.exception():
                _log.error("pod %s", self.pod.metadata.name, exc_info=living.exception())
            await self._deleted.wait()
            await self._end(living)
        finally:
            for task in (reporting, living, deleted):
                task.cancel()
        # A last status: Jobs count a pod by the phase it had.
        with contextlib.suppress(asyncio.CancelledError):
            await reporting
        await self._services.forget(self.pod, not self._vanished)

    async def _live(self) -> None:
        sandbox = await self._prepare()
        refreshing = asyncio.create_task(self._refresh())
        running: list[asyncio.Task[None]] = []
        try:
            if not await self._run_init(sandbox):
                return
            policy = self.pod.spec.restartPolicy or "Always"
            for container in self.containers:  # one after the other, as the kubelet starts them
                task = asyncio.create_task(container.run(policy))
                task.add_done_callback(lambda _, tried=container.tried: tried.set())
                running.append(task)
                await container.tried.wait()
            await asyncio.gather(*running)
        finally:
            refreshing.cancel()
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _prepare(self) -> Sandbox:
        """Makes volumes, namespaces, address and containers; waits for what is not there."""
        services, pod = self._services, self.pod
        while True:
            try:
                await self._volumes.prepare()
                pid = await self._make_sandbox()
                break
            except (environment.ConfigError, OSError, ValueError) as error:
                self._problem = str(error)
                self._changed.set()
                await asyncio.sleep(_RETRY_SECONDS)
        self._problem = ""
        self._volumes.pod_ip = self._ip
        sandbox = Sandbox(
            pod=pod,
            folder=self._folder / "containers",
            logs=services.logs / self.log_folder,
            pid=pid,
            ip=self._ip,
            runtime=services.runtime,
            pull=services.pull,
            lookup=self._lookup,
            volumes=self._volumes.paths,
            files=self._files(),
            changed=self._changed.set,
            read_only=self._volumes.read_only,
            builtin_binds=services.builtin_binds,
        )
        before = {
            status.name: status.restartCount + 1
            for status in [
                *((pod.status and pod.status.containerStatuses) or []),
                *((pod.status and pod.status.initContainerStatuses) or []),
            ]
            if status.state and (status.state.running or status.state.terminated)
        }
        self.init = [
            Container(sandbox, spec, init=True, restarts=before.get(spec.name, 0))
            for spec in pod.spec.initContainers or []
        ]
        self.containers = [
            Container(sandbox, spec, init=False, restarts=before.get(spec.name, 0))
            for spec in pod.spec.containers
        ]
        self._changed.set()
        return sandbox

    async def _make_sandbox(self) -> int:
        """The process that keeps the pod's namespaces, with its address; raises OSError."""
        services = self._services
        if self.pod.spec.hostNetwork:
            raise OSError("hostNetwork is not supported by localjuju")
        if self._sandbox_pid is None:
            name = self.pod.spec.hostname or self.pod.metadata.name
            self._sandbox_pid = await services.runtime.sandbox(
                name, share_pids=bool(self.pod.spec.shareProcessNamespace)
            )
        if not self._ip:
            address, prefix, gateway = await services.network.attach(self._sandbox_pid)
            await services.runtime.configure(self._sandbox_pid, address, prefix, gateway)
            self._ip = address
        return self._sandbox_pid

    async def _lookup(self, kind: str, name: str) -> Mapping[str, str] | None:
        data = await self._services.read(self.pod.metadata.namespace, kind, name)
        if data is None:
            return None
        return {key: value.decode(errors="replace") for key, value in data.items()}

    def _files(self) -> dict[str, str]:
        """/etc/resolv.conf, hosts and hostname, as the kubelet writes them."""
        spec, namespace = self.pod.spec, self.pod.metadata.namespace
        name = spec.hostname or self.pod.metadata.name
        domain = (
            f" {name}.{spec.subdomain}.{namespace}.svc.cluster.local" if spec.subdomain else ""
        )
        search = f"{namespace}.svc.cluster.local svc.cluster.local cluster.local"
        hosts = f"127.0.0.1\tlocalhost\n{self._ip}\t{name}{domain}\n"
        for alias in spec.hostAliases or []:
            hosts += f"{alias.ip}\t{' '.join(alias.hostnames or [])}\n"
        return {
            "/etc/resolv.conf": f"nameserver {_DNS}\nsearch {search}\noptions ndots:5\n",
            "/etc/hosts": hosts,
            "/etc/hostname": f"{name}\n",
        }

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(_REFRESH_SECONDS)
            try:
                await self._volumes.refresh()
            except (OSError, ValueError) as error:
                _log.warning("volumes of %s: %s", self.pod.metadata.name, error)

    async def _run_init(self, sandbox: Sandbox) -> bool:
        """Runs the init containers one after the other; False where one failed for good."""
        policy = "Never" if self.pod.spec.restartPolicy == "Never" else "OnFailure"
        for container, spec in zip(self.init, self.pod.spec.initContainers or [], strict=True):
            if spec.restartPolicy == "Always":  # a sidecar: goes on beside the others
                self._sidecars.append(asyncio.create_task(container.run("Always")))
                while not container.started:
                    await asyncio.sleep(0.05)
                continue
            await container.run(policy)
            if container.finished != 0:
                return False
        return True

    # Its end ---------------------------------------------------------------------------------

    async def _end(self, living: asyncio.Task[None]) -> None:
        grace = self.pod.metadata.deletionGracePeriodSeconds
        if grace is None:
            grace = self.pod.spec.terminationGracePeriodSeconds or 30
        deadline = time.monotonic() + grace
        running = [c for c in (*self.containers, *self.init) if c.pid is not None]
        if grace:
            with contextlib.suppress(asyncio.TimeoutError):
                stopping = asyncio.gather(*(container.before_stop() for container in running))
                await asyncio.wait_for(stopping, grace)
            ends = []
            for container in running:
                if container.pid is not None:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(container.pid, signal.SIGTERM)
                    ends.append(self._services.runtime.wait(container.pid))
            with contextlib.suppress(asyncio.TimeoutError):
                left = max(0.1, deadline - time.monotonic())
                await asyncio.wait_for(asyncio.gather(*ends), left)
        living.cancel()
        for sidecar in self._sidecars:
            sidecar.cancel()
        await asyncio.gather(living, *self._sidecars, return_exceptions=True)
        await self._kill([c.pid for c in running if c.pid is not None])
        if self._sandbox_pid is not None:
            await self._kill([self._sandbox_pid])
            if self._ip:
                self._services.network.release(self._ip)
        await asyncio.to_thread(self._remove_folder)

    def _remove_folder(self) -> None:
        try:
            remove_tree(self._folder)
        except (EngineError, OSError) as error:
            # The next start of the engine tries again; the pod's end must not wait for that.
            _log.warning("pod %s: %s", self.pod.metadata.name, error)

    async def _kill(self, pids: list[int]) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(asyncio.TimeoutError):
            ends = asyncio.gather(*(self._services.runtime.wait(pid) for pid in pids))
            await asyncio.wait_for(ends, _KILL_SECONDS)

    # Its status ------------------------------------------------------------------------------

    async def _report(self) -> None:
        """Writes the status whenever it changed; what changes meanwhile goes into the next."""
        last: dict[str, Any] = {}
        while True:
            status = self.status()
            if status != last:
                await self._services.report(self.pod, status)
                last = status
                self.reported.set()
            await self._changed.wait()
            self._changed.clear()

    def status(self) -> dict[str, Any]:
        """The pod's status, as it is to be patched."""
        containers = self.containers
        statuses = [container.status() for container in containers]
        initialized = all(c.finished == 0 or c.started for c in self.init) and bool(containers)
        ready = initialized and all(c.ready for c in containers)
        waiting = [s for s in statuses if not s["ready"]]
        message = f"containers with unready status: [{' '.join(s['name'] for s in waiting)}]"
        if self._problem:
            statuses = [
                {
                    "name": spec.name, "image": spec.image, "imageID": "", "ready": False,
                    "restartCount": 0,
                    "state": {
                        "waiting": {"reason": "ContainerCreating", "message": self._problem}
                    },
                }
                for spec in self.pod.spec.containers
            ]  # fmt: skip
        return {
            "phase": self._phase(),
            "hostIP": NODE_IP,
            "hostIPs": [{"ip": NODE_IP}],
            "podIP": self._ip or None,
            "podIPs": [{"ip": self._ip}] if self._ip else None,
            "startTime": self._start_time,
            "conditions": [
                _condition("Initialized", initialized),
                _condition("ContainersReady", ready, message),
                _condition("Ready", ready, message),
            ],
            "initContainerStatuses": [container.status() for container in self.init],
            "containerStatuses": statuses,
        }

    def _phase(self) -> str:
        finished = [container.finished for container in self.containers]
        if finished and all(code is not None for code in finished):
            return "Succeeded" if all(code == 0 for code in finished) else "Failed"
        if any(container.finished not in (None, 0) for container in self.init):
            return "Failed"
        # as the kubelet has it: pending while one of them has never run
        began = all(
            c.pid is not None or c.restarts or c.last_state or c.finished is not None
            for c in self.containers
        )
        return "Running" if self.containers and began else "Pending"


def _condition(kind: str, good: bool, message: str = "") -> dict[str, Any]:
    condition: dict[str, Any] = {
        "type": kind, "status": "True" if good else "False",
        "reason": None if good else "ContainersNotReady",
        "message": None if good else message,
    }  # fmt: skip
    return condition
