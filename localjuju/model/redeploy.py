"""What a bundle that is deployed again changes on an application that is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from localjuju.model import applications, config, models
from localjuju.model.charm import Charm
from localjuju.model.db import Database
from localjuju.model.errors import ModelError


@dataclass(frozen=True)
class Change:
    """A call of the API, and what to tell of it in one line."""

    text: str
    method: str
    params: dict[str, Any]


def changes(
    db: Database, model: str, name: str, charm: Charm, path: str, *, values: Mapping[str, Any],
    resources: Mapping[str, str], units: int | None, trust: bool, constraints: str,
) -> list[Change]:  # fmt: skip
    """In the order in which they are to be made; what the bundle does not name stays.

    Args:
        path: the charm's file.
        units: how many there are to be; None leaves them.
        trust: as on Juju it is only given, never taken back.

    Raises:
        ModelError: an option that is unknown or wrong, or the application is being removed.
    """
    row = applications.get(db, model, name)
    if row["life"] != "alive":
        raise ModelError(f'application "{name}" is being removed: deploy again when it is gone')
    old = applications.charm_of(db, row)
    found = []
    other = {key: value for key, value in resources.items() if row["resources"].get(key) != value}
    if charm.sha256 != old.sha256 or other:
        what = f"from local charm {charm.name}" if charm.sha256 != old.sha256 else "resources: "
        params: dict[str, Any] = {"application": name, "resources": other}
        if charm.sha256 != old.sha256:
            params["charm"] = path
        else:
            what += ", ".join(sorted(other))
        found.append(Change(f"upgrade {name} {what}", "refresh", params))
    now = config.effective(old, row["config"])
    wanted = {k: v for k, v in config.parse(charm, values).items() if now.get(k) != v}
    if wanted:
        told = ", ".join(f"{key} {now.get(key)!r} -> {value!r}" for key, value in wanted.items())
        given = {key: values[key] for key in wanted}
        found.append(
            Change(
                f"set application options for {name}: {told}", "set_config",
                {"application": name, "values": given},
            )
        )  # fmt: skip
    if trust and not row["trust"]:
        found.append(Change(f"set trust of {name}", "trust", {"application": name}))
    alive = sum(unit["life"] == "alive" for unit in applications.units(db, model, name))
    if units is not None and units != alive:
        text = f"scale {name} from {alive} to {units} units"
        found.append(Change(text, "scale", {"application": name, "units": units}))
    if constraints and models.parse_constraints(constraints) != models.parse_constraints(
        row["constraints"]
    ):
        text = f'set constraints for {name} to "{constraints}"'
        params = {"application": name, "text": constraints}
        found.append(Change(text, "set_constraints", params))
    return found
