"""`juju status --format json` and the show commands, in Juju 3.6's shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localjuju.model import (
    applications,
    clock,
    models,
    offers,
    ports,
    relations,
    statuses,
    storage,
)
from localjuju.model.db import Database, Row
from localjuju.model.substrate import Claim, Cluster


def status(db: Database, cluster: Cluster, model: str) -> dict[str, Any]:
    """Raises NotFound: there is no such model."""
    row = models.get(db, model)
    alive = row["life"] == "alive"
    rows = db.all("SELECT * FROM applications WHERE model = ? ORDER BY name", model)
    between = {
        "application-endpoints": offers.consumed_in_status(db, model),
        "offers": offers.in_status(db, model),
    }
    return {
        "model": {
            "name": model,
            "type": "caas",
            "controller": models.CONTROLLER,
            "cloud": models.CLOUD,
            "region": models.REGION,
            "version": models.AGENT_VERSION,
            "model-status": {
                "current": "available" if alive else "destroying",
                "since": clock.status_text(row["created"]),
            },
            "sla": "unsupported",
        },
        "machines": {},
        "applications": {app["name"]: _application(db, cluster, model, app) for app in rows},
        **{key: found for key, found in between.items() if found},
        "storage": _storage(db, model),
        "controller": {"timestamp": clock.now().strftime("%H:%M:%SZ")},
    }


def _application(db: Database, cluster: Cluster, model: str, row: Row) -> dict[str, Any]:
    charm = applications.charm_of(db, row)
    units = applications.units(db, model, row["name"])
    current, message, since = statuses.of_application(row, units)
    name, channel = charm.base
    shown: dict[str, Any] = {
        "charm": f"local:{charm.name}-{row['charm_rev']}",
        "base": {"name": name, "channel": channel},
        "charm-origin": "local",
        "charm-name": charm.name,
        "charm-rev": row["charm_rev"],
        "scale": sum(unit["life"] == "alive" for unit in units),
        "provider-id": row["name"],
        "address": cluster.address(model, row["name"]),
        "exposed": False,
        "application-status": _info(current, message, since),
    }
    if row["life"] != "alive":
        shown["life"] = row["life"]
    if row["version"]:
        shown["version"] = row["version"]
    if related := _relations(db, model, row["name"]):
        shown["relations"] = related
    if units:
        shown["units"] = {unit["name"]: _unit(db, cluster, model, row, unit) for unit in units}
    shown["endpoint-bindings"] = {"": "alpha"} | dict.fromkeys(sorted(charm.endpoints), "alpha")
    return shown


def _relations(db: Database, model: str, application: str) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for row in relations.of(db, model, application):
        link = relations.link(db, model, row["id"])
        if link and link["offer"]:
            continue  # as on Juju: `offers` counts them
        for endpoint in relations.endpoints_of(row, application):
            found.setdefault(endpoint, []).append(
                {
                    "related-application": relations.other(row, application),
                    "interface": row["interface"],
                    "scope": row["scope"],
                }
            )
    return dict(sorted(found.items()))


def _unit(
    db: Database, cluster: Cluster, model: str, application: Row, row: Row
) -> dict[str, Any]:
    current, message, since = statuses.shown(row)
    if row["agent_status"] == "error":
        message += _with_whom(db, model, application["name"], row["agent_data"])
    agent = _info(row["agent_status"], row["agent_message"], row["agent_since"])
    if row["agent_status"] == "error":  # the message is the workload's; the agent itself is idle
        agent = _info("idle", "", row["agent_since"])
    shown: dict[str, Any] = {
        "workload-status": _info(current, message, since),
        "juju-status": agent | {"version": models.AGENT_VERSION},
    }
    if row["life"] != "alive":
        shown["juju-status"]["life"] = row["life"]
    if application["leader"] == row["name"]:
        shown["leader"] = True
    if opened := ports.plain(ports.of(row)):
        shown["open-ports"] = opened
    name = row["name"].replace("/", "-")
    pod = cluster.pod(model, name)
    if pod and pod.ip:
        shown["address"] = pod.ip
    return shown | {"provider-id": name}


def _with_whom(db: Database, model: str, application: str, data: Mapping[str, Any]) -> str:
    """The other end of the relation whose hook failed, as Juju's client has it in the message.

    Source: updateUnitStatusInfo in Juju's cmd/juju/status/formatter.go.
    """
    row = relations.get(db, model, data["relation-id"]) if "relation-id" in data else None
    if row is None or row["provider"] == row["requirer"]:
        return ""
    side = "requirer" if row["provider"] == application else "provider"
    return f" for {row[side]}:{row[f'{side}_endpoint']}"


def _info(current: str, message: str, since: str) -> dict[str, str]:
    info = {"current": current, "since": clock.status_text(since)}
    return info | ({"message": message} if message else {})


def _storage(db: Database, model: str) -> dict[str, Any]:
    rows = db.all(
        "SELECT s.*, d.pool FROM storage s LEFT JOIN detached d ON d.model = s.model "
        "AND d.id = s.id WHERE s.model = ?",
        model,
    )
    if not rows:
        return {}
    planned = {
        row["name"]: row["storage"]
        for row in db.all("SELECT name, storage FROM applications WHERE model = ?", model)
    }
    instances, filesystems, volumes = {}, {}, {}
    for row in sorted(rows, key=_storage_number):
        current = "attached" if row["attached"] else "pending"
        plan = planned.get(row["unit"].rpartition("/")[0], {}).get(row["name"], {})
        state = {
            "current": current if row["unit"] else "detached",
            "since": clock.status_text(row["since"]),
        }
        instances[row["id"]] = {
            "kind": row["kind"],
            "life": row["life"],
            "status": state,
            "persistent": False,
            **_attachments(row),
        }
        common = {
            "storage": row["id"],
            "pool": row["pool"] or plan.get("pool", storage.POOL),
            "size": row["size_mib"],
            "life": row["life"],
            "status": state,
        }
        number = str(_storage_number(row))
        filesystems[number] = {"volume": number, **common, **_attachments(row, _FILESYSTEM)}
        volumes[number] = {**common, "persistent": True, **_attachments(row, _VOLUME)}
    return {"storage": instances, "filesystems": filesystems, "volumes": volumes}


_FILESYSTEM, _VOLUME = "filesystem", "volume"


def _storage_number(row: Row) -> int:
    """No two instances of a model have the same."""
    return int(row["id"].rpartition("/")[2])


def _attachments(row: Row, what: str = "") -> dict[str, Any]:
    if not row["unit"]:
        return {}
    mounted = {"read-only": False, "life": "alive"}
    if what == _FILESYSTEM:
        mounted["mount-point"] = row["location"]
    found = {"containers": {row["unit"]: mounted}} if what else {}
    units = {row["unit"]: {"location": row["location"], "life": "alive"}}
    return {"attachments": {**found, "units": units}}


def show_unit(db: Database, cluster: Cluster, model: str, name: str) -> dict[str, Any]:
    """As `juju show-unit --format json`.

    Raises:
        NotFound: there is no such unit.
    """
    row = applications.unit(db, model, name)
    application = applications.get(db, model, row["application"])
    charm = applications.charm_of(db, application)
    pod = cluster.pod(model, name.replace("/", "-"))
    shown: dict[str, Any] = {
        "opened-ports": ports.plain(ports.of(row)),
        "charm": f"local:{charm.name}-{application['charm_rev']}",
        "leader": application["leader"] == name,
        "life": row["life"],
        "relation-info": [
            _relation_info(db, model, name, relation)
            for relation in relations.of(db, model, row["application"])
        ],
        "provider-id": name.replace("/", "-"),
    }
    if application["version"]:
        shown["workload-version"] = application["version"]
    if pod and pod.ip:
        shown["address"] = pod.ip
    return {name: shown}


def _relation_info(db: Database, model: str, unit: str, relation: Row) -> dict[str, Any]:
    application = unit.rpartition("/")[0]
    remote = relations.other(relation, application)
    side = "provider" if relation["provider"] == remote else "requirer"
    databag = relations.application_databag(db, model, relation["id"], remote)
    info: dict[str, Any] = {
        "relation-id": relation["id"],
        "endpoint": relations.endpoint(relation, application),
        "related-endpoint": relation[f"{side}_endpoint"],
        "application-data": databag["data"] if databag else {},
    }
    if own := relations.databag(db, model, relation["id"], unit):
        info["local-unit"] = {"in-scope": bool(own["in_scope"]), "data": own["data"]}
    related = {}
    for member in relations.members(db, model, relation["id"], remote):
        row = relations.databag(db, model, relation["id"], member)
        if row and member != unit:
            related[member] = {"in-scope": True, "data": row["data"]}
    if related:
        info["related-units"] = related
    return info


def show_application(db: Database, model: str, name: str) -> dict[str, Any]:
    """As `juju show-application --format json`.

    Raises:
        NotFound: there is no such application.
    """
    row = applications.get(db, model, name)
    charm = applications.charm_of(db, row)
    base, channel = charm.base
    return {
        name: {
            "charm": charm.name,
            "base": f"{base}@{channel}",
            "constraints": models.parse_constraints(row["constraints"]),
            "principal": True,
            "exposed": False,
            "remote": False,
            "life": row["life"],
            "endpoint-bindings": {"": "alpha"} | dict.fromkeys(sorted(charm.endpoints), "alpha"),
        }
    }


def config(db: Database, model: str, name: str) -> dict[str, Any]:
    """As `juju config --format json`.

    Raises:
        NotFound: there is no such application.
    """
    row = applications.get(db, model, name)
    charm = applications.charm_of(db, row)
    settings = {}
    for option, spec in sorted(charm.options.items()):
        shown = {
            "description": str(spec.get("description", "")),
            "type": spec.get("type", "string"),
        }
        if "default" in spec and spec["default"] is not None:
            shown |= {"default": spec["default"], "source": "default", "value": spec["default"]}
        else:
            shown["source"] = "unset"
        if option in row["config"]:
            shown |= {"source": "user", "value": row["config"][option]}
        settings[option] = shown
    trust = {
        "default": False,
        "description": "Does this application have access to trusted credentials",
        "source": "user" if row["trust"] else "default", "type": "bool",
        "value": bool(row["trust"]),
    }  # fmt: skip
    return {
        "application": name, "application-config": {"trust": trust}, "charm": charm.name,
        "settings": settings,
    }  # fmt: skip


def actions(db: Database, model: str, name: str) -> dict[str, Any]:
    """As `juju actions --schema --format json`.

    Raises:
        NotFound: there is no such application.
    """
    charm = applications.charm_of(db, applications.get(db, model, name))
    found = {}
    for action, spec in sorted(charm.actions.items()):
        spec = spec or {}
        found[action] = {
            "description": str(spec.get("description", "No description")),
            "title": action,
            "type": "object",
            "properties": spec.get("params") or {},
            "required": spec.get("required") or [],
            "additionalProperties": spec.get("additionalProperties", True),
        }
    return found


def storage_listing(db: Database, model: str, claims: Mapping[str, Claim]) -> dict[str, Any]:
    """As `juju storage --format json`: with what Kubernetes calls the claims and volumes."""
    models.get(db, model)
    found = _storage(db, model)
    for number, name in storage.claims(db, model).items():
        if claim := claims.get(name):
            found["filesystems"][number]["provider-id"] = claim.uid
            if claim.volume:
                found["volumes"][number]["provider-id"] = claim.volume
    return found
