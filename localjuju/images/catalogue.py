"""Finds the entry of an image reference and makes what is the image's own, once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import yaml
from pydantic import ValidationError

from localjuju.images import base, makers
from localjuju.images.entries import CatalogueFile, DebianEntry, Entry, PathEntry
from localkube.building import builds, debian
from localkube.host import paths
from localkube.host.errors import EngineError
from localkube.host.progress import Progress

_OWN = Path(__file__).with_name("catalogue.yaml")
_VARIABLE = "LOCALJUJU_IMAGES"
# How it is run, and what is below it; the tree is the same.
_NOT_IN_TREE = {"base", "user", "writable", "shell"}


class Catalogue:
    """Entries by image reference; a later file's entry replaces an earlier one's."""

    def __init__(self, entries: Sequence[Entry]):
        self._entries = {normalise(entry.reference): entry for entry in entries}

    @classmethod
    def load(cls, extra: Sequence[Path] = ()) -> Catalogue:
        """Reads our own file, those in `extra`, and those that LOCALJUJU_IMAGES names.

        Raises:
            EngineError: a file cannot be read, or an entry is not right; names both.
        """
        named = [Path(name) for name in os.environ.get(_VARIABLE, "").split(os.pathsep) if name]
        found = cls([entry for file in (_OWN, *extra, *named) for entry in _read(file)])
        for reference in found.references():
            found._require_bases(reference)
        return found

    def _require_bases(self, reference: str) -> None:
        """Raises EngineError where what an image lies over is not there, or is itself."""
        seen, entry = {reference}, self.find(reference)
        while entry.base:
            base = normalise(entry.base)
            if base in seen:
                raise EngineError(f"image {reference}: its base {entry.base} lies over itself")
            seen.add(base)
            entry = self.find(base)

    def references(self) -> list[str]:
        """Every reference there is an entry for."""
        return sorted(self._entries)

    def has(self, reference: str) -> bool:
        """Whether there is an entry for an image reference."""
        return normalise(reference) in self._entries

    def find(self, reference: str) -> Entry:
        """The entry for an image reference.

        Raises:
            EngineError: there is none.
        """
        try:
            return self._entries[normalise(reference)]
        except KeyError:
            raise EngineError(
                f"no entry for image {reference} in the catalogue: add one with {_VARIABLE}=FILE"
            ) from None

    def ensure(self, reference: str, progress: Progress) -> Path:
        """The tree of what is the image's own, made where it is not in the cache yet.

        Raises:
            EngineError: no entry, or it cannot be made; names what to do.
        """
        entry = self.find(reference)
        if isinstance(entry, PathEntry):
            if not Path(entry.path).is_dir():
                raise EngineError(
                    f"image {reference}: the catalogue's folder {entry.path} is not there"
                )
            return Path(entry.path)
        if isinstance(entry, DebianEntry):
            try:
                return base.over(entry.packages, progress, entry.version)
            except debian.OtherVersionError as error:
                raise EngineError(
                    f"image {reference}: {error}: give one with {_VARIABLE}"
                ) from None
        folder = paths.cache() / "images" / _folder_name(entry)
        builds.make_once(folder, lambda partial: makers.make(entry, partial, folder, progress))
        return folder / "rootfs"


def _read(file: Path) -> Sequence[Entry]:
    try:
        entries = CatalogueFile.model_validate(yaml.safe_load(file.read_text())).images
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise EngineError(f"image catalogue {file}: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise EngineError(f"image catalogue {file}: {where}: {first['msg']}") from None
    return [
        # A folder is meant from where the file lies, not from where somebody is.
        entry.model_copy(update={"path": str(file.parent.absolute() / entry.path)})
        if isinstance(entry, PathEntry)
        else entry
        for entry in entries
    ]


def normalise(reference: str) -> str:
    """The reference with its registry, `library/` and tag spelled out, without a digest.

    As Docker reads it: the first part is a registry if it has a dot or a colon, or is localhost.
    """
    name = reference.partition("@")[0]
    first, slash, rest = name.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost"):
        first, rest = "docker.io", name
    if first == "docker.io" and "/" not in rest:
        rest = f"library/{rest}"
    if ":" not in rest.rpartition("/")[2]:
        rest += ":latest"
    return f"{first}/{rest}"


def _folder_name(entry: Entry) -> str:
    """Readable, and another one whenever what it is made from changes."""
    content = f"{entry.model_dump_json(exclude=_NOT_IN_TREE)}{makers.inputs(entry)}"
    digest = hashlib.sha256(content.encode()).hexdigest()[:12]
    name = normalise(entry.reference).rpartition("/")[2].replace(":", "-")
    return f"{name}-{digest}"
