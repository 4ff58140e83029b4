"""Storage instances of units; the volumes themselves are the cluster's."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from localjuju.model import clock
from localjuju.model.charm import Charm
from localjuju.model.db import Database, Row
from localjuju.model.errors import ModelError, NotFound

_SIZE = re.compile(r"(\d+(?:\.\d+)?)([MGTPE]?)(?:i?B?)")
_MIB = {"": 1, "M": 1, "G": 1024, "T": 1024**2, "P": 1024**3, "E": 1024**4}
_DEFAULT_MIB = 1024
POOL = "local"  # the cluster's default StorageClass
_JUJU_POOL = "kubernetes"  # what Juju calls it, and writes to the bundles that it exports


def mib(text: str) -> int:
    """`1G` → 1024 (MiB).

    Raises:
        ModelError: not a size.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ModelError(f'cannot parse size "{text}"')
    return max(1, int(float(match[1]) * _MIB[match[2]]))


def plan(charm: Charm, directives: Mapping[str, str]) -> dict[str, Any]:
    """{storage: {size_mib, count, pool}} from the charm and the user's `pool,size,count`.

    Raises:
        ModelError: an unknown storage, a size below its minimum, a count out of its range.
    """
    for name in directives:
        if name not in charm.storage:
            raise ModelError(f'charm "{charm.name}" has no store called "{name}"')
    return {name: _planned(charm, name, directives.get(name, "")) for name in charm.storage}


def _planned(charm: Charm, name: str, directive: str) -> dict[str, Any]:
    spec = charm.storage[name]
    if spec.get("type", "filesystem") != "filesystem":
        raise ModelError(f'storage "{name}" of type {spec["type"]}: not supported by localjuju')
    minimum = mib(str(spec["minimum-size"])) if spec.get("minimum-size") else 0
    low, high = _range(spec)
    pool, size, count = POOL, minimum or _DEFAULT_MIB, low
    for word in filter(None, directive.split(",")):
        if word.isdigit():
            count = int(word)
        elif _SIZE.fullmatch(word):
            size = mib(word)
        else:
            pool = POOL if word == _JUJU_POOL else word
    if size < minimum:
        raise ModelError(
            f'charm "{charm.name}" store "{name}": minimum storage size is {minimum}MB, '
            f"{size}MB specified"
        )
    if count < low or (high is not None and count > high):
        raise ModelError(
            f'charm "{charm.name}" store "{name}": {count} instances specified, '
            f"{low} to {high if high is not None else 'any number'} allowed"
        )
    return {"size_mib": size, "count": count, "pool": pool}


def directive(planned: Mapping[str, Any]) -> str:
    """What gives the same plan again; the default pool has another name on another cloud."""
    pool = [] if planned["pool"] == POOL else [planned["pool"]]
    return ",".join([*pool, str(planned["count"]), f"{planned['size_mib']}M"])


def _range(spec: Mapping[str, Any]) -> tuple[int, int | None]:
    multiple = spec.get("multiple")
    if not multiple:
        return 1, 1
    text = str(multiple.get("range", "1"))
    if text.endswith(("+", "-")):
        return int(text[:-1]), None
    low, dash, high = text.partition("-")
    return int(low), int(high) if dash else int(low)


def attach(db: Database, model: str, unit: str, charm: Charm, planned: Mapping[str, Any]) -> None:
    """Gives a new unit its instances: those that the last unit of its name left, or new ones.

    The volumes are the cluster's, which gives a StatefulSet's pod those of its number again.
    """
    for name, spec in sorted(planned.items()):
        for index in range(spec["count"]):
            location = charm.storage_location(name, index)
            left = db.one(
                "SELECT d.id FROM detached d JOIN storage s ON s.model = d.model AND s.id = d.id "
                "WHERE d.model = ? AND d.claim = ? AND s.life = 'alive'",
                model, _claim(unit, name, index),
            )  # fmt: skip
            if left is None:
                _add(db, model, unit, charm, name, location, spec["size_mib"])
                continue
            db.run("DELETE FROM detached WHERE model = ? AND id = ?", model, left["id"])
            db.run("UPDATE storage SET unit = ?, location = ?, since = ? WHERE model = ? "
                   "AND id = ?", unit, location, clock.text(), model, left["id"])  # fmt: skip


def leave(
    db: Database, model: str, unit: str, charm: Charm, planned: Mapping[str, Any], *, keep: bool
) -> None:
    """A unit is gone: its instances stay without a unit, or go with it.

    Args:
        keep: whether the volumes stay.
    """
    for row in of_unit(db, model, unit):
        name = row["name"]
        if not keep or pending(row):
            _forget(db, model, row["id"])
            continue
        number = row["location"].rpartition("/")[2]
        several = (charm.storage.get(name) or {}).get("multiple") and number.isdigit()
        db.run("UPDATE storage SET unit = '', attached = 0, since = ? WHERE model = ? AND id = ?",
               clock.text(), model, row["id"])  # fmt: skip
        db.insert(
            "detached", model=model, id=row["id"], application=unit.rpartition("/")[0],
            claim=_claim(unit, name, int(number) if several else 0),
            pool=(planned.get(name) or {}).get("pool", POOL),
        )  # fmt: skip


def forget_left(db: Database, model: str, application: str) -> None:
    """What an application's units left is gone, as its volumes were removed."""
    for row in db.all("SELECT id FROM detached WHERE model = ? AND application = ?", model,
                      application):  # fmt: skip
        _forget(db, model, row["id"])


def _forget(db: Database, model: str, id: str) -> None:
    db.run("DELETE FROM detached WHERE model = ? AND id = ?", model, id)
    db.run("DELETE FROM storage WHERE model = ? AND id = ?", model, id)


def begin_removal(db: Database, model: str, id: str) -> str:
    """No unit gets the instance any more; returns its claim, which is to be removed.

    Raises:
        ModelError: there is none, or a unit has it.
    """
    row = db.one("SELECT * FROM storage WHERE model = ? AND id = ?", model, id)
    cannot = f'cannot destroy storage "{id}"'
    if row is None:
        raise NotFound(f'{cannot}: storage instance "{id}" not found')
    if row["unit"]:
        raise ModelError(f"{cannot}: storage is attached")
    with db.transaction():
        db.run("UPDATE storage SET life = 'dying' WHERE model = ? AND id = ?", model, id)
    left = db.one("SELECT claim FROM detached WHERE model = ? AND id = ?", model, id)
    assert left is not None
    return left["claim"]


def end_removal(db: Database, model: str, id: str) -> None:
    with db.transaction():
        _forget(db, model, id)


def claim_name(application: str, storage: str, index: int) -> str:
    """The volume claim's name in the application's StatefulSet."""
    return f"{application}-{storage}" + (f"-{index}" if index else "")


def _claim(unit: str, storage: str, index: int) -> str:
    """The volume claim of a unit's pod, as Kubernetes names it."""
    application, _, number = unit.rpartition("/")
    return f"{claim_name(application, storage, index)}-{application}-{number}"


def claims(db: Database, model: str) -> dict[str, str]:
    """The volume claims' names by the numbers of their instances."""
    left = db.all("SELECT id, claim FROM detached WHERE model = ?", model)
    found = {row["id"]: row["claim"] for row in left}
    rows = db.all("SELECT * FROM storage WHERE model = ? AND unit != ''", model)
    there = [row for row in rows if not pending(row)]
    counts = Counter((row["unit"], row["name"]) for row in there)
    for row in there:
        unit, name = row["unit"], row["name"]
        # Where there are several, each has its number in its place.
        index = int(row["location"].rpartition("/")[2]) if counts[unit, name] > 1 else 0
        found[row["id"]] = _claim(unit, name, index)
    return {id.rpartition("/")[2]: name for id, name in found.items()}


def _add(
    db: Database, model: str, unit: str, charm: Charm, name: str, location: str, size: int
) -> None:
    row = db.one("SELECT next_storage FROM models WHERE name = ?", model)
    assert row is not None
    number = row["next_storage"].get("all", 0)
    db.run("UPDATE models SET next_storage = ? WHERE name = ?", {"all": number + 1}, model)
    db.insert(
        "storage", model=model, id=f"{name}/{number}", name=name, unit=unit, life="alive",
        attached=0, kind=charm.storage[name].get("type", "filesystem"),
        location=location, size_mib=size, since=clock.text(),
    )  # fmt: skip


def request(db: Database, model: str, unit: str, charm: Charm, name: str, count: int) -> None:
    """Adds instances to a unit that has been deployed.

    They have no place: the volumes of a StatefulSet are fixed from the start, on Juju 3 as here.

    Raises:
        ModelError: the charm does not take so many.
    """
    have = sum(row["name"] == name for row in of_unit(db, model, unit))
    _, most = _range(charm.storage[name])
    if most is not None and have + count > most:
        raise ModelError(
            f'cannot add storage: adding "{name}" storage to {unit}: charm "{charm.name}" store '
            f'"{name}": at most {most} instances supported, {have + count} specified'
        )
    for _ in range(count):
        _add(db, model, unit, charm, name, "", _DEFAULT_MIB)


def pending(row: Row) -> bool:
    """Whether it has no place yet: it was asked for after the unit had been deployed."""
    return not row["location"]


def of_unit(db: Database, model: str, unit: str) -> list[Row]:
    return db.all("SELECT * FROM storage WHERE model = ? AND unit = ? ORDER BY name, id", model,
                  unit)  # fmt: skip
