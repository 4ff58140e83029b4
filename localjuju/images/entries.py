"""The entries of the catalogue, one class for each kind, as the YAML file spells them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from localjuju import pythons


class _Entry(BaseModel):
    """What every kind has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reference: str
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: dict[str, str] = {}
    workdir: str = "/"
    users: dict[str, int] = {}
    """Users that the upstream image has, with their ids; the group is named like the user."""

    instead_of: str = ""
    """The upstream program that these play the part of; empty where they are upstream's own."""

    @property
    def stand_in(self) -> bool:
        """Whether it only keeps the image's contract."""
        return bool(self.instead_of)


class GoEntry(_Entry):
    """Programs of a public Go module."""

    kind: Literal["go"]
    module: str
    """`path@version`"""
    sum: str
    """The module's `h1:` checksum; another content is refused."""
    programs: dict[str, str]
    """Package in the module, such as `./cmd/manager`: path in the image."""
    links: dict[str, str] = {}
    """Symbolic links of the project that a module's archive cannot hold: path to target."""


class PypiEntry(_Entry):
    """Programs of Python packages, in an environment of their own."""

    kind: Literal["pypi"]
    lock: str
    """A requirements file with exact versions, in `locks/`."""
    programs: dict[str, str]
    """Program in the environment's bin folder: path in the image."""
    scripts: dict[str, str] = {}
    """File in `scripts/`, run by the environment's Python: path in the image."""
    python: str = pythons.VERSION
    """Version that the packages have wheels for."""


class DebianEntry(_Entry):
    """Debian packages, unpacked."""

    kind: Literal["debian"]
    packages: tuple[str, ...]
    version: str
    """What the version of the first package has to contain, such as `10.11`."""


class PathEntry(_Entry):
    """A folder of the user's."""

    kind: Literal["path"]
    path: str
    binds: tuple[str, ...] = ()


class StandInEntry(_Entry):
    """A small program of ours that keeps the image's contract."""

    kind: Literal["stand-in"]
    scripts: dict[str, str]
    """File in `scripts/`: path in the image."""

    @property
    def stand_in(self) -> bool:
        return True


class BuiltinEntry(_Entry):
    """What the engine itself needs: the image of charms."""

    kind: Literal["builtin"]


Entry = Annotated[
    GoEntry | PypiEntry | DebianEntry | PathEntry | StandInEntry | BuiltinEntry,
    Field(discriminator="kind"),
]


class CatalogueFile(BaseModel):
    """A catalogue file."""

    model_config = ConfigDict(extra="forbid")

    images: tuple[Entry, ...]
