"""Storage pools: the cluster's StorageClasses, and those that the user made for a model.

Sources in juju/juju: cmd/juju/storage/poolcreate.go and poolupdate.go, storage/poolmanager,
internal/provider/kubernetes/storage (classes) and internal/storage/provider (what is valid).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from localjuju.model import models
from localjuju.model.db import Database
from localjuju.model.errors import ModelError, NotFound, NotSupported

PROVIDER = "kubernetes"
_NAME = re.compile(r"[a-zA-Z]+[-?a-zA-Z0-9]*")
_CLASS, _PROVISIONER, _MODE = "storage-class", "storage-provisioner", "storage-mode"
_PARAMETERS = "parameters."
_MODES = {
    short: name
    for name, abbreviated in (
        ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOnce", "RWO"),
    )
    for short in (name, abbreviated)
}  # fmt: skip


@dataclass(frozen=True)
class Source:
    """Where the volumes of a pool come from.

    Attributes:
        storage_class: None for the cluster's default.
        mode: the access mode of the claims.
        provisioner: of the class, where it has to be made first; with its parameters.
    """

    storage_class: str | None
    mode: str = "ReadWriteOnce"
    provisioner: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)


def create(
    db: Database, model: str, name: str, provider: str, attributes: Mapping[str, str],
    classes: Iterable[str],
) -> None:  # fmt: skip
    """Raises ModelError: a name that is taken or malformed, a bad provider or attribute."""
    models.get(db, model)
    if not _NAME.fullmatch(name):
        raise ModelError(f'pool name "{name}" not valid')
    _check(provider, attributes)
    if name in classes or name in _own(db, model):
        raise ModelError(f'creating pool "{name}": cannot overwrite existing settings')
    with db.transaction():
        db.insert("pools", model=model, name=name, attributes=dict(attributes))


def update(
    db: Database, model: str, name: str, provider: str, attributes: Mapping[str, str]
) -> None:
    """Its attributes are these and no others; what was deployed stays as it is.

    Raises:
        ModelError: there is none, a bad provider or attribute.
    """
    models.get(db, model)
    _known(db, model, name)
    _check(provider or PROVIDER, attributes)
    with db.transaction():
        db.run("UPDATE pools SET attributes = ? WHERE model = ? AND name = ?", dict(attributes),
               model, name)  # fmt: skip


def remove(db: Database, model: str, name: str) -> None:
    """Raises ModelError: there is none, or storage is of it."""
    models.get(db, model)
    _known(db, model, name)
    planned = db.all("SELECT storage FROM applications WHERE model = ?", model)
    left = db.one("SELECT 1 FROM detached WHERE model = ? AND pool = ?", model, name)
    if left or any(s["pool"] == name for row in planned for s in row["storage"].values()):
        raise ModelError(f'storage pool "{name}" in use')
    with db.transaction():
        db.run("DELETE FROM pools WHERE model = ? AND name = ?", model, name)


def listing(db: Database, model: str, classes: Mapping[str, str]) -> dict[str, Any]:
    """As `juju storage-pools --format json`; every StorageClass is a pool of its name."""
    models.get(db, model)
    found: dict[str, Mapping[str, str]] = {
        name: {_CLASS: name, _PROVISIONER: provisioner} for name, provisioner in classes.items()
    }
    found |= _own(db, model)
    return {
        name: {"provider": PROVIDER, "attrs": dict(attributes)}
        for name, attributes in sorted(found.items())
    }


def source(db: Database, model: str, pool: str, classes: Iterable[str]) -> Source:
    """Where volumes of a pool come from.

    A class is looked for with the model's name before its own and then without, and made with it.

    Raises:
        ModelError: there is no such pool, or its class is not there and cannot be made.
    """
    attributes = _own(db, model).get(pool)
    if attributes is None:
        if pool not in classes:
            raise ModelError(f'pool "{pool}" not found')
        return Source(pool)
    mode = _MODES[attributes.get(_MODE, "RWO")]
    named = attributes.get(_CLASS)
    if not named:
        return Source(None, mode)
    own = f"{model}-{named}"
    for name in (own, named):
        if name in classes:
            return Source(name, mode)
    if not attributes.get(_PROVISIONER):
        raise ModelError(f'storage class "{named}" not found')
    parameters = {
        key.removeprefix(_PARAMETERS): value
        for key, value in attributes.items()
        if key.startswith(_PARAMETERS)
    }
    return Source(own, mode, attributes[_PROVISIONER], parameters)


def _own(db: Database, model: str) -> dict[str, dict[str, str]]:
    rows = db.all("SELECT name, attributes FROM pools WHERE model = ?", model)
    return {row["name"]: row["attributes"] for row in rows}


def _known(db: Database, model: str, name: str) -> None:
    if name not in _own(db, model):
        raise NotFound(f'storage pool "{name}" not found')


def _check(provider: str, attributes: Mapping[str, str]) -> None:
    if provider in ("rootfs", "tmpfs"):
        raise NotSupported(f'storage provider "{provider}"')
    if provider != PROVIDER:
        raise NotFound(f'storage provider "{provider}" not found')
    cannot = "validating storage provider config"
    if attributes.get(_PROVISIONER) and not attributes.get(_CLASS):
        raise ModelError(
            f"{cannot}: storage-class must be specified if storage-provisioner is specified"
        )
    if attributes.get(_MODE, "RWO") not in _MODES:
        raise ModelError(f'{cannot}: storage mode "{attributes[_MODE]}" not supported')
