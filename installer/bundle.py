"""Reads a bundle as far as the installer needs it; deploying it is Juju's work."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
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
    applications: dict[str, Application] = {}
    relations: list[tuple[str, str]] = []
    digest = hashlib.sha256()
    for each in (file, *overlays):
        document = _document(each, "bundle" if each == file else "overlay")
        digest.update(each.read_bytes())
        for name, spec in (document.get("applications") or {}).items():
            if spec is None and each != file:  # an overlay takes an application away
                applications.pop(name, None)
                relations = [pair for pair in relations if not _names(pair, name)]
                continue
            applications[name] = _application(each, name, spec or {}, applications.get(name))
        relations += [(pair[0], pair[1]) for pair in document.get("relations") or []]
    if not applications:
        raise EngineError(f"{file} is no bundle: it has no applications")
    return Bundle(file, applications, tuple(relations), digest.hexdigest())


def _document(file: Path, what: str) -> Mapping[str, Any]:
    try:
        document = next(iter(yaml.safe_load_all(file.read_text())))
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise EngineError(f"no {what} at {file}: name one with --{what} FILE") from None
    except StopIteration:
        document = None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        raise EngineError(f"{file}:{line} {getattr(error, 'problem', error)}") from None
    if not isinstance(document, dict) or not isinstance(document.get("applications", {}), dict):
        raise EngineError(f"{file} is no bundle: it has no applications")
    return document


def _names(pair: tuple[str, str], application: str) -> bool:
    return application in [end.partition(":")[0] for end in pair]


def _application(
    file: Path, name: str, spec: Mapping[str, Any], below: Application | None
) -> Application:
    """An application of a file; an overlay's takes what it does not say from the one below."""
    charm = spec.get("charm")
    if not isinstance(charm, str) and below is None:
        raise EngineError(f"{file}: application {name} names no charm")
    references = [text for text in (spec.get("resources") or {}).values() if isinstance(text, str)]
    images = tuple(text for text in references if not text.startswith((".", "/")))
    if not isinstance(charm, str):
        assert below is not None
        return Application(name, below.charm, images or below.images)
    local = charm.startswith((".", "/"))
    return Application(name, (file.parent / charm).resolve() if local else None, images)
