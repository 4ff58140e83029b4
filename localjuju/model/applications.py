"""Applications and their units: deploy, scale, configure, refresh, remove."""

from __future__ import annotations

import datetime
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from localjuju.model import charms, clock, config, models, relations, secrets, storage
from localjuju.model.charm import Charm
from localjuju.model.db import Database, Row
from localjuju.model.errors import ModelError, NotFound

_FORCE_AFTER = datetime.timedelta(minutes=1)
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]*[a-z][a-z0-9]*)*")
UNIT_NAME = re.compile(r"[a-z][a-z0-9-]*/\d+")


def get(db: Database, model: str, name: str) -> Row:
    """Raises NotFound: no such model or application."""
    models.get(db, model)
    row = db.one("SELECT * FROM applications WHERE model = ? AND name = ?", model, name)
    if row is None:
        raise NotFound(f'application "{name}" not found')
    return row


def unit(db: Database, model: str, name: str) -> Row:
    """Raises NotFound: no such model or unit."""
    models.get(db, model)
    if not UNIT_NAME.fullmatch(name):
        raise ModelError(f'"{name}" is not a valid unit name')
    row = db.one("SELECT * FROM units WHERE model = ? AND name = ?", model, name)
    if row is None:
        raise NotFound(f'unit "{name}" not found')
    return row


def units(db: Database, model: str, application: str) -> list[Row]:
    """All units, dying ones too, by number."""
    return db.all(
        "SELECT * FROM units WHERE model = ? AND application = ? ORDER BY number",
        model, application,
    )  # fmt: skip


def charm_of(db: Database, application: Row) -> Charm:
    return charms.get(db, application["charm"])


def deploy(
    db: Database, model: str, name: str, charm: Charm, *, values: Mapping[str, Any],
    resources: Mapping[str, str], count: int, trust: bool, constraints: str,
    directives: Mapping[str, str], path: str = "",
    sources: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:  # fmt: skip
    """Adds the application and its units.

    Args:
        path: the charm's file.
        sources: by pool, the `class` and the `mode` of its volumes' claims.

    Raises:
        ModelError: a name that is taken or malformed, a bad option, resource or storage.
    """
    row = models.get(db, model)
    if row["life"] != "alive":
        raise ModelError(f'cannot add application "{name}": model "{model}" is being destroyed')
    if not _NAME.fullmatch(name):
        raise ModelError(f'invalid application name "{name}"')
    if db.one("SELECT 1 FROM applications WHERE model = ? AND name = ?", model, name):
        raise ModelError(f'cannot add application "{name}": application already exists')
    if db.one("SELECT 1 FROM saas WHERE model = ? AND name = ?", model, name):
        raise ModelError(
            f'cannot add application "{name}": saas application with same name already exists'
        )
    if count < 0:
        raise ModelError("number of units must not be negative")
    options = config.parse(charm, values)
    kept = check_resources(charm, resources)
    stores = storage.plan(charm, directives)
    for spec in stores.values():
        spec |= (sources or {}).get(spec["pool"], {})
    models.check_constraints(constraints)
    with db.transaction():
        charms.keep(db, charm, path)
        db.insert(
            "applications", model=model, name=name, charm=charm.sha256,
            charm_rev=_next_revision(db, model, charm.name), life="alive", trust=int(trust),
            next_unit=0, config=options, resources=kept, storage=stores,
            constraints=constraints, modified=0, leader=None, status="unset", message="",
            status_data={}, since=clock.text(),
        )  # fmt: skip
        relations.add_peers(db, model, name, charm)
        add_units(db, model, name, count)


def _next_revision(db: Database, model: str, charm: str) -> int:
    revisions = models.get(db, model)["charm_revisions"]
    number = revisions.get(charm, -1) + 1
    db.run("UPDATE models SET charm_revisions = ? WHERE name = ?", revisions | {charm: number},
           model)  # fmt: skip
    return number


def check_resources(charm: Charm, given: Mapping[str, str]) -> dict[str, str]:
    """Raises ModelError: an unknown resource, or an image that is missing."""
    for name in given:
        if name not in charm.resources:
            raise ModelError(f'unrecognized resource "{name}"')
    needed = {
        name
        for name, spec in charm.resources.items()
        if spec.get("type") == "oci-image" and name not in given
    }
    if needed:
        raise ModelError(f"local charm missing OCI images for: {', '.join(sorted(needed))}")
    for name, value in given.items():
        if charm.resources[name].get("type") == "file" and not Path(value).is_file():
            raise ModelError(f'cannot open resource "{name}": no file "{value}"')
    return dict(given)


def add_units(db: Database, model: str, application: str, count: int) -> list[str]:
    """On Kubernetes a unit's number is its pod's ordinal: freed numbers come again."""
    row = get(db, model, application)
    if row["life"] != "alive":
        raise ModelError(f'application "{application}" is not alive')
    taken = {unit["number"] for unit in units(db, model, application)}
    if any(unit["life"] != "alive" for unit in units(db, model, application)) and count:
        raise ModelError(
            f'application "{application}" is still scaling down: try again when its units are gone'
        )
    added = []
    with db.transaction():
        number = 0
        while len(added) < count:
            if number not in taken:
                name = f"{application}/{number}"
                now = clock.text()
                db.insert(
                    "units", model=model, name=name, application=application, number=number,
                    life="alive", status="waiting", message="installing agent",
                    status_data={}, since=now, agent_status="allocating", agent_message="",
                    agent_data={}, agent_since=now,
                )  # fmt: skip
                storage.attach(db, model, name, charm_of(db, row), row["storage"])
                added.append(name)
            number += 1
        elect(db, model, application)
    return added


def elect(db: Database, model: str, application: str, exclude: Collection[str] = ()) -> None:
    """Keeps the leader while it lives; else the lowest live unit leads that is not excluded."""
    row = get(db, model, application)
    alive = [
        unit["name"]
        for unit in units(db, model, application)
        if unit["life"] == "alive" and unit["name"] not in exclude
    ]
    leader = row["leader"] if row["leader"] in alive else (alive[0] if alive else None)
    if leader is None:
        # the last unit keeps the lead while it goes: it still has application data to clean up
        present = [unit["name"] for unit in units(db, model, application)]
        leader = row["leader"] if row["leader"] in present else None
    if leader != row["leader"]:
        db.run("UPDATE applications SET leader = ? WHERE model = ? AND name = ?", leader, model,
               application)  # fmt: skip


def scale(db: Database, model: str, application: str, count: int) -> None:
    """Adds units, or lets the highest numbered ones go."""
    row = get(db, model, application)
    if row["life"] != "alive":
        raise ModelError(f'application "{application}" is not alive')
    if count < 0:
        raise ModelError("scale must be a positive number or zero")
    alive = [unit for unit in units(db, model, application) if unit["life"] == "alive"]
    with db.transaction():
        if count > len(alive):
            add_units(db, model, application, count - len(alive))
        for unit in alive[count:]:
            kill_unit(db, model, unit["name"])


def kill_unit(db: Database, model: str, name: str) -> None:
    """The unit begins to go: its agent runs what has to be run; then `bury_unit`."""
    row = unit(db, model, name)
    db.run("UPDATE units SET life = 'dying' WHERE model = ? AND name = ? AND life = 'alive'",
           model, name)  # fmt: skip
    if not row["agent"].get("installed"):
        bury_unit(db, model, name)
    else:
        elect(db, model, row["application"])


def bury_unit(db: Database, model: str, name: str) -> None:
    """The unit is gone: out of every scope, its rows removed, its lead given up."""
    row = unit(db, model, name)
    relations.leave_all(db, model, name)
    secrets.remove_owned(db, model, "unit", name)
    for known, where in {name: model, **secrets.names_elsewhere(db, model, name)}.items():
        db.run("DELETE FROM secret_consumers WHERE unit = ? AND secret IN "
               "(SELECT id FROM secrets WHERE model = ?)", known, where)  # fmt: skip
    application = get(db, model, row["application"])
    # One that never ran has no volume.
    keep = bool(row["agent"].get("installed")) and not application["destroy_storage"]
    storage.leave(db, model, name, charm_of(db, application), application["storage"], keep=keep)
    db.run("UPDATE tasks SET status = 'aborted', message = 'unit removed', completed = ? "
           "WHERE model = ? AND unit = ? AND status IN ('pending', 'running')",
           clock.text(), model, name)  # fmt: skip
    db.run("DELETE FROM units WHERE model = ? AND name = ?", model, name)
    elect(db, model, row["application"])
    relations.prune(db, model)


def remove(db: Database, model: str, name: str, *, destroy_storage: bool, force: bool) -> None:
    """The application begins to go; its row goes when nothing of it is left in the cluster.

    Args:
        force: a unit in error goes without its hooks, and so does one that is still there after a
            minute, as with Juju. All others still run their hooks: they clean up.
    """
    get(db, model, name)
    if not force:
        relations.check_offers(db, model, name)
    at = clock.text(clock.now() + _FORCE_AFTER) if force else None
    with db.transaction():
        db.run("DELETE FROM offers WHERE model = ? AND application = ?", model, name)
        db.run("UPDATE applications SET life = 'dying', destroy_storage = ?, force_at = ? "
               "WHERE model = ? AND name = ?", int(destroy_storage), at, model, name)  # fmt: skip
        for relation in relations.of(db, model, name):
            relations.kill(db, model, relation["id"])
        for row in units(db, model, name):
            if force and row["agent"].get("error"):
                bury_unit(db, model, row["name"])
            else:
                kill_unit(db, model, row["name"])
        relations.prune(db, model)


def force(db: Database, model: str, name: str) -> None:
    """What is still there of an application that is removed by force goes now."""
    with db.transaction():
        for row in units(db, model, name):
            bury_unit(db, model, row["name"])
        relations.prune(db, model)


def bury(db: Database, model: str, name: str) -> None:
    """Removes what is left of an application whose cluster objects are gone."""
    with db.transaction():
        for relation in relations.of(db, model, name):
            relations.delete(db, model, relation["id"])
        if get(db, model, name)["destroy_storage"]:
            storage.forget_left(db, model, name)
        secrets.remove_owned(db, model, "application", name)
        db.run("DELETE FROM secret_grants WHERE target = ? AND secret IN "
               "(SELECT id FROM secrets WHERE model = ?)", name, model)  # fmt: skip
        db.run("DELETE FROM applications WHERE model = ? AND name = ?", model, name)


def set_config(
    db: Database, model: str, name: str, values: Mapping[str, Any], reset: list[str]
) -> None:
    """Also sets `trust`, which Juju counts to an application's configuration.

    Raises:
        ModelError: an unknown option or a value of the wrong type.
    """
    row = get(db, model, name)
    charm = charm_of(db, row)
    trust = row["trust"]
    if "trust" not in charm.options:
        trust = 0 if "trust" in reset else trust
        trust = int(config.trust(values["trust"])) if "trust" in values else trust
        values = {key: value for key, value in values.items() if key != "trust"}
        reset = [key for key in reset if key != "trust"]
    for key in reset:
        if key not in charm.options:
            raise ModelError(f'unknown option "{key}"')
    merged = {**row["config"], **config.parse(charm, values)}
    for key in reset:
        merged.pop(key, None)
    with db.transaction():
        db.run("UPDATE applications SET config = ?, trust = ? WHERE model = ? AND name = ?",
               merged, trust, model, name)  # fmt: skip


def set_trust(db: Database, model: str, name: str, trust: bool) -> None:
    get(db, model, name)
    with db.transaction():
        db.run("UPDATE applications SET trust = ? WHERE model = ? AND name = ?", int(trust),
               model, name)  # fmt: skip


def refresh(
    db: Database, model: str, name: str, charm: Charm | None, resources: Mapping[str, str],
    path: str = "",
) -> None:  # fmt: skip
    """Another charm or other resources: every unit gets a new pod.

    Args:
        path: the charm's file.

    Raises:
        ModelError: the new charm has another name, or lost an endpoint that is related.
    """
    row = get(db, model, name)
    old = charm_of(db, row)
    new = charm or old
    if new.name != old.name:
        raise ModelError(
            f'cannot upgrade application "{name}" to charm "{new.name}": it is "{old.name}"'
        )
    for relation in relations.of(db, model, name):
        for endpoint in relations.endpoints_of(relation, name):
            if endpoint not in new.endpoints:
                raise ModelError(
                    f'cannot upgrade application "{name}" to charm "{new.name}": '
                    f'would break relation "{relations.key(relation)}"'
                )
    wanted = {key: value for key, value in row["resources"].items() if key in new.resources}
    merged = check_resources(new, wanted | dict(resources))
    stores = storage.plan(new, {}) | {
        key: value for key, value in row["storage"].items() if key in new.storage
    }
    kept = {key: value for key, value in row["config"].items() if key in new.options}
    with db.transaction():
        charms.keep(db, new, path)
        revision = row["charm_rev"]
        if new.sha256 != old.sha256:
            revision = _next_revision(db, model, new.name)
        db.run("UPDATE applications SET charm = ?, charm_rev = ?, resources = ?, storage = ?, "
               "config = ?, modified = modified + 1 WHERE model = ? AND name = ?",
               new.sha256, revision, merged, stores, kept, model, name)  # fmt: skip
        relations.add_peers(db, model, name, new)


def set_constraints(db: Database, model: str, name: str, text: str) -> None:
    """New pods get the constraints; as on Juju every pod is replaced."""
    get(db, model, name)
    models.check_constraints(text)
    with db.transaction():
        db.run("UPDATE applications SET constraints = ?, modified = modified + 1 "
               "WHERE model = ? AND name = ?", text, model, name)  # fmt: skip


def resolve(db: Database, model: str, names: list[str], retry: bool) -> None:
    """Raises ModelError: a unit that is not in error."""
    with db.transaction():
        for name in names:
            row = unit(db, model, name)
            if not row["agent"].get("error"):
                raise ModelError(f'unit "{name}" is not in an error state')
            agent = row["agent"] | {"resolved": "retry" if retry else "skip"}
            db.run("UPDATE units SET agent = ? WHERE model = ? AND name = ?", agent, model, name)
