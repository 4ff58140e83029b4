"""A model as a bundle: what deploying it again needs."""

from __future__ import annotations

from typing import Any

from localjuju.model import applications, charms, config, models, offers, relations, storage
from localjuju.model.charm import Charm
from localjuju.model.db import Database, Row
from localjuju.model.errors import ModelError


def bundle(db: Database, model: str, charm_defaults: bool) -> dict[str, Any]:
    """The bundle, its overlay with what only overlays may say, and where the charms are.

    `charms` gives each application its charm's file, digest and Juju's name for it: whether the
    file still holds that charm, the caller looks.

    Args:
        charm_defaults: also options that nobody set.

    Raises:
        ModelError: there are no applications.
    """
    models.get(db, model)
    rows = db.all("SELECT * FROM applications WHERE model = ? AND life = 'alive' ORDER BY name",
                  model)  # fmt: skip
    if not rows:
        raise ModelError("nothing to export as there are no applications")
    consumed = db.all("SELECT * FROM saas WHERE model = ? AND life = 'alive' ORDER BY name", model)
    saas = {row["name"]: {"url": offers.url(row["offer_model"], row["offer"])} for row in consumed}
    related = _relations(db, model, {row["name"] for row in rows} | saas.keys())
    shown = {
        "bundle": "kubernetes",
        "saas": saas,
        "applications": {row["name"]: _application(db, row, charm_defaults) for row in rows},
        "relations": related,
    }
    return {
        "bundle": {key: value for key, value in shown.items() if value},
        "overlay": _overlay(db, model),
        "charms": {row["name"]: _charm(db, row) for row in rows},
    }


def _charm(db: Database, row: Row) -> dict[str, str]:
    return {
        "path": charms.file_of(db, row["charm"]),
        "sha256": row["charm"],
        "url": f"local:{applications.charm_of(db, row).name}-{row['charm_rev']}",
    }


def _application(db: Database, row: Row, charm_defaults: bool) -> dict[str, Any]:
    charm = applications.charm_of(db, row)
    units = applications.units(db, row["model"], row["name"])
    options = config.effective(charm, row["config"]) if charm_defaults else row["config"]
    shown = {
        "options": dict(sorted(options.items())),
        "resources": dict(sorted(row["resources"].items())),
        "constraints": row["constraints"],
        "storage": _storage(charm, row),
        "trust": bool(row["trust"]),
    }
    return {
        "charm": "",
        "scale": sum(unit["life"] == "alive" for unit in units),
        **{key: value for key, value in shown.items() if value},
    }


def _storage(charm: Charm, row: Row) -> dict[str, str]:
    """A store without instances has no directive: Juju refuses a count of 0."""
    return {
        name: storage.directive(spec)
        for name, spec in sorted(row["storage"].items())
        if name in charm.storage and spec["count"]
    }


def _relations(db: Database, model: str, known: set[str]) -> list[list[str]]:
    """Without peers, which come by themselves, and without those that other models made."""
    rows = db.all("SELECT * FROM relations WHERE model = ? AND life = 'alive' ORDER BY id", model)
    return [
        relations.key(row).split()
        for row in rows
        if not row["peer"] and {row["provider"], row["requirer"]} <= known
    ]


def _overlay(db: Database, model: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for row in db.all("SELECT * FROM offers WHERE model = ? ORDER BY name", model):
        one = found.setdefault(row["application"], {"offers": {}})
        one["offers"][row["name"]] = {
            "endpoints": sorted(row["endpoints"]),
            "acl": {offers.OWNER: "admin"},
        }
    return {"applications": found} if found else {}
