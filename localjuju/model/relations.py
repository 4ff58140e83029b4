"""Relations, who is in them, and what their databags hold."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from localjuju.model import charms
from localjuju.model.charm import Charm, Endpoint
from localjuju.model.db import Database, Row
from localjuju.model.errors import ModelError, NotFound


def link(db: Database, model: str, relation: int) -> Row | None:
    """The other side of a relation between models: its row there, what it is called here."""
    return db.one("SELECT * FROM relation_links WHERE model = ? AND relation = ?", model, relation)


def _across(db: Database, model: str, relation: int, application: str) -> Row | None:
    """The link, where `application` is the one in another model."""
    found = link(db, model, relation)
    return found if found and found["remote"] == application else None


def get(db: Database, model: str, relation: int) -> Row | None:
    return db.one("SELECT * FROM relations WHERE model = ? AND id = ?", model, relation)


def of(db: Database, model: str, application: str) -> list[Row]:
    """Every relation that an application takes part in, by id."""
    return db.all(
        "SELECT * FROM relations WHERE model = ? AND (provider = ? OR requirer = ?) ORDER BY id",
        model, application, application,
    )  # fmt: skip


def key(relation: Row) -> str:
    """Juju's name of a relation: the requirer first."""
    provider = f"{relation['provider']}:{relation['provider_endpoint']}"
    if relation["peer"]:
        return provider
    return f"{relation['requirer']}:{relation['requirer_endpoint']} {provider}"


def tag(relation: Row) -> str:
    """A relation's name where Juju tells of one among other things."""
    return f"relation-{key(relation).replace(':', '.').replace(' ', '#')}"


def endpoints_of(relation: Row, application: str) -> list[str]:
    """The application's endpoints in the relation: one, or both of one related to itself."""
    sides = [
        relation[f"{side}_endpoint"]
        for side in ("provider", "requirer")
        if relation[side] == application
    ]
    return sides[:1] if relation["peer"] else sides


def endpoint(relation: Row, application: str) -> str:
    return endpoints_of(relation, application)[0]


def other(relation: Row, application: str) -> str:
    """The application on the other side; the same one in a peer relation."""
    if relation["peer"]:
        return application
    return relation["requirer" if relation["provider"] == application else "provider"]


def add_peers(db: Database, model: str, application: str, charm: Charm) -> None:
    present = {row["provider_endpoint"] for row in of(db, model, application) if row["peer"]}
    for name, spec in sorted(charm.endpoints.items()):
        if spec.role == "peer" and name not in present:
            _insert(db, model, spec.interface, "global", True, (application, name),
                    (application, name))  # fmt: skip


def _insert(
    db: Database, model: str, interface: str, scope: str, peer: bool,
    provider: tuple[str, str], requirer: tuple[str, str],
) -> int:  # fmt: skip
    row = db.one("SELECT next_relation AS next FROM models WHERE name = ?", model)
    assert row is not None
    db.run("UPDATE models SET next_relation = next_relation + 1 WHERE name = ?", model)
    db.insert(
        "relations", model=model, id=row["next"], life="alive", interface=interface, scope=scope,
        peer=int(peer), provider=provider[0], provider_endpoint=provider[1],
        requirer=requirer[0], requirer_endpoint=requirer[1],
    )  # fmt: skip
    for application in sorted({provider[0], requirer[0]}):
        db.insert("application_databags", model=model, relation=row["next"],
                  application=application, data={}, version=0)  # fmt: skip
    return row["next"]


def _side(db: Database, model: str, text: str) -> tuple[str, dict[str, Endpoint]]:
    application, colon, name = text.partition(":")
    row = db.one("SELECT * FROM applications WHERE model = ? AND name = ?", model, application)
    if row is not None:
        endpoints = charms.get(db, row["charm"]).endpoints
    elif offer := _consumed(db, model, application):
        source = db.one("SELECT charm FROM applications WHERE model = ? AND name = ?",
                        offer["model"], offer["application"])  # fmt: skip
        known = charms.get(db, source["charm"]).endpoints if source else {}
        endpoints = {key: known[key] for key in offer["endpoints"] if key in known}
    else:
        raise NotFound(f'application "{application}" not found')
    if colon:
        if name not in endpoints:
            raise NotFound(f'application "{application}" has no "{name}" relation')
        endpoints = {name: endpoints[name]}
    return application, endpoints


def _consumed(db: Database, model: str, name: str) -> Row | None:
    """The offer that a model consumes under a name."""
    return db.one(
        "SELECT o.* FROM saas s JOIN offers o ON o.model = s.offer_model AND o.name = s.offer "
        "WHERE s.model = ? AND s.name = ? AND s.life = 'alive'",
        model, name,
    )  # fmt: skip


def _matches(
    db: Database, model: str, a: str, b: str
) -> list[tuple[str, Endpoint, str, Endpoint]]:
    """(requirer, its endpoint, provider, its endpoint) of every pair that fits."""
    one, ones = _side(db, model, a)
    two, twos = _side(db, model, b)
    found = []
    for x in ones.values():
        for y in twos.values():
            if x.interface != y.interface:
                continue
            if (x.role, y.role) == ("requirer", "provider"):
                found.append((one, x, two, y))
            elif (x.role, y.role) == ("provider", "requirer"):
                found.append((two, y, one, x))
    return sorted(set(found), key=lambda pair: (pair[1].name, pair[3].name))


def integrate(db: Database, model: str, a: str, b: str) -> Row:
    """Relates two applications; either may be `app` or `app:endpoint`.

    Raises:
        ModelError: nothing fits, more than one pair fits, it exists, or a limit is reached.
    """
    found = _matches(db, model, a, b)
    if not found:
        raise ModelError("no relations found")
    if len(found) > 1:
        texts = "; ".join(sorted(f'"{one}:{x.name} {two}:{y.name}"' for one, x, two, y in found))
        raise ModelError(f'ambiguous relation: "{a} {b}" could refer to {texts}')
    requirer, wants, provider, gives = found[0]
    name = f"{requirer}:{wants.name} {provider}:{gives.name}"
    cannot = f'cannot add relation "{name}"'
    if _find(db, model, requirer, wants.name, provider, gives.name):
        raise ModelError(f"{cannot}: relation {name} already exists")
    offers = [_consumed(db, model, name) for name in (requirer, provider)]
    if all(offers):
        raise ModelError(f"{cannot}: cannot relate two offers of other models")
    for application, spec, offer in zip((requirer, provider), (wants, gives), offers, strict=True):
        where, real = (offer["model"], offer["application"]) if offer else (model, application)
        row = db.one("SELECT life FROM applications WHERE model = ? AND name = ?", where,
                     real)  # fmt: skip
        if row is None or row["life"] != "alive":
            raise ModelError(f"{cannot}: application {application} is not alive")
        used = [r for r in of(db, where, real) if spec.name in endpoints_of(r, real)]
        if spec.limit and len(used) >= spec.limit:
            raise ModelError(
                f"{cannot}: establishing a new relation for {application}:{spec.name} would "
                f"exceed its maximum relation limit of {spec.limit}"
            )
    with db.transaction():
        number = _insert(db, model, gives.interface, "global", False, (provider, gives.name),
                         (requirer, wants.name))  # fmt: skip
        for remote, offer in zip((requirer, provider), offers, strict=True):
            if offer:
                _join(db, model, number, remote, offer)
    row = get(db, model, number)
    assert row is not None
    return row


def _join(db: Database, model: str, relation: int, remote: str, offer: Row) -> None:
    """Makes the relation's row in the offering model, and links the two."""
    row = get(db, model, relation)
    assert row is not None
    mine = other(row, remote)
    name = proxy(db, model, mine)
    ends = {
        side: (
            (offer["application"] if row[side] == remote else name),
            row[f"{side}_endpoint"],
        )
        for side in ("provider", "requirer")
    }
    there = _insert(db, offer["model"], row["interface"], "global", False, ends["provider"],
                    ends["requirer"])  # fmt: skip
    db.insert("relation_links", model=model, relation=relation, remote=remote,
              other_model=offer["model"], other_relation=there,
              other_application=offer["application"])  # fmt: skip
    db.insert("relation_links", model=offer["model"], relation=there, remote=name,
              offer=offer["name"], other_model=model, other_relation=relation,
              other_application=mine)  # fmt: skip


def proxy(db: Database, model: str, application: str) -> str:
    """What a consuming application is called where the offer is."""
    row = db.one("SELECT uuid FROM models WHERE name = ?", model)
    assert row is not None
    return f"remote-{uuid.uuid5(uuid.UUID(row['uuid']), application).hex}"


def _find(
    db: Database, model: str, requirer: str, wants: str, provider: str, gives: str
) -> Row | None:
    return db.one(
        "SELECT * FROM relations WHERE model = ? AND requirer = ? AND requirer_endpoint = ? "
        "AND provider = ? AND provider_endpoint = ? AND peer = 0",
        model, requirer, wants, provider, gives,
    )  # fmt: skip


def remove(db: Database, model: str, a: str, b: str, force: bool) -> None:
    """The relation begins to go; its row goes when the last unit has left it.

    Raises:
        NotFound: there is no such relation.
    """
    rows = [
        row
        for one, x, two, y in _matches(db, model, a, b)
        if (row := _find(db, model, one, x.name, two, y.name))
    ]
    if not rows:
        raise NotFound(f'relation "{a} {b}" not found')
    if len(rows) > 1:
        texts = "; ".join(f'"{key(row)}"' for row in rows)
        raise ModelError(f'ambiguous relation: "{a} {b}" could refer to {texts}')
    with db.transaction():
        kill(db, model, rows[0]["id"])
        if force:
            delete(db, model, rows[0]["id"])
        prune(db, model)


def check_offers(db: Database, model: str, application: str) -> None:
    """Raises ModelError: the application is offered to other models."""
    rows = db.all("SELECT 1 FROM offers WHERE model = ? AND application = ?", model, application)
    if rows:
        many = "offer" if len(rows) == 1 else "offers"
        raise ModelError(
            f'cannot destroy application "{application}": application is used by {len(rows)} '
            f"{many}"
        )


def kill(db: Database, model: str, relation: int) -> None:
    """Peer relations never break: they end with their application."""
    for where, number in _rows(db, model, relation):
        db.run("UPDATE relations SET life = 'dying' WHERE model = ? AND id = ? AND peer = 0",
               where, number)  # fmt: skip


def _rows(db: Database, model: str, relation: int) -> list[tuple[str, int]]:
    """(model, id) of a relation's row, and of the one in the other model where it has one."""
    found = link(db, model, relation)
    mine = [(model, relation)]
    return [*mine, (found["other_model"], found["other_relation"])] if found else mine


def delete(db: Database, model: str, relation: int) -> None:
    """Removes a relation, at both sides where it is between models."""
    for where, number in _rows(db, model, relation):
        _delete(db, where, number)


def _delete(db: Database, model: str, relation: int) -> None:
    db.run("DELETE FROM secret_grants WHERE relation = ? AND secret IN "
           "(SELECT id FROM secrets WHERE model = ?)", relation, model)  # fmt: skip
    db.run("DELETE FROM relations WHERE model = ? AND id = ?", model, relation)


def prune(db: Database, model: str) -> None:
    """Removes dying relations that no unit is in any more, and then what was consumed.

    What is consumed may be another model's: the last unit to leave may be the offering side's.
    """
    for row in db.all("SELECT id FROM relations WHERE model = ? AND life = 'dying'", model):
        if not any(_occupied(db, *side) for side in _rows(db, model, row["id"])):
            delete(db, model, row["id"])
    for row in db.all("SELECT model, name FROM saas WHERE life = 'dying'"):
        if not of(db, row["model"], row["name"]):
            db.run("DELETE FROM saas WHERE model = ? AND name = ?", row["model"], row["name"])


def _occupied(db: Database, model: str, relation: int) -> bool:
    return bool(
        db.one("SELECT 1 FROM unit_databags WHERE model = ? AND relation = ? AND in_scope = 1",
               model, relation)
    )  # fmt: skip


def enter(db: Database, model: str, relation: int, unit: str, data: Mapping[str, str]) -> None:
    """A unit comes into scope, with the addresses Juju puts into its databag."""
    row = databag(db, model, relation, unit)
    if row is None:
        db.insert("unit_databags", model=model, relation=relation, unit=unit, data=dict(data),
                  version=1, in_scope=1)  # fmt: skip
    else:
        db.run("UPDATE unit_databags SET in_scope = 1 WHERE model = ? AND relation = ? "
               "AND unit = ?", model, relation, unit)  # fmt: skip


def leave(db: Database, model: str, relation: int, unit: str) -> None:
    db.run("UPDATE unit_databags SET in_scope = 0 WHERE model = ? AND relation = ? AND unit = ?",
           model, relation, unit)  # fmt: skip


def leave_all(db: Database, model: str, unit: str) -> None:
    db.run("UPDATE unit_databags SET in_scope = 0 WHERE model = ? AND unit = ?", model, unit)


def databag(db: Database, model: str, relation: int, unit: str) -> Row | None:
    """A unit's, also one in another model."""
    application, _, number = unit.rpartition("/")
    if far := _across(db, model, relation, application):
        model, relation = far["other_model"], far["other_relation"]
        unit = f"{far['other_application']}/{number}"
    return db.one(
        "SELECT * FROM unit_databags WHERE model = ? AND relation = ? AND unit = ?",
        model, relation, unit,
    )  # fmt: skip


def application_databag(db: Database, model: str, relation: int, application: str) -> Row | None:
    """An application's, also one in another model."""
    if far := _across(db, model, relation, application):
        model, relation = far["other_model"], far["other_relation"]
        application = far["other_application"]
    return db.one(
        "SELECT * FROM application_databags WHERE model = ? AND relation = ? AND application = ?",
        model, relation, application,
    )  # fmt: skip


def members(db: Database, model: str, relation: int, application: str) -> dict[str, int]:
    """Units of `application` in scope, with the version of their databag; sorted by number."""
    if far := _across(db, model, relation, application):
        there = members(db, far["other_model"], far["other_relation"], far["other_application"])
        return {f"{application}/{u.rpartition('/')[2]}": v for u, v in there.items()}
    rows = db.all(
        "SELECT unit, version FROM unit_databags "
        "WHERE model = ? AND relation = ? AND in_scope = 1",
        model, relation,
    )  # fmt: skip
    mine = [row for row in rows if row["unit"].rpartition("/")[0] == application]
    mine.sort(key=lambda row: int(row["unit"].rpartition("/")[2]))
    return {row["unit"]: row["version"] for row in mine}


def write(
    db: Database, table: str, model: str, relation: int, member: str, changes: Mapping[str, str]
) -> None:
    """Merges into a databag; an empty value deletes its key; a new version if anything differs."""
    column = "unit" if table == "unit_databags" else "application"
    where = f"WHERE model = ? AND relation = ? AND {column} = ?"
    row = db.one(f"SELECT data FROM {table} {where}", model, relation, member)
    if row is None:
        return
    merged = {k: v for k, v in {**row["data"], **changes}.items() if v != ""}
    if merged != row["data"]:
        db.run(f"UPDATE {table} SET data = ?, version = version + 1 {where}", merged, model,
               relation, member)  # fmt: skip
