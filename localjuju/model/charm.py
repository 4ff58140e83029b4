"""Reads a packed charm: metadata, options, actions, resources, storage."""

from __future__ import annotations

import hashlib
import re
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from localjuju.model import assumes
from localjuju.model.errors import ModelError

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]*[a-z][a-z0-9]*)*")
_OPTION_TYPES = {"string", "int", "float", "boolean", "secret"}
_SHARED_VENV = "venv/.shared"
_USERS = ("root", "sudoer", "non-root")
_TAKEN_IDS = range(1000, 10000)  # for the users of machines


@dataclass(frozen=True)
class Endpoint:
    """One side of a possible relation. `role` is provider, requirer or peer."""

    name: str
    role: str
    interface: str
    limit: int
    optional: bool
    scope: str


@dataclass(frozen=True)
class Charm:
    """What a charm says of itself; the maps are its own YAML."""

    sha256: str
    name: str
    metadata: Mapping[str, Any]
    options: Mapping[str, Any]
    actions: Mapping[str, Any]
    manifest: Mapping[str, Any]

    @property
    def endpoints(self) -> dict[str, Endpoint]:
        found = {}
        for section, role in (
            ("provides", "provider"),
            ("requires", "requirer"),
            ("peers", "peer"),
        ):
            for name, spec in (self.metadata.get(section) or {}).items():
                spec = spec if isinstance(spec, dict) else {"interface": spec}
                found[name] = Endpoint(
                    name, role, str(spec.get("interface", "")), int(spec.get("limit") or 0),
                    bool(spec.get("optional", False)), str(spec.get("scope") or "global"),
                )  # fmt: skip
        return found

    @property
    def containers(self) -> dict[str, Any]:
        return {name: spec or {} for name, spec in (self.metadata.get("containers") or {}).items()}

    @property
    def user(self) -> str | None:
        """`charm-user`: root, sudoer or non-root; None where the charm does not say."""
        return self.metadata.get("charm-user")

    @property
    def chooses_users(self) -> bool:
        """Whether it says for any container whom it runs as; else all are root."""
        named = (s.get(key) for s in self.containers.values() for key in ("uid", "gid"))
        return self.user is not None or any(id is not None for id in named)

    @property
    def resources(self) -> dict[str, Any]:
        return self.metadata.get("resources") or {}

    @property
    def storage(self) -> dict[str, Any]:
        return self.metadata.get("storage") or {}

    @property
    def base(self) -> tuple[str, str]:
        """Name and channel of the first base, `("ubuntu", "24.04")` where there is none."""
        bases = self.manifest.get("bases") or [{}]
        return str(bases[0].get("name", "ubuntu")), str(bases[0].get("channel", "24.04"))

    def storage_location(self, name: str, index: int) -> str:
        """Where the charm container sees instance number `index` of a storage."""
        spec = self.storage[name]
        location = spec.get("location") or f"/var/lib/juju/storage/{name}"
        return (
            f"{location}/{index}" if spec.get("multiple") or not spec.get("location") else location
        )


def read(path: Path) -> Charm:
    """Reads and checks a `.charm` file.

    Raises:
        ModelError: it is not there, not a charm, or not one that can be deployed.
    """
    if not path.is_file():
        raise ModelError(f'no charm was found at "{path}"')
    digest = hashlib.sha256()
    with path.open("rb") as source:
        for block in iter(lambda: source.read(1 << 20), b""):
            digest.update(block)
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            documents = {
                name: yaml.safe_load(archive.read(f"{name}.yaml")) or {}
                for name in ("metadata", "config", "actions", "manifest")
                if f"{name}.yaml" in names
            }
    except (zipfile.BadZipFile, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f'cannot read charm "{path}": {reason}') from None
    if "metadata" not in documents:
        raise ModelError(f'charm "{path}" has no metadata.yaml: pack it anew')
    if "dispatch" not in names:
        raise ModelError(f'charm "{path}" has no dispatch: pack it anew')
    charm = Charm(
        digest.hexdigest(),
        str(documents["metadata"].get("name", "")),
        documents["metadata"],
        (documents.get("config") or {}).get("options") or {},
        documents.get("actions") or {},
        documents.get("manifest") or {},
    )
    _check(charm)
    return charm


def _check(charm: Charm) -> None:
    if not _NAME.fullmatch(charm.name):
        raise ModelError(f'charm metadata: invalid name "{charm.name}"')
    assumes.unmet(charm.metadata.get("assumes"))
    for name, option in charm.options.items():
        kind = option.get("type", "string")
        if kind not in _OPTION_TYPES:
            raise ModelError(f'charm config: invalid option type "{kind}" for "{name}"')
    if charm.user is not None and charm.user not in _USERS:
        raise ModelError(
            f'charm metadata: charm-user "{charm.user}" is none of {", ".join(_USERS)}'
        )
    for name, container in charm.containers.items():
        for key in ("uid", "gid"):
            if container.get(key) in _TAKEN_IDS:
                raise ModelError(
                    f'charm metadata: container "{name}" has {key} {container[key]}, and 1000 to '
                    "9999 are reserved"
                )
        resource = container.get("resource")
        if resource and charm.resources.get(resource, {}).get("type") != "oci-image":
            raise ModelError(
                f'charm metadata: container "{name}" needs a resource "{resource}" of type '
                "oci-image"
            )
        for mount in container.get("mounts") or []:
            if mount.get("storage") not in charm.storage:
                raise ModelError(
                    f'charm metadata: container "{name}" mounts unknown storage '
                    f'"{mount.get("storage")}"'
                )
    for name, endpoint in charm.endpoints.items():
        if not endpoint.interface:
            raise ModelError(f'charm metadata: relation "{name}" has no interface')


class CharmFolder:
    """Charm archives and their unpacked trees, one folder per digest, shared by all units."""

    def __init__(self, folder: Path):
        self._folder = folder

    def keep(self, charm: Charm, archive: Path) -> None:
        """Unpacks the archive once; a half-written folder is never seen."""
        target = self.tree(charm.sha256)
        if target.is_dir():
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=self._folder))
        try:
            _unpack(archive, scratch)
            scratch.chmod(0o755)
            scratch.rename(target)
        except OSError:
            shutil.rmtree(scratch, ignore_errors=True)
            if not target.is_dir():
                raise

    def tree(self, sha256: str) -> Path:
        return self._folder / sha256

    def shared_venv(self, sha256: str) -> str | None:
        """The host's folder with the charm's Python packages, where it was packed without."""
        marker = self.tree(sha256) / _SHARED_VENV
        return marker.read_text().strip() if marker.is_file() else None


def _unpack(archive: Path, target: Path) -> None:
    with zipfile.ZipFile(archive) as source:
        for entry in source.infolist():
            mode = entry.external_attr >> 16
            path = target / entry.filename
            if not path.resolve().is_relative_to(target.resolve()):
                raise ModelError(
                    f'charm "{archive}" has a file outside its folder: {entry.filename}'
                )
            if stat.S_ISLNK(mode):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.symlink_to(source.read(entry).decode())
                continue
            source.extract(entry, target)
            if mode and not entry.is_dir():
                path.chmod(stat.S_IMODE(mode) | 0o600)
