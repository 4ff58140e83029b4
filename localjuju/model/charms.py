"""Charms in the model: rows for what they declare, folders for their files."""

from __future__ import annotations

from localjuju.model.charm import Charm
from localjuju.model.db import Database
from localjuju.model.errors import NotFound

# A digest says what a charm is: agents ask for theirs at every turn.
_read: dict[str, Charm] = {}


def keep(db: Database, charm: Charm, path: str = "") -> None:
    """Writes the charm's row where it is new; to be called in a transaction.

    Args:
        path: the file that it was read from, which an exported bundle names.
    """
    if db.one("SELECT 1 FROM charms WHERE sha256 = ?", charm.sha256) is None:
        db.insert(
            "charms", sha256=charm.sha256, name=charm.name, metadata=dict(charm.metadata),
            config=dict(charm.options), actions=dict(charm.actions),
            manifest=dict(charm.manifest),
        )  # fmt: skip
    if path:
        db.run("DELETE FROM charm_files WHERE sha256 = ?", charm.sha256)
        db.insert("charm_files", sha256=charm.sha256, path=path)


def file_of(db: Database, sha256: str) -> str:
    """The file that a charm was read from last; "" where that was not kept."""
    row = db.one("SELECT path FROM charm_files WHERE sha256 = ?", sha256)
    return row["path"] if row else ""


def get(db: Database, sha256: str) -> Charm:
    """Raises NotFound: it was never kept."""
    if charm := _read.get(sha256):
        return charm
    row = db.one("SELECT * FROM charms WHERE sha256 = ?", sha256)
    if row is None:
        raise NotFound(f"charm {sha256[:12]} not found")
    charm = Charm(
        sha256, row["name"], row["metadata"], row["config"], row["actions"], row["manifest"]
    )
    _read[sha256] = charm
    return charm
