"""Reads bundles and overlays, as Juju's deploy does: merged, included files read, verified.

Source: protocol.md section 5.1.
"""

from __future__ import annotations

import base64
import copy
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from localjuju.cli import charmhub
from localjuju.cli.context import UsageError
from localjuju.cli.overlay import lay_over, mapping
from localjuju.model.charm import Charm, read
from localjuju.model.config import parse as parse_config
from localkube.host.errors import EngineError

_OVERLAY_ONLY = ("offers", "exposed-endpoints")
_INCLUDES = ("include-file://", "include-base64://")
_KNOWN = frozenset(
    ("charm", "scale", "num_units", "options", "resources", "storage", "constraints", "trust",
     "annotations", "base", "channel", "revision", "series", "offers")
)  # fmt: skip
_URL = re.compile(r"([^:/]+:)?([^:/]+/)?[a-z0-9-]+\.[a-z0-9-]+")
_USER = "admin"  # the only one, whom every offer has as its administrator


@dataclass(frozen=True)
class Application:
    """An application of a bundle.

    Attributes:
        charm: the charm's file.
        scaled: whether the bundle says how many units there are.
        resources: image references or files by name.
        options: configuration by name.
        offers: endpoints by the offer's name.
    """

    name: str
    charm: Path
    scale: int = 1
    scaled: bool = False
    trust: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    resources: dict[str, str] = field(default_factory=dict)
    storage: dict[str, str] = field(default_factory=dict)
    constraints: str = ""
    offers: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Bundle:
    """What is to be deployed."""

    applications: tuple[Application, ...]
    relations: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()
    """What the bundle says and means nothing here; not fatal, as with Juju."""
    saas: dict[str, str] = field(default_factory=dict)
    """Offers' URLs by the names under which they are consumed."""


def load(file: Path, overlays: list[Path]) -> Bundle:
    """Reads a bundle with its overlays, further documents of the same file first.

    Raises:
        EngineError: a file cannot be read or is wrong; one line that names where.
    """
    documents = _documents(file)
    base, *own = documents
    for key in _OVERLAY_ONLY:
        for name, application in mapping(base.get("applications")).items():
            if isinstance(application, dict) and key in application:
                raise EngineError(f"{file}: {key} of {name} is for overlays only")
    layers = [(file, document) for document in own]
    layers += [(overlay, document) for overlay in overlays for document in _documents(overlay)]
    merged = _included(base, file.parent)
    for source, layer in layers:
        lay_over(merged, _included(layer, source.parent))
    return _verified(merged, file)


def _documents(file: Path) -> list[dict[str, Any]]:
    import yaml

    if not file.is_file():
        raise EngineError(f'no charm or bundle found at "{file}"')
    try:
        found = [document for document in yaml.safe_load_all(file.read_text()) if document]
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise EngineError(f"{file}: {' '.join(str(error).split())}") from None
    if not found or not all(isinstance(document, dict) for document in found):
        raise EngineError(f"{file}: this is no bundle")
    return found


def _included(document: dict[str, Any], folder: Path) -> dict[str, Any]:
    """With included files in place of their names, and charm paths made absolute."""
    document = copy.deepcopy(document)
    for name, application in mapping(document.get("applications")).items():
        if not isinstance(application, dict):
            continue
        charm = application.get("charm")
        if isinstance(charm, str) and charm.startswith((".", "/")):
            application["charm"] = str((folder / charm).resolve())
        for key in ("options", "annotations"):
            for option, value in mapping(application.get(key)).items():
                if isinstance(value, str) and value.startswith(_INCLUDES):
                    application[key][option] = _include(value, folder, f"{name}: {option}")
        for resource, value in mapping(application.get("resources")).items():
            if isinstance(value, str) and value.startswith("."):
                application["resources"][resource] = str((folder / value).resolve())
    return document


def _include(text: str, folder: Path, where: str) -> str:
    kind, _, name = text.partition("://")
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise EngineError(f"{where}: cannot include {name}: {error.strerror}") from None
    encoded = base64.b64encode(content) if kind == "include-base64" else content
    try:
        return encoded.decode()
    except UnicodeDecodeError:
        raise EngineError(f"{where}: {name} is no text: use include-base64://") from None


Wrong = Callable[[str], EngineError]


def _application(end: str) -> str:
    return end.partition(":")[0]


def _verified(document: dict[str, Any], file: Path) -> Bundle:
    def wrong(text: str) -> EngineError:
        return EngineError(f"{file}: {text}")

    if document.get("bundle", "kubernetes") != "kubernetes":
        raise wrong(f'bundle has an invalid type "{document["bundle"]}"')
    if document.get("machines"):
        raise wrong("bundle machines not valid for Kubernetes bundles")
    entries = document.get("applications") or {}
    if not entries:
        raise wrong("at least one application must be specified")
    if not isinstance(entries, dict):
        raise wrong("applications is no map")
    applications, charms, notes = [], {}, []
    for name, entry in entries.items():
        if not isinstance(entry, dict) or not entry.get("charm"):
            raise wrong(f'empty charm path of application "{name}"')
        path = entry["charm"]
        if not isinstance(path, str):
            raise wrong(f'application "{name}": charm {path!r} is no name and no path')
        hub = not path.startswith("/")
        if hub:
            try:
                path = str(charmhub.find(path))
            except UsageError as error:
                raise wrong(f'application "{name}": {error}') from None
        if not Path(path).is_file():
            raise wrong(
                f'charm path in application "{name}" does not exist: {path}: '
                "./mlops pack makes the charms"
            )
        if "scale" in entry and "num_units" in entry:
            raise wrong(f'cannot specify both scale and num_units for application "{name}"')
        charms[name] = read(Path(path))
        for key in ("options", "resources", "storage"):
            if not isinstance(entry.get(key) or {}, dict):
                raise wrong(f'application "{name}": {key} is no map')
        options = entry.get("options") or {}
        resources = {k: str(v) for k, v in (entry.get("resources") or {}).items()}
        if hub:
            resources = charmhub.resources(charms[name], resources)
        try:
            parse_config(charms[name], texts(options))
        except EngineError as error:
            raise wrong(f'application "{name}": {error}') from None
        scale = entry.get("scale", entry.get("num_units", 1))
        if isinstance(scale, bool) or not isinstance(scale, int) or scale < 0:
            raise wrong(f'application "{name}": scale {scale!r} is no number of units')
        trust = entry.get("trust", False)
        if not isinstance(trust, bool):
            raise wrong(f'application "{name}": trust {trust!r} is neither true nor false')
        notes += [f"{key} of {name}" for key in sorted(entry.keys() - _KNOWN)]
        applications.append(
            Application(
                name=name,
                charm=Path(path),
                scale=scale,
                scaled=not entry.keys().isdisjoint(("scale", "num_units")),
                trust=trust,
                options=options,
                resources=resources,
                storage={k: str(v) for k, v in (entry.get("storage") or {}).items()},
                constraints=str(entry.get("constraints") or ""),
                offers=_offers(name, entry.get("offers") or {}, charms[name], notes, wrong),
            )
        )
    saas = _saas(document.get("saas") or {}, charms, wrong)
    relations = _relations(document.get("relations") or [], charms, saas, wrong)
    return Bundle(tuple(applications), tuple(relations), tuple(notes), saas)


def _offers(
    application: str, entries: Any, charm: Charm, notes: list[str], wrong: Wrong
) -> dict[str, tuple[str, ...]]:
    if not isinstance(entries, dict):
        raise wrong(f'application "{application}": offers is no map')
    found = {}
    for name, entry in entries.items():
        endpoints = mapping(entry).get("endpoints")
        if not isinstance(endpoints, list) or not endpoints:
            raise wrong(f'application "{application}": offer "{name}" has no endpoints')
        for endpoint in endpoints:
            known = charm.endpoints.get(str(endpoint))
            if known is None or known.role == "peer":
                raise wrong(f'application "{application}": offer "{name}": it has no "{endpoint}"')
        users = mapping(mapping(entry).get("acl"))
        notes += [f"acl of {user} for offer {name}" for user in sorted(users) if user != _USER]
        found[str(name)] = tuple(str(endpoint) for endpoint in endpoints)
    return found


def _saas(entries: Any, charms: dict[str, Charm], wrong: Wrong) -> dict[str, str]:
    if not isinstance(entries, dict):
        raise wrong("saas is no map")
    found = {}
    for name, entry in entries.items():
        url = str(mapping(entry).get("url") or "")
        if not _URL.fullmatch(url):
            raise wrong(f'invalid offer URL "{url}" for SAAS {name}')
        if name in charms:
            raise wrong(f'application "{name}" and SAAS "{name}" have the same name')
        found[str(name)] = url
    return found


def texts(values: dict[str, Any]) -> dict[str, str]:
    """Option values as the text that a person would type."""
    return {
        key: str(value).lower() if isinstance(value, bool) else str(value)
        for key, value in values.items()
        if value is not None
    }


def _relations(
    relations: list[Any], charms: dict[str, Charm], saas: Collection[str], wrong: Wrong
) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for relation in relations:
        if not isinstance(relation, list) or len(relation) != 2:
            raise wrong(f"relation {relation} has {len(relation or [])} endpoint(s), not 2")
        ends = (str(relation[0]), str(relation[1]))
        names = [_application(end) for end in ends]
        for name in names:
            if name not in charms and name not in saas:
                raise wrong(f'relation {list(ends)} refers to application "{name}" not defined')
        if not charms.keys() & names:
            raise wrong(f"relation {list(ends)} relates two offers of other models")
        if names[0] == names[1]:
            raise wrong(f"relation {list(ends)} relates an application to itself")
        if ends in found or ends[::-1] in found:
            raise wrong(f"relation {list(ends)} is defined more than once")
        for end, name in zip(ends, names, strict=True):
            endpoint = end.partition(":")[2]
            if endpoint and name in charms and endpoint not in charms[name].endpoints:
                raise wrong(f'relation {list(ends)}: application "{name}" has no "{endpoint}"')
        one, other = (
            charms[name].endpoints.get(end.partition(":")[2]) if name in charms else None
            for end, name in zip(ends, names, strict=True)
        )
        if one and other and (one.interface != other.interface or one.role == other.role):
            raise wrong(
                f"relation {list(ends)}: {one.role} of {one.interface} and {other.role} of "
                f"{other.interface} do not fit"
            )
        found.append(ends)
    return found
