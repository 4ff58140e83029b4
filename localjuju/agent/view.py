"""What an agent sees when it chooses: one reading of the model, the pod and Pebble."""

from __future__ import annotations

import datetime
import hashlib
import json
import random
from dataclasses import dataclass, field

from localjuju.agent.hooks import Hook
from localjuju.agent.state import AgentState
from localjuju.model import (
    applications,
    charms,
    clock,
    config,
    models,
    relations,
    secrets,
    storage,
)
from localjuju.model.charm import Charm
from localjuju.model.db import Database, Row
from localjuju.model.substrate import Cluster, Pod


@dataclass(frozen=True)
class RelationView:
    """A relation as one unit sees it."""

    id: int
    endpoint: str
    remote_app: str
    peer: bool
    dying: bool
    members: dict[str, int]
    application_version: int


@dataclass
class View:
    """`events` are notices and checks that Pebble told of; `boots` its boot id per container."""

    unit: Row
    application: Row
    charm: Charm
    state: AgentState
    pod: Pod | None
    leader: bool
    config_hash: str
    relations: list[RelationView]
    storage: list[Row]
    tasks: list[Row]
    secret_hooks: list[Hook]
    next_secret: str | None
    retry: bool
    update_at: datetime.datetime | None
    boots: dict[str, str] = field(default_factory=dict)
    events: list[Hook] = field(default_factory=list)
    now: datetime.datetime = field(default_factory=clock.now)

    @property
    def dying(self) -> bool:
        return self.unit["life"] != "alive"


def pod_name(unit: str) -> str:
    return unit.replace("/", "-")


def load(
    db: Database, cluster: Cluster, model: str, name: str, boots: dict[str, str],
    events: list[Hook],
) -> View | None:  # fmt: skip
    """None: the unit is gone."""
    unit = db.one("SELECT * FROM units WHERE model = ? AND name = ?", model, name)
    if unit is None:
        return None
    application = applications.get(db, model, unit["application"])
    state = AgentState.from_json(unit["agent"])
    pod = cluster.pod(model, pod_name(name))
    # A unit keeps the charm in its pod until a refresh has replaced the pod.
    adopted = pod is not None and pod.uid == state.pod
    charm = charms.get(db, state.charm if adopted else application["charm"])
    leader = application["leader"] == name
    hooks, next_secret = _secrets(db, model, name, application, leader)
    return View(
        unit=unit, application=application, charm=charm, state=state, pod=pod, leader=leader,
        config_hash=config_hash(charm, application, pod.ip if pod else ""),
        relations=_relations(db, model, name, application["name"], charm),
        storage=storage.of_unit(db, model, name),
        tasks=db.all("SELECT * FROM tasks WHERE model = ? AND unit = ? AND status = 'pending' "
                     "ORDER BY id", model, name),
        secret_hooks=hooks, next_secret=next_secret,
        update_at=_update_at(db, model, name, state.updated),
        retry=bool(models.setting(db, model, "automatically-retry-hooks")),
        boots=boots, events=events,
    )  # fmt: skip


def _update_at(db: Database, model: str, unit: str, last: str) -> datetime.datetime | None:
    """When `update-status` is due; a fifth of jitter keeps units from waking all at once."""
    if not last:
        return None
    seconds = models.seconds(str(models.setting(db, model, "update-status-hook-interval")))
    share = random.Random(unit + last).uniform(0.8, 1.2)
    return clock.parse(last) + datetime.timedelta(seconds=seconds * share)


def config_hash(charm: Charm, application: Row, ip: str) -> str:
    """Changes when `config-changed` is due: options, trust, or the pod's address."""
    values = config.effective(charm, application["config"])
    text = json.dumps([values, application["trust"], ip], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _relations(
    db: Database, model: str, unit: str, application: str, charm: Charm
) -> list[RelationView]:
    found = []
    for row in relations.of(db, model, application):
        if relations.endpoint(row, application) not in charm.endpoints:
            continue  # of the charm that the unit gets with its next pod
        remote = relations.other(row, application)
        members = relations.members(db, model, row["id"], remote)
        members.pop(unit, None)
        databag = relations.application_databag(db, model, row["id"], remote)
        found.append(
            RelationView(
                row["id"], relations.endpoint(row, application), remote, bool(row["peer"]),
                row["life"] != "alive", members, databag["version"] if databag else 0,
            )
        )  # fmt: skip
    return found


def _secrets(
    db: Database, model: str, unit: str, application: Row, leader: bool
) -> tuple[list[Hook], str | None]:
    """Secret hooks that are due, in the order they run, and when the next one will be."""
    now = clock.text()
    owner = "(s.owner_kind = 'unit' AND s.owner = ?)"
    owners = [unit]
    if leader:
        owner = f"({owner} OR (s.owner_kind = 'application' AND s.owner = ?))"
        owners.append(application["name"])
    revisions = db.all(
        "SELECT s.id, s.label, s.latest, r.revision, r.expire, r.expired_told, r.obsolete, "
        "r.remove_told FROM secrets s JOIN secret_revisions r ON r.secret = s.id "
        f"WHERE s.model = ? AND {owner} AND ((r.expire IS NOT NULL AND r.expired_told = 0) "
        "OR (r.obsolete = 1 AND r.remove_told = 0)) ORDER BY s.id, r.revision",
        model, *owners,
    )  # fmt: skip
    rotating = db.all(
        "SELECT s.id, s.label, s.next_rotate FROM secrets s "
        f"WHERE s.model = ? AND {owner} AND s.next_rotate IS NOT NULL ORDER BY s.id",
        model, *owners,
    )  # fmt: skip
    changed = db.all(
        "SELECT s.id, c.label, s.latest FROM secret_consumers c JOIN secrets s ON s.id = c.secret "
        "WHERE s.model = ? AND c.unit = ? AND c.told < s.latest AND NOT (s.owner_kind = 'unit' "
        "AND s.owner = ?) AND NOT (s.owner_kind = 'application' AND s.owner = ?) ORDER BY s.id",
        model, unit, unit, application["name"],
    )  # fmt: skip
    if not leader:  # followers that read a secret of their application's, by its label
        changed += db.all(
            "SELECT s.id, coalesce(c.label, s.label) AS label, s.latest FROM secret_consumers c "
            "JOIN secrets s ON s.id = c.secret WHERE s.model = ? AND c.unit = ? "
            "AND c.told < s.latest AND s.owner_kind = 'application' AND s.owner = ? ORDER BY s.id",
            model, unit, application["name"],
        )  # fmt: skip
    for name, where in secrets.names_elsewhere(db, model, unit).items():
        changed += db.all(
            "SELECT s.id, c.label, s.latest, m.uuid AS source FROM secret_consumers c "
            "JOIN secrets s ON s.id = c.secret JOIN models m ON m.name = s.model "
            "WHERE s.model = ? AND c.unit = ? AND c.told < s.latest ORDER BY s.id",
            where, name,
        )  # fmt: skip
    due: list[Hook] = []
    later: list[str] = []
    for row in revisions:
        if row["expire"] and not row["expired_told"]:
            if row["expire"] <= now:
                due.append(_secret("secret-expired", row, row["revision"]))
            else:
                later.append(row["expire"])
    for row in rotating:
        if row["next_rotate"] <= now:
            due.append(_secret("secret-rotate", row, 0))
        else:
            later.append(row["next_rotate"])
    due += [_secret("secret-changed", row, row["latest"]) for row in changed]
    due += [
        _secret("secret-remove", row, row["revision"])
        for row in revisions
        if row["obsolete"] and not row["remove_told"]
    ]
    return due, min(later, default=None)


def _secret(kind: str, row: Row, revision: int) -> Hook:
    return Hook(
        kind, secret=row["id"], label=row["label"] or "", revision=revision,
        source=row.get("source", ""),
    )  # fmt: skip
