"""Brings Kubernetes to what the model says: one task per application, one per model."""

from __future__ import annotations

import asyncio
import logging
import time

from localjuju.model import applications, clock, models, ports, relations
from localjuju.model.changes import Changes
from localjuju.model.charm import CharmFolder
from localjuju.model.db import Database, Row
from localjuju.model.logs import ModelLog
from localjuju.model.substrate import ApplicationSpec, Cluster

_log = logging.getLogger(__name__)
_FIRST_SECONDS, _LAST_SECONDS = 0.5, 30.0
_LEASE_SECONDS = 60.0  # Juju's leases: a leader that cannot be reached for so long loses the lead


class Worker:
    """Runs `step` whenever woken, and again after a while when it fails; ends when it says so."""

    name = "worker"

    def __init__(self) -> None:
        self._changes = Changes()
        self.again: float | None = None  # seconds until `step` is due without being woken

    def wake(self) -> None:
        self._changes.tell()

    async def step(self) -> bool:
        """Returns False when there is nothing more to do, ever."""
        raise NotImplementedError

    async def run(self) -> None:
        delay = _FIRST_SECONDS
        while True:
            seen = self._changes.count
            try:
                if not await self.step():
                    return
                delay = _FIRST_SECONDS
                await self._changes.after(seen, self.again)
            except Exception as error:
                _log.warning("%s: %s; again in %.0f s", self.name, error, delay)
                await asyncio.sleep(delay)
                delay = min(delay * 2, _LAST_SECONDS)


class ApplicationWorker(Worker):
    """Applies an application's objects when their cause changed; removes them in the end."""

    def __init__(
        self, db: Database, cluster: Cluster, folder: CharmFolder, model: str, application: str
    ):
        super().__init__()
        self._db, self._cluster, self._folder = db, cluster, folder
        self.model, self.application = model, application
        self.name = f"application {model}/{application}"
        self._applied: ApplicationSpec | None = None
        self._absent_since: float | None = None
        self._removed = False

    async def step(self) -> bool:
        row = self._db.one("SELECT * FROM applications WHERE model = ? AND name = ?", self.model,
                           self.application)  # fmt: skip
        if row is None:
            return False
        units = applications.units(self._db, self.model, self.application)
        if row["life"] != "alive" and not units:
            if not self._removed:
                destroy = bool(row["destroy_storage"])
                uuid = models.get(self._db, self.model)["uuid"]
                await self._cluster.remove(self.model, uuid, self.application, destroy)
                self._removed = True
            if self._is_related(row):
                return True
            applications.bury(self._db, self.model, self.application)
            return False
        left = None
        if row["force_at"]:
            left = (clock.parse(row["force_at"]) - clock.now()).total_seconds()
            if left <= 0:
                applications.force(self._db, self.model, self.application)
                return True
        spec = ApplicationSpec(
            model=self.model,
            model_uuid=models.get(self._db, self.model)["uuid"],
            name=self.application,
            charm=applications.charm_of(self._db, row),
            scale=max((unit["number"] + 1 for unit in units), default=0),
            modified=row["modified"],
            trust=bool(row["trust"]),
            resources=row["resources"],
            storage=row["storage"],
            constraints=_constraints(self._db, self.model, row["constraints"]),
            ports=tuple(sorted({port for unit in units for port in ports.plain(ports.of(unit))})),
            shared_venv=self._folder.shared_venv(row["charm"]),
        )
        if spec != self._applied:
            await self._cluster.apply(spec)
            self._applied = spec
        self._keep_lease(row["leader"], [unit["name"] for unit in units])
        if left is not None:
            self.again = left if self.again is None else min(self.again, left)
        return True

    def _is_related(self, row: Row) -> bool:
        """Whether others have still to leave their relations with it, and are waited for."""
        self.again = None
        related = relations.of(self._db, self.model, self.application)
        if all(relation["peer"] for relation in related):
            return False
        if row["force_at"]:
            left = (clock.parse(row["force_at"]) - clock.now()).total_seconds()
            self.again = left
            return left > 0
        return True

    def _keep_lease(self, leader: str | None, units: list[str]) -> None:
        """Gives the lead to another unit when the leader's pod stays away and another is there."""
        self.again = None
        here = [unit for unit in units if unit != leader and self._reachable(unit)]
        if leader is None or not here or self._reachable(leader):
            self._absent_since = None
            return
        now = time.monotonic()
        if self._absent_since is None:
            self._absent_since = now
        self.again = self._absent_since + _LEASE_SECONDS - now
        if self.again <= 0:
            self._absent_since = self.again = None
            away = [unit for unit in units if unit not in here]
            with self._db.transaction():
                applications.elect(self._db, self.model, self.application, away)

    def _reachable(self, unit: str) -> bool:
        pod = self._cluster.pod(self.model, unit.replace("/", "-"))
        return pod is not None and pod.charm_running and not pod.terminating


def _constraints(db: Database, model: str, text: str) -> dict[str, str]:
    base = models.parse_constraints(models.get(db, model)["constraints"])
    return base | models.parse_constraints(text)


class ModelWorker(Worker):
    """Makes the namespace; removes it when the model is dying and nothing is left in it."""

    def __init__(self, db: Database, cluster: Cluster, log: ModelLog, model: str):
        super().__init__()
        self._db, self._cluster, self._log_file, self.model = db, cluster, log, model
        self.name = f"model {model}"
        self._made = False

    async def step(self) -> bool:
        row = self._db.one("SELECT * FROM models WHERE name = ?", self.model)
        if row is None:
            return False
        if row["life"] == "alive":
            if not self._made:
                await self._cluster.add_model(self.model, row["uuid"])
                self._made = True
            return True
        if self._db.one("SELECT 1 FROM applications WHERE model = ?", self.model):
            return True
        await self._cluster.remove_model(self.model, row["uuid"])
        destroy(self._db, self.model)
        self._log_file.remove(self.model)
        return False


def destroy(db: Database, model: str) -> None:
    """Removes every row of a model."""
    with db.transaction():
        for table in ("offers", "saas", "relations", "units", "storage", "detached", "pools",
                      "secrets", "tasks", "status_history", "applications"):  # fmt: skip
            db.run(f"DELETE FROM {table} WHERE model = ?", model)
        db.run("DELETE FROM charms WHERE sha256 NOT IN (SELECT charm FROM applications)")
        db.run("DELETE FROM charm_files WHERE sha256 NOT IN (SELECT sha256 FROM charms)")
        db.run("DELETE FROM models WHERE name = ?", model)
