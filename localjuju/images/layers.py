"""The catalogue's images as layers: nothing of this machine's own /usr and /etc is in them.

`python -m localkube --images localjuju.images.layers:find` runs a cluster that has them.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from pathlib import Path

from localjuju import pythons
from localjuju.images import base, makers, users
from localjuju.images.catalogue import Catalogue, normalise
from localjuju.images.entries import (
    AgentEntry,
    BuiltinEntry,
    DebianEntry,
    Entry,
    GoEntry,
    PathEntry,
    PypiEntry,
    PypiFilesEntry,
)
from localkube.building import builds
from localkube.host import paths
from localkube.host.progress import Progress
from localkube.images.image import Image, pack
from localkube.images.layers import Layer
from localkube.images.registry import digests

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# The libraries that a Python which was built on this machine may have found on it.
_LIBRARIES = ("libpython3-stdlib",)
# Of a Python's own: packages that are not an image's, and what only a build or a test of it needs.
_NOT_OF_PYTHON = {
    "lib": ("*.a", "pkgconfig"),
    "lib/python3.*": ("test", "idlelib", "config-*"),
    "lib/python3.*/site-packages": ("*",),
}


def find(reference: str) -> Image | None:
    """The image that the catalogue has for a reference, made where it is not in the cache.

    Raises:
        EngineError: the catalogue is wrong, or the image cannot be made; names what to do.
    """
    catalogue = _catalogue()
    return catalogue_image(catalogue, reference) if catalogue.has(reference) else None


def find_beside(
    registries: Collection[str], reference: str, *, agents: bool = True
) -> Image | None:
    """As `find`; None too for a stand-in, where one of these registries has the real image.

    Args:
        registries: those that answer.
        reference: the image's.
        agents: whether the engine's own agent is to be had under the name of Juju's.

    Raises:
        EngineError: as `find` does.
    """
    catalogue = _catalogue()
    if not catalogue.has(reference):
        return None
    entry = catalogue.find(reference)
    if entry.stand_in and registry(reference) in registries:
        return None
    if isinstance(entry, AgentEntry) and not agents:
        return None
    return catalogue_image(catalogue, reference)


def has_juju() -> bool:
    """Whether the catalogue has an image of a real Juju's controller; LOCALJUJU_IMAGES may."""
    return any(
        reference.rpartition("/")[2].startswith("jujud-operator:")
        and not isinstance(_catalogue().find(reference), AgentEntry)
        for reference in _catalogue().references()
    )


def prepare(reference: str) -> None:
    """Makes an image of the catalogue, and reads it once, so that a pull has not to wait.

    Raises:
        EngineError: no entry, the image cannot be made, or the disk is full.
    """
    pack(catalogue_image(_catalogue(), reference), digests())


def require(references: Iterable[str]) -> None:
    """Raises EngineError with the first of the references that the catalogue lacks."""
    for one in sorted(others(references)):
        _catalogue().find(one)


def others(references: Iterable[str]) -> list[str]:
    """Those that the catalogue lacks."""
    return [one for one in references if not _catalogue().has(one)]


def registry(reference: str) -> str:
    """The registry that an image comes from where the catalogue lacks it."""
    return normalise(reference).partition("/")[0]


def registries() -> list[str]:
    """The registries of all that the catalogue has."""
    return sorted({registry(one) for one in _catalogue().references()})


@cache
def _catalogue() -> Catalogue:
    return Catalogue.load()


def catalogue_image(catalogue: Catalogue, reference: str) -> Image:
    """The image of an entry, made where it is not in the cache.

    Raises:
        EngineError: no entry, or it cannot be made; names what to do.
    """
    entry = catalogue.find(reference)
    progress = Progress()
    below = catalogue_image(catalogue, entry.base) if entry.base else None
    layers = [
        *(below.layers if below else _below(entry, progress)),
        *_own(catalogue, entry, progress),
    ]
    uid, gid = entry.ids()
    group = _group(entry, uid) if gid is None else gid
    owners = {path.lstrip("/"): (uid, group) for path in entry.writable}
    return Image(
        [
            *(_with_owners(layer, owners) for layer in layers),
            *_added(entry, owners, progress),
        ],
        user=entry.user,
        entrypoint=entry.entrypoint,
        command=entry.command,
        environment={"PATH": _PATH, **(below.environment if below else {}), **entry.env},
        folder=entry.workdir,
    )


def _group(entry: Entry, uid: int) -> int:
    """The group of a user; as in containers, root's where the image does not name the user."""
    for given in entry.users.values():
        number, _, group = given.partition(":")
        if int(number) == uid:
            return int(group or number)
    return 0


def _below(entry: Entry, progress: Progress) -> Iterator[Layer]:
    """What the image has in common with others."""
    if isinstance(entry, AgentEntry) or (isinstance(entry, GoEntry) and not entry.shell):
        folder = base.bare(progress)
        yield Layer(folder.name, folder)
        return
    yield _root(base.root(progress))
    if isinstance(entry, DebianEntry | GoEntry):
        return
    if isinstance(entry, PypiFilesEntry):
        yield _root(base.over(entry.packages, progress))
        return
    if isinstance(entry, PathEntry):
        if entry.binds:  # such as a Python that was built on this machine, with its libraries
            yield _root(base.over(_LIBRARIES, progress))
        for path in entry.binds:
            yield Layer(_fingerprint(Path(path)), Path(path), path.lstrip("/"))
        return
    python = makers.python(entry)
    prefix = pythons.prefix(python.program)
    if prefix == Path("/usr"):
        yield _root(base.over([f"python{python.version}"], progress))
        return
    yield _root(base.over(_LIBRARIES, progress))
    tree = _python(python, prefix)
    yield Layer(tree.name, tree, str(prefix).lstrip("/"))


def _python(python: pythons.Interpreter, prefix: Path) -> Path:
    """A copy of an installation, which would change: a Python that runs as root compiles there."""

    def left_out(folder: str, names: list[str]) -> set[str]:
        inside = str(Path(folder).relative_to(prefix))
        return {
            name
            for place, patterns in _NOT_OF_PYTHON.items()
            if fnmatch.fnmatchcase(inside, place)
            for pattern in patterns
            for name in fnmatch.filter(names, pattern)
        }

    def make(target: Path) -> None:
        shutil.copytree(prefix, target, symlinks=True, ignore=left_out, dirs_exist_ok=True)

    state = python.program.stat()
    key = _key(f"{python.program} {state.st_ino} {state.st_mtime_ns}")
    return builds.make_once(paths.cache() / "builds" / f"python-{python.version}-{key}", make)


def _root(folder: Path) -> Layer:
    return Layer(folder.parent.name, folder)


def _own(catalogue: Catalogue, entry: Entry, progress: Progress) -> Iterator[Layer]:
    """What is the image's alone."""
    made = catalogue.ensure(entry.reference, progress)
    if isinstance(entry, DebianEntry):
        yield _root(made)
        return
    name = _fingerprint(made) if isinstance(entry, PathEntry) else made.parent.name
    yield Layer(name, made, moved=base.MERGED)
    packages = made.with_name("venv")
    if isinstance(entry, PypiEntry):
        yield Layer(f"{name}-venv", packages, str(packages).lstrip("/"))
    if isinstance(entry, BuiltinEntry):
        # Charms' packages are mounted where the host has them, such as below /root: there, too,
        # every user has to find the way.
        nothing = builds.make_once(paths.cache() / "builds" / "nothing", lambda _: None)
        yield Layer("way", nothing, str(paths.cache() / "charm-venvs").lstrip("/"))


def _with_owners(layer: Layer, owners: dict[str, tuple[int, int]]) -> Layer:
    """The layer, with what of it is the image's user's."""
    own = {
        path: ids
        for path, ids in owners.items()
        if not layer.place and (layer.folder / path).exists()
    }
    if not own:
        return layer
    return Layer(layer.name, layer.folder, layer.place, own, layer.moved)


def _added(
    entry: Entry, owners: dict[str, tuple[int, int]], progress: Progress
) -> Iterator[Layer]:
    """The image's users, and folders that are its user's and that no other layer has."""
    if not entry.users and not owners:
        return
    known = base.root(progress)

    def make(target: Path) -> None:
        if entry.users:
            users.add(entry, target, known)
        for path in owners:
            (target / path).mkdir(parents=True, exist_ok=True)

    key = _key(f"{known.parent.name}{entry.users}{entry.env.get('HOME')}{sorted(owners)}")
    folder = builds.make_once(paths.cache() / "builds" / f"users-{key}", make)
    yield Layer(folder.name, folder, "", owners)


def _fingerprint(folder: Path) -> str:
    """A name for what is in a folder now: it is somebody's, who may change it."""
    found = hashlib.sha256(str(folder).encode())
    for place, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted([*folders, *files]):
            state = Path(place, name).lstat()
            found.update(
                f"{place}/{name} {state.st_mode} {state.st_size} {state.st_mtime_ns}\n".encode()
            )
    return f"{folder.name}-{found.hexdigest()[:12]}"


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
