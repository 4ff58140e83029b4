"""Models: each is a Kubernetes namespace of the same name."""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Mapping
from typing import Any

from localjuju.model import clock
from localjuju.model.db import Database, Row
from localjuju.model.errors import ModelError, NotFound

_SIZE = re.compile(r"(?:(\d+(?:\.\d*)?)([MGTP]?))?")
_MEBIBYTES = {"": 1, "M": 1, "G": 1024, "T": 1024**2, "P": 1024**3}
AGENT_VERSION = "3.6.27"
CONTROLLER = "localjuju"
CLOUD = "local"
REGION = "localhost"
CONTROLLER_UUID = str(uuid.uuid5(uuid.NAMESPACE_DNS, "localjuju"))

# Name: default value. Juju's names and defaults, those that mean something here.
CONFIG_DEFAULTS: dict[str, Any] = {
    "automatically-retry-hooks": True,
    "default-base": "",
    "http-proxy": "",
    "https-proxy": "",
    "juju-http-proxy": "",
    "juju-https-proxy": "",
    "juju-no-proxy": "127.0.0.1,localhost,::1",
    "logging-config": "<root>=INFO",
    "no-proxy": "127.0.0.1,localhost,::1",
    "update-status-hook-interval": "5m",
    "workload-storage": "local",
}
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?")
_TAKEN = {"default", "kube-system", "kube-public", "kube-node-lease"}
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


def get(db: Database, name: str) -> Row:
    """Raises NotFound: there is no such model."""
    row = db.one("SELECT * FROM models WHERE name = ?", name)
    if row is None:
        raise NotFound(f'model "{name}" not found')
    return row


def listing(db: Database) -> list[dict[str, Any]]:
    """The models as `juju models --format json` has them."""
    return [
        {
            "name": f"admin/{row['name']}",
            "short-name": row["name"],
            "model-uuid": row["uuid"],
            "model-type": "caas",
            "controller-uuid": CONTROLLER_UUID,
            "controller-name": CONTROLLER,
            "is-controller": False,
            "owner": "admin",
            "cloud": CLOUD,
            "region": REGION,
            "type": "kubernetes",
            "life": row["life"],
            "status": {
                "current": "available" if row["life"] == "alive" else "destroying",
                "since": row["created"],
            },
            "access": "admin",
            "last-connection": "just now",
            "agent-version": AGENT_VERSION,
        }
        for row in db.all("SELECT * FROM models ORDER BY name")
    ]


def add(db: Database, name: str, config: Mapping[str, Any] | None = None) -> None:
    """Raises ModelError: the name is taken or not one Kubernetes takes, or an unknown key."""
    if not _NAME.fullmatch(name) or len(name) > 63:
        raise ModelError(
            f'"{name}" is not a valid name: model names may only contain lowercase letters, '
            "digits and hyphens"
        )
    if name in _TAKEN:
        raise ModelError(
            f'failed to create new model: a namespace called "{name}" already exists, would clash '
            "with model name"
        )
    if db.one("SELECT 1 FROM models WHERE name = ?", name):
        raise ModelError(f'failed to create new model: model "{name}" for admin already exists')
    with db.transaction():
        db.insert(
            "models", name=name, uuid=str(uuid.uuid4()), life="alive",
            config=_checked(config or {}), constraints="", created=clock.text(),
        )  # fmt: skip


def config(db: Database, name: str) -> dict[str, Any]:
    """As `juju model-config --format json`: value and where it comes from."""
    row = get(db, name)
    fixed = {"agent-version": AGENT_VERSION, "name": name, "type": "kubernetes",
             "uuid": row["uuid"]}  # fmt: skip
    result = {key: {"Value": value, "Source": "default"} for key, value in CONFIG_DEFAULTS.items()}
    result |= {key: {"Value": value, "Source": "model"} for key, value in row["config"].items()}
    result |= {key: {"Value": value, "Source": "model"} for key, value in fixed.items()}
    return dict(sorted(result.items()))


def setting(db: Database, name: str, key: str) -> Any:
    return get(db, name)["config"].get(key, CONFIG_DEFAULTS[key])


def set_config(db: Database, name: str, values: Mapping[str, Any], reset: list[str]) -> None:
    """Raises ModelError: an unknown key or a value that it cannot have."""
    row = get(db, name)
    merged = row["config"] | _checked(values)
    for key in reset:
        merged.pop(key, None)
    with db.transaction():
        db.run("UPDATE models SET config = ? WHERE name = ?", merged, name)


def set_constraints(db: Database, name: str, text: str) -> None:
    get(db, name)
    check_constraints(text)
    with db.transaction():
        db.run("UPDATE models SET constraints = ? WHERE name = ?", text, name)


def parse_constraints(text: str) -> dict[str, str]:
    """`mem=1G cores=2` → a map.

    Raises:
        ModelError: not key=value, or an unknown key.
    """
    known = {"arch", "cores", "cpu-power", "mem", "root-disk", "tags", "cpu-cores"}
    result = {}
    for word in text.split():
        key, equals, value = word.partition("=")
        if not equals:
            raise ModelError(f'malformed constraint "{word}"')
        if key not in known:
            raise ModelError(f'unknown constraint "{key}"')
        result[key] = value
    return result


def check_constraints(text: str) -> None:
    """Raises ModelError: malformed, an unknown key, or a value that is not of its kind."""
    for key, value in parse_constraints(text).items():
        if key in ("mem", "root-disk"):
            mebibytes(key, value)
        elif key in ("cores", "cpu-cores", "cpu-power") and not re.fullmatch(r"\d*", value):
            raise ModelError(f'bad "{key}" constraint: must be a non-negative integer')


def mebibytes(key: str, text: str) -> int:
    """A constraint's size: `512` and `512M` are 512, `1.5G` is 1536; 0 where it is empty.

    Raises:
        ModelError: it is none.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ModelError(
            f'bad "{key}" constraint: must be a non-negative float with optional M/G/T/P suffix'
        )
    return math.ceil(float(match[1] or 0) * _MEBIBYTES[match[2] or ""])


def seconds(duration: str) -> float:
    """Go's duration text (`5m`, `1h30m`, `10s`) in seconds.

    Raises:
        ModelError: it is none.
    """
    match = _DURATION.fullmatch(duration)
    if not duration or match is None:
        raise ModelError(f'time: invalid duration "{duration}"')
    hours, minutes, rest = match.groups()
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(rest or 0)


def _checked(values: Mapping[str, Any]) -> dict[str, Any]:
    checked = {}
    for key, value in values.items():
        if key not in CONFIG_DEFAULTS:
            raise ModelError(f'key "{key}" is not a model config key that localjuju has')
        if isinstance(CONFIG_DEFAULTS[key], bool):
            if str(value).lower() not in ("true", "false"):
                raise ModelError(f"{key}: expected bool, got {value!r}")
            value = str(value).lower() == "true"
        elif key == "update-status-hook-interval":
            seconds(str(value))
        checked[key] = value
    return checked
