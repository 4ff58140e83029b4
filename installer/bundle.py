"""Reads a bundle as far as the installer needs it; deploying it is Juju's work."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from localjuju.cli.overlay import lay_over
from localkube.host.errors import EngineError


@dataclass(frozen=True)
class Application:
    """One application of a bundle.

    Attributes:
        name: its name in the model.
        charm: the .charm file, or None for one from Charmhub.
        resources: the image references of its resources, by the resource's name.
    """

    name: str
    charm: Path | None
    resources: Mapping[str, str]

    @property
    def images(self) -> tuple[str, ...]:
        """The image references of its resources."""
        return tuple(self.resources.values())


@dataclass(frozen=True)
class Bundle:
    """A bundle with its overlays.

    Attributes:
        file: where the bundle is.
        applications: by name.
        relations: pairs of `application` or `application:endpoint`.
        digest: of the files' content: another one has to be deployed again.
    """

    file: Path
    applications: Mapping[str, Application]
    relations: tuple[tuple[str, str], ...]
    digest: str = ""

    def charms(self, folder: Path) -> list[str]:
        """Names of the charms that it takes from a folder of packed ones."""
        files = [app.charm for app in self.applications.values() if app.charm is not None]
        return sorted({file.stem for file in files if file.parent == folder})

    def missing(self, applications: Mapping[str, Any]) -> list[str]:
        """What a model lacks: `application` or `a:x b:y`.

        Args:
            applications: that part of `juju status --format json`.
        """
        absent = [name for name in self.applications if name not in applications]
        for one, other in self.relations:
            name, _, endpoint = one.partition(":")
            relations = (applications.get(name) or {}).get("relations") or {}
            ends = (
                relations.get(endpoint, [])
                if endpoint
                else [end for value in relations.values() for end in value]
            )
            related = {end if isinstance(end, str) else end["related-application"] for end in ends}
            if name in applications and other.partition(":")[0] not in related:
                absent.append(f"{one} {other}")
        return absent


def read(file: Path, overlays: Sequence[Path] = ()) -> Bundle:
    """Reads a bundle with overlays laid over it, as far as the installer needs them.

    Raises:
        EngineError: a file does not exist or is no bundle; one line says where.
    """
    digest = hashlib.sha256()
    for each in (file, *overlays):
        digest.update(each.read_bytes() if each.is_file() else b"")
    merged = document(file, overlays)
    applications = {
        name: _application(file, name, spec or {})
        for name, spec in (merged.get("applications") or {}).items()
    }
    if not applications:
        raise EngineError(f"{file} is no bundle: it has no applications")
    relations = tuple((pair[0], pair[1]) for pair in merged.get("relations") or [])
    return Bundle(file, applications, relations, digest.hexdigest())


def document(file: Path, overlays: Sequence[Path] = ()) -> dict[str, Any]:
    """What a bundle says with overlays laid over it; local charms by their whole path.

    Raises:
        EngineError: a file does not exist or is no bundle; one line says where.
    """
    merged = _document(file, "bundle")
    for each in overlays:
        lay_over(merged, _document(each, "overlay"))
    return merged


def _document(file: Path, what: str) -> dict[str, Any]:
    try:
        found = next(iter(yaml.safe_load_all(file.read_text())))
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise EngineError(f"no {what} at {file}: name one with --{what} FILE") from None
    except StopIteration:
        found = None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        raise EngineError(f"{file}:{line} {getattr(error, 'problem', error)}") from None
    if not isinstance(found, dict) or not isinstance(found.get("applications", {}), dict):
        raise EngineError(f"{file} is no bundle: it has no applications")
    for spec in (found.get("applications") or {}).values():
        charm = spec.get("charm") if isinstance(spec, dict) else None
        if isinstance(charm, str) and charm.startswith("."):
            spec["charm"] = str((file.parent / charm).resolve())
    return found


def _application(file: Path, name: str, spec: Mapping[str, Any]) -> Application:
    charm = spec.get("charm")
    if not isinstance(charm, str):
        raise EngineError(
            f"{file}: application {name} names no charm: is an overlay meant for another bundle? "
            "--full has every application"
        )
    resources = {
        key: text
        for key, text in (spec.get("resources") or {}).items()
        if isinstance(text, str) and not text.startswith((".", "/"))
    }
    return Application(name, Path(charm) if charm.startswith("/") else None, resources)
