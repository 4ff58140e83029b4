"""The entries of the catalogue, one class for each kind, as the YAML file spells them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from localjuju import pythons


class _Entry(BaseModel):
    """What every kind has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reference: str
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: dict[str, str] = {}
    workdir: str = "/"
    users: dict[str, str] = {}
    """Users that the upstream image has: `id`, with a group of that name and id, or `id:group`."""

    user: str = ""
    """As the upstream image's USER: `id`, `id:group`, or names that `users` has; root if empty."""

    writable: tuple[str, ...] = ()
    """Folders that are the user's; they are made where they are missing."""

    base: str = ""
    """The catalogue's image below it, as in a Dockerfile's FROM; its variables are this one's."""

    instead_of: str = ""
    """The upstream program that these play the part of; empty where they are upstream's own."""

    @field_validator("users", mode="before")
    @classmethod
    def _users_as_text(cls, users: object) -> object:
        return {k: str(v) for k, v in users.items()} if isinstance(users, dict) else users

    @field_validator("user", mode="before")
    @classmethod
    def _user_as_text(cls, user: object) -> object:
        return str(user) if isinstance(user, int) else user

    @model_validator(mode="after")
    def _check_users(self) -> _Entry:
        for given in self.users.values():
            if not all(part.isdigit() for part in given.split(":", 1)):
                raise ValueError(f"{given} is no user id, nor user and group id")
        self.ids()
        for folder in self.writable:
            if not folder.startswith("/") or ".." in folder.split("/"):
                raise ValueError(f"writable: {folder} is no absolute path")
        return self

    def ids(self) -> tuple[int, int | None]:
        """User and group id of the image's user; the group None where that is the user's own.

        Raises:
            ValueError: a name that `users` does not have.
        """
        user, _, group = self.user.partition(":")
        uid, own = self._id(user) if user else (0, None)
        return uid, self._id(group)[0] if group else own

    def _id(self, name: str) -> tuple[int, int | None]:
        """The id, and the group of a user that `users` names."""
        if name.isdigit():
            return int(name), None
        if name == "root":
            return 0, None
        if name not in self.users:
            raise ValueError(f"user {self.user}: users has no {name}")
        number, _, group = self.users[name].partition(":")
        return int(number), int(group or number)

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
    files: dict[str, str] = {}
    """File in `scripts/`, as it is: path in the image."""
    shell: bool = False
    """Whether the upstream image has a shell and its usual programs: no `distroless` one."""

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
    """What the version of the first package has to contain, as `debian.unpack` has it."""


class PypiFilesEntry(_Entry):
    """Files that Python packages bring for programs of another kind, over Debian packages."""

    kind: Literal["pypi-files"]
    lock: str
    """A requirements file with exact versions, in `locks/`."""
    folders: dict[str, str]
    """Folder of the installed packages, such as `pyspark/jars`: path in the image."""
    packages: tuple[str, ...]
    """Debian packages that the programs need."""
    files: dict[str, str] = {}
    """File in `scripts/`, as it is: path in the image."""
    links: dict[str, str] = {}
    """Symbolic link in the image: what it leads to."""


class PathEntry(_Entry):
    """A folder of the user's."""

    kind: Literal["path"]
    path: str
    binds: tuple[str, ...] = ()
    """Further folders of the host that its programs need; in the image at the same path."""


class StandInEntry(_Entry):
    """A small program of ours that keeps the image's contract."""

    kind: Literal["stand-in"]
    scripts: dict[str, str]
    """File in `scripts/`: path in the image."""

    @property
    def stand_in(self) -> bool:
        return True


class BuiltinEntry(_Entry):
    """The image of charms: a Python, with the packages in each charm's own environment."""

    kind: Literal["builtin"]


class AgentEntry(_Entry):
    """What a unit's init container brings into its pod: the program of `localjuju/inpod`."""

    kind: Literal["agent"]
    program: str
    """Path in the image."""


Entry = Annotated[
    GoEntry
    | PypiEntry
    | DebianEntry
    | PypiFilesEntry
    | PathEntry
    | StandInEntry
    | BuiltinEntry
    | AgentEntry,
    Field(discriminator="kind"),
]


class CatalogueFile(BaseModel):
    """A catalogue file."""

    model_config = ConfigDict(extra="forbid")

    images: tuple[Entry, ...]
