"""The methods of the model's API: what the `juju` executable calls, by name."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from localjuju.agent.faults import Fault
from localjuju.agent.statistics import Statistics
from localjuju.model import (
    applications,
    assumes,
    clock,
    export,
    models,
    offers,
    pools,
    redeploy,
    relations,
    secrets,
    status,
    statuses,
    storage,
    tasks,
)
from localjuju.model.charm import Charm, CharmFolder
from localjuju.model.charm import read as read_charm
from localjuju.model.db import Database
from localjuju.model.errors import ModelError, NotSupported
from localjuju.model.storage import POOL
from localjuju.model.storage import plan as plan_storage
from localjuju.model.substrate import Cluster, Incoming, Tell

Map = Mapping[str, Any]
_CHARM_FOLDER = "/var/lib/juju"  # where Juju's charm container works


class Api:
    """Every public method is a method of the API, its arguments the parameters.

    All raise ModelError where the request cannot be done. What they start goes on in the
    background: as with Juju, `status` tells how far it is.
    """

    def __init__(
        self, db: Database, cluster: Cluster, folder: CharmFolder, plan: Callable[[Fault], None],
        statistics: Statistics,
    ):  # fmt: skip
        self._plan, self._statistics = plan, statistics
        self._db, self._cluster, self._folder = db, cluster, folder

    # Models ----------------------------------------------------------------------------------

    def version(self) -> dict[str, str]:
        return {"version": models.AGENT_VERSION, "controller": models.CONTROLLER,
                "cloud": models.CLOUD}  # fmt: skip

    def models(self) -> list[dict[str, Any]]:
        return models.listing(self._db)

    async def add_model(self, name: str, config: Map | None = None) -> None:
        models.add(self._db, name, config)
        await self._cluster.add_model(name, models.get(self._db, name)["uuid"])

    def destroy_model(self, name: str, destroy_storage: bool = False, force: bool = False) -> None:
        models.get(self._db, name)
        stored = self._db.one("SELECT 1 FROM storage WHERE model = ?", name)
        if stored and not destroy_storage:
            raise ModelError(
                f'cannot destroy model "{name}": it has persistent storage: use --destroy-storage'
            )
        with self._db.transaction():
            self._db.run("DELETE FROM offers WHERE model = ?", name)
            self._db.run("UPDATE models SET life = 'dying' WHERE name = ?", name)
            for row in self._db.all("SELECT name FROM applications WHERE model = ?", name):
                applications.remove(self._db, name, row["name"], destroy_storage=True, force=force)

    def model_config(self, model: str) -> dict[str, Any]:
        return models.config(self._db, model)

    def set_model_config(
        self, model: str, values: Map | None = None, reset: list[str] | None = None
    ) -> None:
        models.set_config(self._db, model, values or {}, reset or [])

    def set_model_constraints(self, model: str, text: str) -> None:
        models.set_constraints(self._db, model, text)

    def model_constraints(self, model: str) -> dict[str, str]:
        return models.parse_constraints(models.get(self._db, model)["constraints"])

    # Applications ----------------------------------------------------------------------------

    async def deploy(
        self, model: str, charm: str, application: str = "", config: Map | None = None,
        resources: Mapping[str, str] | None = None, units: int = 1, trust: bool = False,
        constraints: str = "", storage: Mapping[str, str] | None = None, force: bool = False,
    ) -> dict[str, str]:  # fmt: skip
        read = await self._read(charm, force)
        models.get(self._db, model)
        sources = await self._sources(model, read, storage or {})
        name = application or read.name
        applications.deploy(
            self._db, model, name, read, values=config or {}, resources=resources or {},
            count=units, trust=trust, constraints=constraints, directives=storage or {},
            path=charm, sources=sources,
        )  # fmt: skip
        return {"application": name, "charm": read.name}

    async def _sources(
        self, model: str, charm: Charm, directives: Mapping[str, str]
    ) -> dict[str, dict[str, Any]]:
        """A claim for a StorageClass that is not there would wait for ever."""
        names = {spec["pool"] for spec in plan_storage(charm, directives).values()} - {POOL}
        classes = await self._cluster.storage_classes() if names else {}
        found = {name: pools.source(self._db, model, name, classes) for name in sorted(names)}
        for source in found.values():
            if source.provisioner:
                assert source.storage_class is not None
                await self._cluster.add_storage_class(
                    model, source.storage_class, source.provisioner, source.parameters
                )
        return {
            name: {"class": source.storage_class, "mode": source.mode}
            for name, source in found.items()
        }

    async def changes(
        self, model: str, charm: str, application: str, config: Map | None = None,
        resources: Mapping[str, str] | None = None, units: int | None = None, trust: bool = False,
        constraints: str = "", storage: Mapping[str, str] | None = None,
    ) -> list[dict[str, Any]]:  # fmt: skip
        """What deploying these again would change; storage stays as it is, as on Juju."""
        del storage
        new = await asyncio.to_thread(read_charm, Path(charm))
        found = redeploy.changes(
            self._db, model, application, new, charm, values=config or {},
            resources=resources or {}, units=units, trust=trust, constraints=constraints,
        )  # fmt: skip
        return [asdict(change) for change in found]

    def export_bundle(self, model: str, charm_defaults: bool = False) -> dict[str, Any]:
        return export.bundle(self._db, model, charm_defaults)

    async def _read(self, path: str, force: bool) -> Charm:
        """Off the event loop: a charm may be many megabytes.

        Args:
            force: take it though it assumes what is not there.
        """

        def work() -> Charm:
            read = read_charm(Path(path))
            if not force and (missing := assumes.unmet(read.metadata.get("assumes"))):
                raise ModelError(missing)
            self._folder.keep(read, Path(path))
            return read

        return await asyncio.to_thread(work)

    async def refresh(
        self, model: str, application: str, charm: str | None = None,
        resources: Mapping[str, str] | None = None, trust: bool | None = None,
        force: bool = False,
    ) -> None:  # fmt: skip
        read = await self._read(charm, force) if charm else None
        applications.refresh(self._db, model, application, read, resources or {}, charm or "")
        if trust is not None:
            applications.set_trust(self._db, model, application, trust)

    def integrate(self, model: str, a: str, b: str) -> dict[str, Any]:
        models.get(self._db, model)
        a, b = (offers.local_name(self._db, model, end) for end in (a, b))
        row = relations.integrate(self._db, model, a, b)
        return {"id": row["id"], "key": relations.key(row)}

    def remove_relation(self, model: str, a: str, b: str, force: bool = False) -> None:
        models.get(self._db, model)
        a, b = (offers.local_name(self._db, model, end, add=False) for end in (a, b))
        relations.remove(self._db, model, a, b, force)

    # Offers ----------------------------------------------------------------------------------

    def offer(
        self, model: str, application: str, endpoints: list[str], name: str = ""
    ) -> dict[str, str]:
        return {"url": offers.add(self._db, model, application, endpoints, name)}

    def remove_offer(self, url: str, force: bool = False) -> None:
        model, name = offers.parse(url)
        models.get(self._db, model)
        offers.remove(self._db, model, name, force)

    def consume(self, model: str, url: str, alias: str = "") -> dict[str, str]:
        return {"name": offers.consume(self._db, model, url, alias)}

    def remove_saas(self, model: str, name: str) -> None:
        offers.remove_saas(self._db, model, name)

    def offers(self, model: str) -> dict[str, Any]:
        return offers.listing(self._db, model)

    def find_offers(self, model: str | None = None, name: str | None = None) -> dict[str, Any]:
        return offers.find(self._db, model, name)

    def config(self, model: str, application: str) -> dict[str, Any]:
        return status.config(self._db, model, application)

    def set_config(
        self, model: str, application: str, values: Map | None = None,
        reset: list[str] | None = None,
    ) -> None:  # fmt: skip
        applications.set_config(self._db, model, application, values or {}, reset or [])

    def set_constraints(self, model: str, application: str, text: str) -> None:
        applications.set_constraints(self._db, model, application, text)

    def constraints(self, model: str, application: str) -> dict[str, str]:
        return models.parse_constraints(
            applications.get(self._db, model, application)["constraints"]
        )

    def scale(self, model: str, application: str, units: int) -> None:
        applications.scale(self._db, model, application, units)

    def add_units(self, model: str, application: str, n: int = 1) -> list[str]:
        applications.get(self._db, model, application)
        return applications.add_units(self._db, model, application, n)

    def remove_units(self, model: str, application: str, n: int = 1) -> None:
        alive = [
            unit
            for unit in applications.units(self._db, model, application)
            if unit["life"] == "alive"
        ]
        if n > len(alive):
            raise ModelError(f"cannot remove {n} units: application has {len(alive)}")
        applications.scale(self._db, model, application, len(alive) - n)

    def remove_application(
        self, model: str, application: str, destroy_storage: bool = False, force: bool = False
    ) -> None:
        applications.remove(self._db, model, application, destroy_storage=destroy_storage,
                            force=force)  # fmt: skip

    def trust(self, model: str, application: str, remove: bool = False) -> None:
        applications.set_trust(self._db, model, application, not remove)

    def resolve(self, model: str, unit: str = "", all: bool = False, retry: bool = True) -> None:
        names = [unit]
        if all or unit == "all":
            models.get(self._db, model)
            names = [
                row["name"]
                for row in self._db.all("SELECT * FROM units WHERE model = ?", model)
                if row["agent"].get("error")
            ]
        applications.resolve(self._db, model, names, retry)

    # Actions ---------------------------------------------------------------------------------

    def new_operation(self, model: str) -> int:
        """Begins an operation: `run` and `exec` put tasks into it."""
        models.get(self._db, model)
        return tasks.new_operation(self._db, model)

    def run(
        self, model: str, unit: str, action: str, params: Map | None = None,
        operation: int | None = None,
    ) -> dict[str, str]:  # fmt: skip
        models.get(self._db, model)
        return tasks.run(self._db, model, unit, action, params or {}, operation)

    def exec(
        self, model: str, unit: str, command: str, operator: bool = True,
        operation: int | None = None,
    ) -> dict[str, str]:  # fmt: skip
        if not operator:
            raise NotSupported("exec in a workload container")
        models.get(self._db, model)
        return tasks.execute(self._db, model, unit, command, operation)

    async def exec_container(
        self, model: str, unit: str, script: str, container: str = "", terminal: str | None = None,
        *, incoming: Incoming, tell: Tell,
    ) -> int:  # fmt: skip
        """Runs a shell command in a container of the unit's pod, outside of any hook.

        Args:
            terminal: what kind of terminal the command has, as TERM names it; None: no terminal.
        """
        name = tasks.unit_of(self._db, model, unit)
        row = applications.get(self._db, model, name.rpartition("/")[0])
        known = ["charm", *applications.charm_of(self._db, row).containers]
        container = container or "charm"
        if container == "charm":
            script = f"cd {_CHARM_FOLDER}\n{script}"
        if terminal:
            script = f"export TERM={shlex.quote(terminal)}\n{script}"
        if container not in known:
            raise ModelError(f'container "{container}" must be one of {", ".join(known)}')
        try:
            return await self._cluster.exec(
                model, name.replace("/", "-"), container, ["/bin/sh", "-c", script],
                incoming, tell, terminal=terminal is not None,
            )  # fmt: skip
        except OSError as error:
            raise ModelError(f'container for unit "{name}" is not ready yet: {error}') from None

    def operations(self, model: str) -> dict[str, Any]:
        models.get(self._db, model)
        return tasks.operations(self._db, model)

    def operation(self, model: str, id: str) -> dict[str, Any]:
        models.get(self._db, model)
        return tasks.operation(self._db, model, str(id))

    def task(self, model: str, id: str) -> dict[str, Any]:
        return tasks.show(self._db, model, str(id))

    def cancel_task(self, model: str, id: str) -> None:
        tasks.cancel(self._db, model, str(id))

    def actions(self, model: str, application: str) -> dict[str, Any]:
        return status.actions(self._db, model, application)

    # What is shown ---------------------------------------------------------------------------

    def status(self, model: str) -> dict[str, Any]:
        return status.status(self._db, self._cluster, model)

    def show_unit(self, model: str, unit: str) -> dict[str, Any]:
        return status.show_unit(self._db, self._cluster, model, unit)

    def show_application(self, model: str, application: str) -> dict[str, Any]:
        return status.show_application(self._db, model, application)

    def storage(self, model: str) -> dict[str, Any]:
        return status.storage_listing(self._db, model, {})

    async def storage_details(self, model: str) -> dict[str, Any]:
        """With what the cluster calls the claims and volumes."""
        models.get(self._db, model)
        return status.storage_listing(self._db, model, await self._cluster.claims(model))

    async def storage_pools(self, model: str) -> dict[str, Any]:
        return pools.listing(self._db, model, await self._cluster.storage_classes())

    async def create_storage_pool(
        self, model: str, name: str, provider: str, attributes: Mapping[str, str]
    ) -> None:
        classes = await self._cluster.storage_classes()
        pools.create(self._db, model, name, provider, attributes, classes)

    def update_storage_pool(
        self, model: str, name: str, attributes: Mapping[str, str], provider: str = ""
    ) -> None:
        pools.update(self._db, model, name, provider, attributes)

    def remove_storage_pool(self, model: str, name: str) -> None:
        pools.remove(self._db, model, name)

    async def remove_storage(self, model: str, id: str) -> None:
        models.get(self._db, model)
        claim = storage.begin_removal(self._db, model, id)
        await self._cluster.remove_claim(model, claim)
        storage.end_removal(self._db, model, id)

    def status_log(self, model: str, entity: str) -> list[dict[str, str]]:
        return statuses.history(self._db, model, entity)

    # Secrets ---------------------------------------------------------------------------------

    def secrets(self, model: str) -> dict[str, Any]:
        return secrets.listing(self._db, model)

    def show_secret(
        self, model: str, id: str, reveal: bool = False, revision: int | None = None,
        revisions: bool = False,
    ) -> dict[str, Any]:  # fmt: skip
        return secrets.show(self._db, model, id, reveal, revision, revisions)

    def add_secret(
        self, model: str, name: str, content: Mapping[str, str], description: str = ""
    ) -> str:
        return secrets.user_add(self._db, model, name, content, description)

    def update_secret(
        self, model: str, id: str, content: Mapping[str, str] | None = None,
        description: str | None = None, name: str | None = None, auto_prune: bool | None = None,
    ) -> None:  # fmt: skip
        secrets.user_update(self._db, model, id, content, description, name, auto_prune)

    def remove_secret(self, model: str, id: str, revision: int | None = None) -> None:
        secrets.user_remove(self._db, model, id, revision)

    def grant_secret(self, model: str, id: str, applications: list[str] | str) -> None:
        secrets.user_grant(self._db, model, id, _names(applications), True)

    def revoke_secret(self, model: str, id: str, applications: list[str] | str) -> None:
        secrets.user_grant(self._db, model, id, _names(applications), False)

    def hook_statistics(self, model: str) -> list[dict[str, Any]]:
        """What each hook and action of each unit cost since the engine started."""
        models.get(self._db, model)
        return self._statistics.of(model)

    # For tests -------------------------------------------------------------------------------

    def fault(
        self, model: str, unit: str, hook: str, point: str, effect: str, seconds: float = 0
    ) -> None:
        """Plans a fault of `localjuju.agent.faults` for the next run of a hook."""
        applications.unit(self._db, model, unit)
        self._plan(Fault(unit, hook, point, effect, seconds))

    def move_leader(self, model: str, application: str) -> str | None:
        """Another unit leads from now on, where there is one; returns who leads."""
        row = applications.get(self._db, model, application)
        with self._db.transaction():
            applications.elect(self._db, model, application, [row["leader"]])
        return applications.get(self._db, model, application)["leader"]

    def jump_clock(self, seconds: float) -> None:
        """Moves the model's clock forward, so that secrets rotate and expire."""
        clock.jump(seconds)
        with self._db.transaction():  # kept over a restart
            self._db.run("DELETE FROM clock")
            self._db.insert("clock", seconds=clock.offset())


def _names(applications: list[str] | str) -> list[str]:
    return applications.split(",") if isinstance(applications, str) else applications
