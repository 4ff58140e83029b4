"""Everything of the model that runs: the API, the agents, the workers that write Kubernetes."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Protocol

from localjuju.agent.hookrunner import HookRunner
from localjuju.agent.hookserver import AgentSocket
from localjuju.agent.hub import Hub
from localjuju.agent.services import Services
from localjuju.agent.uniter import Uniter
from localjuju.agent.view import pod_name
from localjuju.model import clock, relations
from localjuju.model.api import Api
from localjuju.model.changes import end, within
from localjuju.model.charm import CharmFolder
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
        self.cluster: Cluster = cluster or KubernetesCluster(kubeconfig, state / "agent")
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
        self._running: dict[tuple[str, ...], tuple[_Runs, asyncio.Task[None]]] = {}
        self._stopping = False

    async def start(self) -> None:
        self.db.on_commit(self._changed)
        self.cluster.on_change(lambda model: self._changed({model}))
        await self.cluster.start()
        await self._socket.start()
        self._changed({row["name"] for row in self.db.all("SELECT name FROM models")})
        await self._server.start()

    async def stop(self) -> None:
        """Hooks that run are cut off; they run again after the next start. Ends in any case."""
        self._stopping = True
        await end([task for _, task in self._running.values()])
        await within(_STOP_SECONDS, self._server.stop(), "the end of the API")
        await within(_STOP_SECONDS, self.cluster.stop(), "the end of the watches")
        await within(_STOP_SECONDS, self._socket.stop(), "the end of the agents' socket")
        await within(_STOP_SECONDS, self._hub.stop(), "the end of the agents' connections")
        self.log.close()
        self.db.close()

    def _changed(self, names: set[str]) -> None:
        """Starts what is new and wakes what runs in these models."""
        if self._stopping:
            return
        names = relations.with_related_models(self.db, names)
        for model in names:
            self._begin(model)
        for worker, _ in self._running.values():
            if worker.model in names:
                worker.wake()

    def _begin(self, model: str) -> None:
        if self.db.one("SELECT 1 FROM models WHERE name = ?", model) is None:
            return
        if ("model", model) not in self._running:
            self._run(("model", model), ModelWorker(self.db, self.cluster, self.log, model))
        for row in self.db.all("SELECT name FROM applications WHERE model = ?", model):
            key = ("application", model, row["name"])
            if key not in self._running:
                self._run(key, ApplicationWorker(self.db, self.cluster, self.folder, model,
                                                 row["name"]))  # fmt: skip
        for row in self.db.all("SELECT name FROM units WHERE model = ?", model):
            key = ("unit", model, row["name"])
            if key not in self._running:
                self._run(key, Uniter(self._services, self.runner, model, row["name"]))

    def _run(self, key: tuple[str, ...], worker: _Runs) -> None:
        task = asyncio.create_task(worker.run(), name=" ".join(key))
        self._running[key] = (worker, task)
        task.add_done_callback(lambda _: self._ended(key))

    def _ended(self, key: tuple[str, ...]) -> None:
        """One of the same name may have come meanwhile, e.g. a unit that was removed and added."""
        del self._running[key]
        self._changed({key[1]})

    def _called(self, pod: str) -> None:
        """The agent in a pod is there: its unit waits for it."""
        for worker, _ in self._running.values():
            if isinstance(worker, Uniter) and worker.pod == pod:
                worker.wake()

    async def _terminating(self, uid: str) -> None:
        """A pod is going: returns when its unit's `stop` has run, or cannot run."""
        deadline = asyncio.get_running_loop().time() + _TERMINATING_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            rows = self.db.all("SELECT model, name, agent FROM units")
            row = next((row for row in rows if row["agent"].get("pod") == uid), None)
            if row is None or not row["agent"]["started"] or row["agent"]["error"]:
                return
            pod = self.cluster.pod(row["model"], pod_name(row["name"]))
            if pod is None:
                return
            await asyncio.sleep(0.1)
