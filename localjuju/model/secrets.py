"""Secrets: revisions, owners, grants, and who follows which revision."""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import os
import re
from collections.abc import Mapping
from typing import Any

from localjuju.model import clock, models, relations
from localjuju.model.db import Database, Row
from localjuju.model.errors import ModelError, NotFound

_KEY = re.compile(r"[a-z](?:[a-z0-9-]*[a-z0-9])?")
_ID = re.compile(r"[0-9a-v]{20}")
_DAY = 86400
_MOST_BYTES = 1000 * 1000  # of one value, and of all of a secret's
ROTATE_SECONDS = {
    "never": 0, "hourly": 3600, "daily": _DAY, "weekly": 7 * _DAY, "monthly": 30 * _DAY,
    "quarterly": 91 * _DAY, "yearly": 365 * _DAY,
}  # fmt: skip


def new_id() -> str:
    """20 characters that nobody can guess, in the alphabet Juju's ids have."""
    return base64.b32hexencode(os.urandom(13)).decode().lower()[:20]


def bare(text: str) -> str:
    """`secret:ID` or `secret://MODEL/ID` → ID.

    Raises:
        ModelError: neither of them, nor an id.
    """
    name = text.removeprefix("secret:").rpartition("/")[2]
    if not _ID.fullmatch(name):
        raise ModelError(f'secret URI "{text}" not valid')
    return name


def check_content(content: Mapping[str, str]) -> None:
    """Raises ModelError: no keys, a key that Juju refuses, or more than it takes.

    Juju measures the values in base64. Source: juju/juju, core/secrets/createsecret.go.
    """
    if not content:
        raise ModelError("missing secret value or filename")
    total = 0
    for key, value in content.items():
        if len(key) < 3 or not _KEY.fullmatch(key):
            raise ModelError(f'key "{key}" not valid')
        size = -(-len(value.encode()) // 3) * 4
        total += size
        if size > _MOST_BYTES:
            text = f'base64 encoded secret content for key "{key}" too large: {size} bytes'
            raise ModelError(text)
    if total > _MOST_BYTES:
        raise ModelError(f"base64 encoded secret content too large: {total} bytes")


def get(db: Database, model: str, identity: str) -> Row | None:
    return db.one("SELECT * FROM secrets WHERE model = ? AND id = ?", model, identity)


def by_label(db: Database, model: str, kind: str, owner: str, label: str) -> Row | None:
    return db.one(
        "SELECT * FROM secrets WHERE model = ? AND owner_kind = ? AND owner = ? AND label = ?",
        model, kind, owner, label,
    )  # fmt: skip


def content(db: Database, secret: str, revision: int) -> dict[str, str]:
    """Raises NotFound: the revision was removed."""
    row = db.one("SELECT content FROM secret_revisions WHERE secret = ? AND revision = ?",
                 secret, revision)  # fmt: skip
    if row is None:
        raise NotFound(f'secret revision "{secret}/{revision}" not found')
    return row["content"]


def create(
    db: Database, model: str, identity: str, kind: str, owner: str, values: Mapping[str, str], *,
    label: str | None = None, description: str = "", rotate: str = "never",
    expire: str | None = None,
) -> None:  # fmt: skip
    """To be called in a transaction.

    Raises:
        ModelError: the owner has a secret with this label.
    """
    if label and by_label(db, model, kind, owner, label):
        raise ModelError(f'secret with label "{label}" already exists')
    now = clock.text()
    db.insert(
        "secrets", id=identity, model=model, owner_kind=kind, owner=owner, label=label,
        description=description, rotate=rotate, next_rotate=next_rotation(rotate), latest=1,
        created=now, updated=now,
    )  # fmt: skip
    db.insert("secret_revisions", secret=identity, revision=1, content=dict(values), created=now,
              expire=expire)  # fmt: skip


def next_rotation(rotate: str) -> str | None:
    """When it is next due, from now."""
    seconds = ROTATE_SECONDS[rotate]
    return clock.text(clock.now() + datetime.timedelta(seconds=seconds)) if seconds else None


def update(
    db: Database, identity: str, *, values: Mapping[str, str] | None = None,
    label: str | None = None, description: str | None = None, rotate: str | None = None,
    expire: str | None = None,
) -> None:  # fmt: skip
    """Changes what is given; other content is a new revision, the same content is none."""
    row = db.one("SELECT * FROM secrets WHERE id = ?", identity)
    if row is None:
        raise NotFound(f'secret "{identity}" not found')
    now = clock.text()
    for column, value in (("label", label), ("description", description), ("rotate", rotate)):
        if value is not None and value != row[column]:
            db.run(f"UPDATE secrets SET {column} = ?, updated = ? WHERE id = ?", value, now,
                   identity)  # fmt: skip
    if rotate is not None and rotate != row["rotate"]:
        db.run("UPDATE secrets SET next_rotate = ? WHERE id = ?", next_rotation(rotate), identity)
    latest = row["latest"]
    if values is not None and dict(values) != content(db, identity, latest):
        latest += 1
        db.insert("secret_revisions", secret=identity, revision=latest, content=dict(values),
                  created=now, expire=expire)  # fmt: skip
        db.run("UPDATE secrets SET latest = ?, updated = ? WHERE id = ?", latest, now, identity)
        mark_obsolete(db, identity)
    elif expire is not None:
        db.run("UPDATE secret_revisions SET expire = ?, expired_told = 0 WHERE secret = ? "
               "AND revision = ?", expire, identity, latest)  # fmt: skip


def mark_obsolete(db: Database, identity: str) -> None:
    """Old revisions nobody follows any more: their owner is told, or they go at once."""
    row = db.one("SELECT * FROM secrets WHERE id = ?", identity)
    if row is None:
        return
    db.run(
        "UPDATE secret_revisions SET obsolete = 1 WHERE secret = ? AND revision < ? AND revision "
        "NOT IN (SELECT revision FROM secret_consumers WHERE secret = ?)",
        identity, row["latest"], identity,
    )  # fmt: skip
    if row["auto_prune"]:
        db.run("DELETE FROM secret_revisions WHERE secret = ? AND obsolete = 1", identity)


def remove(db: Database, identity: str, revision: int | None) -> None:
    """One revision, or the secret; the secret goes with its last revision."""
    if revision is not None:
        db.run(
            "DELETE FROM secret_revisions WHERE secret = ? AND revision = ?", identity, revision
        )
        if db.one("SELECT 1 FROM secret_revisions WHERE secret = ?", identity):
            return
    db.run("DELETE FROM secrets WHERE id = ?", identity)


def remove_owned(db: Database, model: str, kind: str, owner: str) -> None:
    db.run("DELETE FROM secrets WHERE model = ? AND owner_kind = ? AND owner = ?", model, kind,
           owner)  # fmt: skip


def grant(db: Database, identity: str, target: str, relation: int | None) -> None:
    db.run("INSERT INTO secret_grants (secret, target, relation) VALUES (?, ?, ?) "
           "ON CONFLICT (secret, target) DO UPDATE SET relation = excluded.relation",
           identity, target, relation)  # fmt: skip


def revoke(db: Database, identity: str, target: str) -> None:
    """An application's grant takes those of its units along, and what they follow."""
    db.run("DELETE FROM secret_grants WHERE secret = ? AND (target = ? OR target LIKE ?)",
           identity, target, f"{target}/%")  # fmt: skip
    db.run("DELETE FROM secret_consumers WHERE secret = ? AND (unit = ? OR unit LIKE ?)",
           identity, target, f"{target}/%")  # fmt: skip


def may_read(db: Database, secret: Row, unit: str) -> bool:
    """The owner, every unit of an owning application, and whom it was granted."""
    application = unit.rpartition("/")[0]
    if secret["owner"] == {"unit": unit, "application": application}.get(secret["owner_kind"]):
        return True
    row = db.one("SELECT 1 FROM secret_grants WHERE secret = ? AND target IN (?, ?)",
                 secret["id"], unit, application)  # fmt: skip
    return row is not None


def names_elsewhere(db: Database, model: str, unit: str) -> dict[str, str]:
    """What a unit is called in the models whose offers its application uses: name → model."""
    application, _, number = unit.rpartition("/")
    rows = db.all(
        "SELECT DISTINCT model, remote FROM relation_links WHERE other_model = ? "
        "AND other_application = ? AND offer IS NOT NULL",
        model, application,
    )  # fmt: skip
    return {f"{row['remote']}/{number}": row["model"] for row in rows}


def find(db: Database, model: str, unit: str, identity: str) -> tuple[Row, str] | None:
    """A secret of the model, or of one whose offer the unit uses, and what the unit is there."""
    if row := get(db, model, identity):
        return row, unit
    for name, where in names_elsewhere(db, model, unit).items():
        row = get(db, where, identity)
        if row and may_read(db, row, name):
            return row, name
    return None


def consumer(db: Database, secret: str, unit: str) -> Row | None:
    return db.one("SELECT * FROM secret_consumers WHERE secret = ? AND unit = ?", secret, unit)


def consumer_by_label(db: Database, model: str, unit: str, label: str) -> Row | None:
    for name, where in {unit: model, **names_elsewhere(db, model, unit)}.items():
        row = db.one(
            "SELECT c.* FROM secret_consumers c JOIN secrets s ON s.id = c.secret "
            "WHERE s.model = ? AND c.unit = ? AND c.label = ?",
            where, name, label,
        )  # fmt: skip
        if row:
            return row
    return None


def follow(
    db: Database, secret: str, unit: str, revision: int, latest: int, label: str | None
) -> None:
    """The unit uses `revision` from now on; it knows of everything up to `latest`."""
    db.run(
        "INSERT INTO secret_consumers (secret, unit, label, revision, told) VALUES (?,?,?,?,?) "
        "ON CONFLICT (secret, unit) DO UPDATE SET revision = excluded.revision, "
        "told = max(told, excluded.told), label = coalesce(excluded.label, label)",
        secret, unit, label, revision, latest,
    )  # fmt: skip
    mark_obsolete(db, secret)


# What the user owns --------------------------------------------------------------------------


def _find(db: Database, model: str, name: str) -> Row:
    """By id or, for the user's own, by name.

    Raises:
        NotFound: neither.
    """
    models.get(db, model)
    row = by_label(db, model, "model", model, name)
    if row is None:
        try:
            row = get(db, model, bare(name))
        except ModelError:
            row = None
    if row is None:
        raise NotFound(f'secret "{name}" not found')
    return row


def _users(db: Database, model: str, name: str) -> Row:
    row = _find(db, model, name)
    if row["owner_kind"] != "model":
        raise ModelError(f'secret "{name}" is not the user\'s: permission denied')
    return row


def user_add(
    db: Database, model: str, name: str, values: Mapping[str, str], description: str
) -> str:
    models.get(db, model)
    check_content(values)
    if by_label(db, model, "model", model, name):
        raise ModelError(f'secret with name "{name}" already exists')
    identity = new_id()
    with db.transaction():
        create(db, model, identity, "model", model, values, label=name, description=description)
    return f"secret:{identity}"


def user_update(
    db: Database, model: str, name: str, values: Mapping[str, str] | None,
    description: str | None, new_name: str | None, auto_prune: bool | None,
) -> None:  # fmt: skip
    row = _users(db, model, name)
    if values is not None:
        check_content(values)
    with db.transaction():
        if auto_prune is not None:
            db.run("UPDATE secrets SET auto_prune = ? WHERE id = ?", int(auto_prune), row["id"])
        update(db, row["id"], values=values, description=description, label=new_name)


def user_remove(db: Database, model: str, name: str, revision: int | None) -> None:
    row = _users(db, model, name)
    with db.transaction():
        remove(db, row["id"], revision)


def user_grant(db: Database, model: str, name: str, applications: list[str], give: bool) -> None:
    row = _users(db, model, name)
    for application in applications:
        if not db.one("SELECT 1 FROM applications WHERE model = ? AND name = ?", model,
                      application):  # fmt: skip
            raise NotFound(f'application "{application}" not found')
    with db.transaction():
        for application in applications:
            if give:
                grant(db, row["id"], application, None)
            else:
                revoke(db, row["id"], application)


def listing(db: Database, model: str) -> dict[str, Any]:
    """As `juju secrets --format json`."""
    models.get(db, model)
    rows = db.all("SELECT * FROM secrets WHERE model = ? ORDER BY created", model)
    return {row["id"]: _described(db, row) for row in rows}


def show(
    db: Database, model: str, name: str, reveal: bool, revision: int | None, revisions: bool
) -> dict[str, Any]:
    """As `juju show-secret --format json`."""
    row = _find(db, model, name)
    described = _described(db, row)
    if revisions:
        described["revisions"] = [
            {"revision": r["revision"], "created-at": _time(r["created"]),
             "backend": "internal", "created": _time(r["created"]),
             "updated": _time(r["created"])}
            for r in db.all("SELECT * FROM secret_revisions WHERE secret = ? ORDER BY revision",
                            row["id"])
        ]  # fmt: skip
    access = [
        {
            "target": f"unit-{g['target'].replace('/', '-')}"
            if "/" in g["target"]
            else f"application-{g['target']}",
            "scope": _scope(db, row, g["relation"]),
            "role": "view",
        }
        for g in db.all("SELECT * FROM secret_grants WHERE secret = ? ORDER BY target", row["id"])
    ]
    if access:
        described["access"] = access
    if reveal:
        values = content(db, row["id"], revision or row["latest"])
        described["content"] = {"Data": values}
        described["checksum"] = hashlib.sha256(
            json.dumps(values, sort_keys=True).encode()
        ).hexdigest()
    return {row["id"]: described}


def _scope(db: Database, secret: Row, relation: int | None) -> str:
    """The tag of what a grant lives as long as."""
    if relation is None:
        return f"model-{models.get(db, secret['model'])['uuid']}"
    found = relations.get(db, secret["model"], relation)
    return relations.tag(found) if found else ""


def _described(db: Database, row: Row) -> dict[str, Any]:
    owner = {"model": "<model>"}.get(row["owner_kind"], row["owner"])
    described: dict[str, Any] = {"revision": row["latest"], "owner": owner}
    if row["rotate"] != "never":
        described |= {"rotation": row["rotate"], "rotates": _time(row["next_rotate"])}
    latest = db.one("SELECT expire FROM secret_revisions WHERE secret = ? AND revision = ?",
                    row["id"], row["latest"])  # fmt: skip
    if latest and latest["expire"]:
        described["expires"] = _time(latest["expire"])
    if row["description"]:
        described["description"] = row["description"]
    if row["label"]:
        described["name" if row["owner_kind"] == "model" else "label"] = row["label"]
    return described | {"created": _time(row["created"]), "updated": _time(row["updated"])}


def _time(stored: str) -> str:
    return clock.seconds_text(stored)
