"""One running dispatch: what its hook commands read, and what they ask for until it commits."""

from __future__ import annotations

import secrets as random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from localjuju.agent.hooks import Hook
from localjuju.agent.state import AgentState
from localjuju.agent.view import pod_name
from localjuju.model import applications, charms, models, ports, relations
from localjuju.model.charm import Charm
from localjuju.model.db import Database, Row
from localjuju.model.logs import ModelLog, enabled
from localjuju.model.substrate import Cluster


class CommandError(Exception):
    """What a hook command prints after `ERROR `, and its exit code."""

    def __init__(self, message: str, code: int = 1):
        super().__init__(message)
        self.code = code


@dataclass
class PendingSecret:
    """A secret as it will be when the hook commits; None: unchanged."""

    created: bool = False
    owner_kind: str = ""
    owner: str = ""
    label: str | None = None
    description: str | None = None
    rotate: str | None = None
    expire: str | None = None
    content: dict[str, str] | None = None
    removed: bool = False


@dataclass
class ActionResult:
    """What an action said so far."""

    parameters: dict[str, Any]
    results: dict[str, Any] = field(default_factory=dict)
    failed: bool = False
    message: str = ""


class Context:
    """Reads come from the model as it is; writes wait for `flush`, as in Juju.

    Remote databags are read once per hook: a charm sees them unchanging while it runs.
    """

    def __init__(
        self, db: Database, cluster: Cluster, log: ModelLog, model: str, unit: str,
        hook: Hook | None, state: AgentState,
        resources: Callable[[str], tuple[str, Awaitable[None]]],
    ):  # fmt: skip
        self.db, self.cluster, self.log = db, cluster, log
        self.model, self.unit, self.hook, self.state = model, unit, hook, state
        self.application = unit.rpartition("/")[0]
        self._resources = resources
        self.id = f"{unit}-{hook.name if hook else 'juju-exec'}-{random.token_hex(16)}"
        self.unit_settings: dict[int, dict[str, str]] = {}
        self.application_settings: dict[int, dict[str, str]] = {}
        self.unit_state: dict[str, str] | None = None
        self.secrets: dict[str, PendingSecret] = {}
        self.action: ActionResult | None = None
        self._ports: list[Callable[[ports.Opened], dict[str, set[str]]]] = []
        self._later: list[Callable[[], None]] = []
        self._deliveries: list[Awaitable[None]] = []
        self._cache: dict[tuple[int, str], dict[str, str]] = {}

    # What commands read ----------------------------------------------------------------------

    @property
    def row(self) -> Row:
        return applications.unit(self.db, self.model, self.unit)

    @property
    def application_row(self) -> Row:
        return applications.get(self.db, self.model, self.application)

    @property
    def charm(self) -> Charm:
        """The one in the unit's pod; after a refresh the application's may be another."""
        return charms.get(self.db, self.state.charm)

    @property
    def leader(self) -> bool:
        return self.application_row["leader"] == self.unit

    def need_leader(self, text: str = "this unit is not the leader") -> None:
        """Raises CommandError: another unit leads."""
        if not self.leader:
            raise CommandError(text)

    def relation(self, text: str | None) -> Row:
        """`ep:3` or `3`; none: the relation of the hook.

        Raises:
            CommandError: there is no such relation; ops looks for its words.
        """
        if text is None:
            if self.hook is None or self.hook.relation is None:
                raise CommandError("no relation id specified", 2)
            text = str(self.hook.relation)
        number = text.rpartition(":")[2]
        row = None
        if number.isdigit():
            row = relations.get(self.db, self.model, int(number))
        if row is None or not self.knows(row["id"]):
            raise CommandError(f'invalid value "{text}" for option -r: relation not found', 2)
        return row

    def knows(self, relation: int) -> bool:
        """From `relation-created` on, and until it broke: only so long the unit has a databag."""
        told = self.state.relations.get(str(relation))
        hook = self.hook
        created = hook and (hook.kind, hook.relation) == ("relation-created", relation)
        return bool(created or (told and told.created))

    def members(self, relation: Row) -> list[str]:
        """Remote units this unit was told of, the one that departs left out."""
        told = self.state.relations.get(str(relation["id"]))
        names = set(told.joined) if told else set()
        hook = self.hook
        if hook and hook.relation == relation["id"]:
            if hook.kind == "relation-joined":
                names.add(hook.remote_unit)
            elif hook.kind == "relation-departed":
                names.discard(hook.remote_unit)
        return sorted(names, key=lambda name: int(name.rpartition("/")[2]))

    def unit_data(self, relation: int, unit: str) -> dict[str, str]:
        row = relations.databag(self.db, self.model, relation, unit)
        if unit == self.unit:
            return _merged(row["data"] if row else {}, self.unit_settings.get(relation, {}))
        if row is None:
            raise CommandError(
                f'cannot read settings for unit "{unit}" in relation: unit not found'
            )
        return self._cache.setdefault((relation, unit), row["data"])

    def application_data(self, relation: int, application: str) -> dict[str, str]:
        row = relations.application_databag(self.db, self.model, relation, application)
        data = row["data"] if row else {}
        if application == self.application:
            return _merged(data, self.application_settings.get(relation, {}))
        return self._cache.setdefault((relation, application), data)

    def addresses(self) -> dict[str, str]:
        """What Juju puts into a unit's databag."""
        pod = self.cluster.pod(self.model, pod_name(self.unit))
        address = self.cluster.address(self.model, self.application) or (pod.ip if pod else "")
        return databag_addresses(address)

    def resource_path(self, name: str) -> str:
        """Where the charm container sees a resource, once `deliver` has been awaited.

        Raises:
            CommandError: there is none.
        """
        path, delivery = self._resources(name)
        self._deliveries.append(delivery)
        return path

    async def deliver(self) -> None:
        """Has the files that were asked for put into the pod.

        Raises:
            CommandError: it cannot be done.
        """
        while self._deliveries:
            await self._deliveries.pop()

    # What they write -------------------------------------------------------------------------

    def ports(self) -> dict[str, set[str]]:
        """What the unit has open, with what this hook changed."""
        opened = ports.of(self.row)
        for change in self._ports:
            opened = change(opened)
        return opened

    def change_ports(self, change: Callable[[ports.Opened], dict[str, set[str]]]) -> None:
        """Opens or closes ports when the hook commits."""
        self._ports.append(change)

    def later(self, effect: Callable[[], None]) -> None:
        """`effect` runs in the transaction that commits the hook."""
        self._later.append(effect)

    def write_log(self, level: str, module: str, message: str) -> None:
        config = models.setting(self.db, self.model, "logging-config")
        if not enabled(str(config), module, level):
            return
        self.log.write(self.model, f"unit-{pod_name(self.unit)}", level, module, message)

    def flush(self) -> None:
        """Applies everything asked for; called in a transaction.

        Raises:
            CommandError: an effect is not allowed any more, e.g. the lead was lost.
        """
        for relation, changes in self.unit_settings.items():
            relations.write(self.db, "unit_databags", self.model, relation, self.unit, changes)
        if self.application_settings:
            self.need_leader("cannot write relation settings")
        for number, changes in self.application_settings.items():
            relations.write(self.db, "application_databags", self.model, number, self.application,
                            changes)  # fmt: skip
            row = relations.get(self.db, self.model, number)
            databag = relations.application_databag(self.db, self.model, number, self.application)
            if row and row["peer"] and databag:
                # Nobody is told of their own writes.
                self.state.relation(number).application_version = databag["version"]
        if self.unit_state is not None:
            self.db.run("UPDATE units SET state = ? WHERE model = ? AND name = ?",
                        self.unit_state, self.model, self.unit)  # fmt: skip
        if self._ports:
            self.db.run("UPDATE units SET ports = ? WHERE model = ? AND name = ?",
                        ports.stored(self.ports()), self.model, self.unit)  # fmt: skip
        for effect in self._later:
            effect()


def databag_addresses(address: str) -> dict[str, str]:
    """The keys a unit's databag starts with on Juju 3.6."""
    if not address:
        return {}
    return {
        "egress-subnets": f"{address}/32",
        "ingress-address": address,
        "private-address": address,
    }


def _merged(data: dict[str, str], changes: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in {**data, **changes}.items() if value != ""}
