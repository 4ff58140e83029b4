"""Everything of the model that runs: the API, the agents, the workers that write Kubernetes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from localjuju.agent.hookrunner import HookRunner
from localjuju.agent.hookserver import AgentSocket
from localjuju.agent.hub import Hub
from localjuju.agent.services import Services
from localjuju.agent.uniter import Uniter
from localjuju.agent.view import pod_name
from localjuju.model import clock
from localjuju.model.api import Api
from localjuju.model.changes import end, within
from localjuju.model.charm import CharmFolder
from localjuju.model.concerns import Concern
from localjuju.model.db import Database
from localjuju.model.kubernetes import KubernetesCluster
from localjuju.model.logs import ModelLog
from localjuju.model.server import Server
from localjuju.model.substrate import Cluster
from localjuju.model.workers import ApplicationWorker, ModelWorker

# The first address of the service range is the API server's.
_KUBERNETES = {
    "KUBERNETES_SERVICE_HOST": "10.152.183.1",
    "KUBERNETES_SERVICE_PORT": "443",
    "KUBERNETES_SERVICE_PORT_HTTPS": "443",
    "KUBERNETES_PORT": "tcp://10.152.183.1:443",
    "KUBERNETES_PORT_443_TCP": "tcp://10.152.183.1:443",
    "KUBERNETES_PORT_443_TCP_PROTO": "tcp",
    "KUBERNETES_PORT_443_TCP_PORT": "443",
    "KUBERNETES_PORT_443_TCP_ADDR": "10.152.183.1",
}
_TERMINATING_SECONDS = 25.0
_STOP_SECONDS = 5.0


class _Runs(Protocol):
    model: str

    def wake(self) -> None: ...

    def run(self) -> Coroutine[Any, Any, None]: ...


class ModelController:
    """Starts where it stopped: all it knows is in SQLite and in Kubernetes.

    Args:
        state: the engine's folder; `model.db`, `charms`, `agent`, `engine.sock` and logs go there.
        kubeconfig: cluster administrator's access to the API server.
        cluster: in place of the real API server, for tests.
    """

    def __init__(self, state: Path, kubeconfig: Path, cluster: Cluster | None = None):
        self.db = Database(state / "model.db")
        if kept := self.db.one("SELECT seconds FROM clock"):
            clock.restore(kept["seconds"])
        self.log = ModelLog(state / "log" / "models")
        self.cluster: Cluster = cluster or KubernetesCluster(
            kubeconfig, state / "agent", state / "pki"
        )
        self.folder = CharmFolder(state / "charms")
        self._hub = Hub(self.cluster.pod_of, self._called)
        self._socket = AgentSocket(state / "agent" / "agent.sock", self._terminating, self._hub)
        services = Services(
            self.db, self.cluster, self._hub, self.log, self.folder, self._socket, _KUBERNETES
        )
        self._services = services
        self.runner = HookRunner(services)
        self.api = Api(
            self.db, self.cluster, self.folder, self.runner.faults.plan, self.runner.statistics
        )
        self._server = Server(state / "engine.sock", self.api, self.db, self.log)
        # By model and application, then by unit; "" for the worker of the application or model.
        self._running: dict[Concern, dict[str, tuple[_Runs, asyncio.Task[None]]]] = {}
        self._stopping = False

    async def start(self) -> None:
        self.db.on_commit(self._changed)
        self.cluster.on_change(lambda *changed: self._changed({changed}))
        await self.cluster.start()
        await self._socket.start()
        self._changed({(row["name"], "") for row in self.db.all("SELECT name FROM models")})
        await self._server.start()

    async def stop(self) -> None:
        """Hooks that run are cut off; they run again after the next start. Ends in any case."""
        self._stopping = True
        await end([task for _, task in self._all()])
        await within(_STOP_SECONDS, self._server.stop(), "the end of the API")
        await within(_STOP_SECONDS, self.cluster.stop(), "the end of the watches")
        await within(_STOP_SECONDS, self._socket.stop(), "the end of the agents' socket")
        await within(_STOP_SECONDS, self._hub.stop(), "the end of the agents' connections")
        self.log.close()
        self.db.close()

    def _changed(self, concerned: set[Concern]) -> None:
        """Starts what is new and wakes what runs of these applications and models."""
        if self._stopping:
            return
        whole = {model for model, application in concerned if not application}
        for model, application in concerned:
            if application and model in whole:
                continue
            self._begin(model, application)
            for worker in self._of(model, application):
                worker.wake()

    def _of(self, model: str, application: str) -> list[_Runs]:
        """What is there of an application, and the model's worker; "": all of the model."""
        if application:
            groups = [self._running.get((model, name), {}) for name in ("", application)]
        else:
            groups = [group for (name, _), group in self._running.items() if name == model]
        return [worker for group in groups for worker, _ in group.values()]

    def _all(self) -> list[tuple[_Runs, asyncio.Task[None]]]:
        return [running for group in self._running.values() for running in group.values()]

    def _begin(self, model: str, application: str) -> None:
        if self.db.one("SELECT 1 FROM models WHERE name = ?", model) is None:
            return
        self._run(model, "", "", lambda: ModelWorker(self.db, self.cluster, self.log, model))
        only, names = "", [model]
        if application:
            only, names = "AND {} = ?", [model, application]
        for row in self.db.all(
            f"SELECT name FROM applications WHERE model = ? {only.format('name')}", *names
        ):
            make = partial(
                ApplicationWorker, self.db, self.cluster, self.folder, model, row["name"]
            )
            self._run(model, row["name"], "", make)
        for row in self.db.all(
            f"SELECT name, application FROM units WHERE model = ? {only.format('application')}",
            *names,
        ):
            make = partial(Uniter, self._services, self.runner, model, row["name"])
            self._run(model, row["application"], row["name"], make)

    def _run(self, model: str, application: str, unit: str, make: Callable[[], _Runs]) -> None:
        """Starts what does not run yet."""
        group = self._running.setdefault((model, application), {})
        if unit in group:
            return
        worker = make()
        name = " ".join(part for part in (model, application, unit) if part)
        task = asyncio.create_task(worker.run(), name=name)
        group[unit] = (worker, task)
        task.add_done_callback(lambda _: self._ended(model, application, unit))

    def _ended(self, model: str, application: str, unit: str) -> None:
        """One of the same name may have come meanwhile, e.g. a unit that was removed and added."""
        group = self._running[model, application]
        del group[unit]
        if not group:
            del self._running[model, application]
        self._changed({(model, application)})

    def _called(self, pod: str) -> None:
        """The agent in a pod is there: its unit waits for it."""
        for worker, _ in self._all():
            if isinstance(worker, Uniter) and worker.pod == pod:
                worker.wake()

    async def _terminating(self, uid: str) -> None:
        """A pod is going: returns when its unit's `stop` has run, or cannot run."""
        deadline = asyncio.get_running_loop().time() + _TERMINATING_SECONDS
        rows = self.db.all("SELECT model, name, agent FROM units")
        row = next((row for row in rows if row["agent"].get("pod") == uid), None)
        while row is not None and asyncio.get_running_loop().time() < deadline:
            row = self.db.one("SELECT model, name, agent FROM units WHERE model = ? AND name = ?",
                              row["model"], row["name"])  # fmt: skip
            if row is None or row["agent"].get("pod") != uid:
                return
            if not row["agent"]["started"] or row["agent"]["error"]:
                return
            pod = self.cluster.pod(row["model"], pod_name(row["name"]))
            if pod is None:
                return
            await asyncio.sleep(0.1)
