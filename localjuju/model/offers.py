"""Offers of one model, and the applications of another that consume them (SAAS).

A relation between models is a row in each; `relation_links` names the row at the other side and
what the application there is called here. Databags are kept once, where their writer is.
"""

from __future__ import annotations

import re
from typing import Any

from localjuju.model import applications, charms, clock, models, relations, statuses
from localjuju.model.charm import Endpoint
from localjuju.model.db import Database, Row
from localjuju.model.errors import ModelError, NotFound

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]*[a-z][a-z0-9]*)*")
OWNER = "admin"


def url(model: str, name: str) -> str:
    """How an offer is named in any model of this controller."""
    return f"{OWNER}/{model}.{name}"


def parse(text: str) -> tuple[str, str]:
    """`[CONTROLLER:][OWNER/]MODEL.OFFER` → model, offer.

    Raises:
        ModelError: it is no such thing, or another controller's.
    """
    controller, colon, rest = text.rpartition(":")
    if colon and controller != models.CONTROLLER:
        raise ModelError(f"controller {controller} not found")
    owner, slash, name = rest.rpartition("/")
    model, dot, offer = name.partition(".")
    if not dot or not model or not offer or (slash and owner != OWNER):
        raise ModelError(f'application offer URL "{text}" not valid')
    return model, offer


def get(db: Database, model: str, name: str) -> Row:
    """Raises NotFound: there is no such offer."""
    row = db.one("SELECT * FROM offers WHERE model = ? AND name = ?", model, name)
    if row is None:
        raise NotFound(f'application offer "{url(model, name)}" not found')
    return row


def add(db: Database, model: str, application: str, endpoints: list[str], name: str) -> str:
    """Offers endpoints; returns the offer's URL. Offering the same again changes its endpoints.

    Raises:
        ModelError: no such endpoint, or the name is another application's.
    """
    known = endpoints_of(db, model, application)
    name = name or application
    for endpoint in endpoints:
        if endpoint not in known or known[endpoint].role == "peer":
            raise NotFound(f'endpoint "{endpoint}" not found')
    if not endpoints:
        raise ModelError("application offer must have at least one endpoint")
    if not _NAME.fullmatch(name):
        raise ModelError(f'offer name "{name}" not valid')
    there = db.one("SELECT * FROM offers WHERE model = ? AND name = ?", model, name)
    if there and there["application"] != application:
        raise ModelError(
            f'cannot add application offer "{name}": it is of application "{there["application"]}"'
        )
    with db.transaction():
        db.run("DELETE FROM offers WHERE model = ? AND name = ?", model, name)
        db.insert("offers", model=model, name=name, application=application,
                  endpoints=sorted(endpoints))  # fmt: skip
    return url(model, name)


def endpoints_of(db: Database, model: str, application: str) -> dict[str, Endpoint]:
    """Raises NotFound: there is no such application."""
    row = applications.get(db, model, application)
    return charms.get(db, row["charm"]).endpoints


def remove(db: Database, model: str, name: str, force: bool) -> None:
    """Raises ModelError: it has relations, and is not removed by force."""
    get(db, model, name)
    related = connections(db, model, name)
    if related and not force:
        many = "relation" if len(related) == 1 else "relations"
        raise ModelError(
            f'cannot delete application offer "{name}": offer has {len(related)} {many}'
        )
    with db.transaction():
        for row in related:
            relations.kill(db, model, row["id"])
        db.run("DELETE FROM offers WHERE model = ? AND name = ?", model, name)
        relations.prune(db, model)


def connections(db: Database, model: str, name: str) -> list[Row]:
    """The offering model's relations over an offer, with the link's columns."""
    return db.all(
        "SELECT r.*, l.other_model, l.other_relation, l.other_application FROM relations r "
        "JOIN relation_links l ON l.model = r.model AND l.relation = r.id "
        "WHERE r.model = ? AND l.offer = ? ORDER BY r.id",
        model, name,
    )  # fmt: skip


def consume(db: Database, model: str, offer_url: str, alias: str = "") -> str:
    """Makes an offer known in a model under a name, which it returns.

    Raises:
        ModelError: no such offer, or the name is taken.
    """
    models.get(db, model)
    source, name = parse(offer_url)
    models.get(db, source)
    get(db, source, name)
    alias = alias or name
    if not _NAME.fullmatch(alias):
        raise ModelError(f'SAAS application name "{alias}" not valid')
    if db.one("SELECT 1 FROM applications WHERE model = ? AND name = ?", model, alias):
        raise ModelError(
            f'cannot add saas application "{alias}": local application with same name already '
            "exists"
        )
    there = saas(db, model, alias)
    if there and (there["offer_model"], there["offer"]) == (source, name):
        return alias
    if there:
        raise ModelError(f'saas application called "{alias}" from a different offer exists')
    with db.transaction():
        db.insert("saas", model=model, name=alias, offer_model=source, offer=name, life="alive")
    return alias


def local_name(db: Database, model: str, end: str, *, add: bool = True) -> str:
    """An end of a relation; an offer's URL becomes its name in the model, consumed if `add`."""
    head, colon, endpoint = end.rpartition(":")
    name = head if colon and "." not in endpoint and "/" not in endpoint else end
    if "." not in name:
        return end
    rest = f":{endpoint}" if name != end else ""
    source, offer = parse(name)
    for row in db.all("SELECT * FROM saas WHERE model = ? AND offer_model = ? AND offer = ?",
                      model, source, offer):  # fmt: skip
        return row["name"] + rest
    return (consume(db, model, name) if add else offer) + rest


def saas(db: Database, model: str, name: str) -> Row | None:
    """What is consumed in a model under a name."""
    return db.one("SELECT * FROM saas WHERE model = ? AND name = ?", model, name)


def remove_saas(db: Database, model: str, name: str) -> None:
    """It goes when its relations have ended.

    Raises:
        NotFound: there is none of that name.
    """
    models.get(db, model)
    if saas(db, model, name) is None:
        raise NotFound(f'saas application "{name}" not found')
    with db.transaction():
        db.run("UPDATE saas SET life = 'dying' WHERE model = ? AND name = ?", model, name)
        for row in relations.of(db, model, name):
            relations.kill(db, model, row["id"])
        relations.prune(db, model)


# What is shown -------------------------------------------------------------------------------


def _shown_endpoints(db: Database, offer: Row) -> dict[str, dict[str, str]]:
    known = endpoints_of(db, offer["model"], offer["application"])
    return {
        name: {"interface": known[name].interface, "role": known[name].role}
        for name in offer["endpoints"]
        if name in known
    }


def _charm(db: Database, offer: Row) -> str:
    row = applications.get(db, offer["model"], offer["application"])
    return f"local:{applications.charm_of(db, row).name}-{row['charm_rev']}"


def in_status(db: Database, model: str) -> dict[str, Any]:
    """`offers` of `juju status --format json`."""
    shown = {}
    for offer in db.all("SELECT * FROM offers WHERE model = ? ORDER BY name", model):
        related = connections(db, model, offer["name"])
        active = [row for row in related if row["life"] == "alive"]
        shown[offer["name"]] = {
            "application": offer["application"],
            "charm": _charm(db, offer),
            "total-connected-count": len(related),
            "active-connected-count": len(active),
            "endpoints": _shown_endpoints(db, offer),
        }
    return shown


def consumed_in_status(db: Database, model: str) -> dict[str, Any]:
    """`application-endpoints` of `juju status --format json`."""
    shown = {}
    for row in db.all("SELECT * FROM saas WHERE model = ? ORDER BY name", model):
        offer = db.one("SELECT * FROM offers WHERE model = ? AND name = ?", row["offer_model"],
                       row["offer"])  # fmt: skip
        current, message, since = "terminated", "offer has been removed", clock.text()
        if offer is not None:
            source = applications.get(db, offer["model"], offer["application"])
            units = applications.units(db, offer["model"], offer["application"])
            current, message, since = statuses.of_application(source, units)
        state = {"current": current, "since": clock.status_text(since)}
        related: dict[str, list[str]] = {}
        for relation in relations.of(db, model, row["name"]):
            for endpoint in relations.endpoints_of(relation, row["name"]):
                related.setdefault(endpoint, []).append(relations.other(relation, row["name"]))
        shown[row["name"]] = {
            "url": f"{models.CONTROLLER}:{url(row['offer_model'], row['offer'])}",
            "endpoints": _shown_endpoints(db, offer) if offer else {},
            **({"life": row["life"]} if row["life"] != "alive" else {}),
            "application-status": state | ({"message": message} if message else {}),
            "relations": related,
        }
    return shown


def listing(db: Database, model: str) -> dict[str, Any]:
    """As `juju offers --format json`."""
    models.get(db, model)
    shown = {}
    for offer in db.all("SELECT * FROM offers WHERE model = ? ORDER BY name", model):
        joined = [
            {
                "source-model-uuid": models.get(db, row["other_model"])["uuid"],
                "username": OWNER,
                "relation-id": row["id"],
                "endpoint": relations.endpoint(row, offer["application"]),
                "status": {"current": "joined" if row["life"] == "alive" else "broken"},
            }
            for row in connections(db, model, offer["name"])
        ]
        shown[offer["name"]] = {
            "application": offer["application"],
            "store": models.CONTROLLER,
            "charm": _charm(db, offer),
            "offer-url": url(model, offer["name"]),
            "endpoints": _shown_endpoints(db, offer),
            **({"connections": joined} if joined else {}),
            "users": _USERS,
        }
    return shown


_USERS = {OWNER: {"display-name": OWNER, "access": "admin"}}


def find(db: Database, model: str | None, name: str | None) -> dict[str, Any]:
    """As `juju find-offers --format json` and `juju show-offer --format json`."""
    rows = db.all("SELECT * FROM offers ORDER BY model, name")
    return {
        f"{models.CONTROLLER}:{url(offer['model'], offer['name'])}": {
            "access": "admin",
            "description": _description(db, offer),
            "endpoints": _shown_endpoints(db, offer),
            "users": _USERS,
        }
        for offer in rows
        if model in (None, offer["model"]) and name in (None, offer["name"])
    }


def _description(db: Database, offer: Row) -> str:
    row = applications.get(db, offer["model"], offer["application"])
    return str(applications.charm_of(db, row).metadata.get("description") or "")
