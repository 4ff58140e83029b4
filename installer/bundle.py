"""Reads a bundle as far as the installer needs it; deploying it is Juju's work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from localjuju.errors import EngineError


@dataclass(frozen=True)
class Application:
    """One application of a bundle.

    Attributes:
        name: its name in the model.
        charm: the .charm file, or None for one from Charmhub.
        images: the image references of its resources.
    """

    name: str
    charm: Path | None
    images: tuple[str, ...]


@dataclass(frozen=True)
class Bundle:
    """A bundle file.

    Attributes:
        file: where it is.
        applications: by name.
        relations: pairs of `application` or `application:endpoint`.
    """

    file: Path
    applications: Mapping[str, Application]
    relations: tuple[tuple[str, str], ...]

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


def read(file: Path) -> Bundle:
    """Reads a bundle.

    Raises:
        EngineError: it does not exist or is no bundle; one line says where.
    """
    try:
        document = next(iter(yaml.safe_load_all(file.read_text())))
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise EngineError(f"no bundle at {file}: name one with --bundle FILE") from None
    except StopIteration:
        document = None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        raise EngineError(f"{file}:{line} {getattr(error, 'problem', error)}") from None
    document = document if isinstance(document, dict) else {}
    specs = document.get("applications")
    if not isinstance(specs, dict) or not specs:
        raise EngineError(f"{file} is no bundle: it has no applications")
    return Bundle(
        file,
        {name: _application(file, name, spec or {}) for name, spec in specs.items()},
        tuple((pair[0], pair[1]) for pair in document.get("relations") or []),
    )


def _application(file: Path, name: str, spec: Mapping[str, Any]) -> Application:
    charm = spec.get("charm")
    if not isinstance(charm, str):
        raise EngineError(f"{file}: application {name} names no charm")
    local = charm.startswith((".", "/"))
    references = [text for text in (spec.get("resources") or {}).values() if isinstance(text, str)]
    return Application(
        name,
        (file.parent / charm).resolve() if local else None,
        tuple(text for text in references if not text.startswith((".", "/"))),
    )
