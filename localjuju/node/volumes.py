"""A pod's volumes as folders on the host."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import stat
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from localjuju.node.environment import ConfigError
from localjuju.node.hostpaths import HostPaths
from localjuju.node.values import field_value, resource_value
from localkube.host import system

Data = Mapping[str, bytes]
Read = Callable[[str, str], Awaitable[Data | None]]
"""`read("ConfigMap" or "Secret", name)`: the data as bytes, None where there is no such object."""
Token = Callable[[str, int], Awaitable[str]]
"""`token(audience or "", seconds)`: a bound token of the pod's service account."""
Claim = Callable[[str], Awaitable[Path]]
"""`claim(name)`: the host's folder of a bound PersistentVolumeClaim."""

_TOKEN_SECONDS = 3607
_MODE = 0o644
_SECRET_MODE = 0o600
_GROUP_READS, _GROUP_WRITES, _GROUP_ENTERS = 0o440, 0o660, 0o110


class VolumeFile(NamedTuple):
    """A file that the node writes."""

    content: bytes
    mode: int


class Volumes:
    """The volumes of one pod, below one folder; `refresh` follows what has changed since."""

    def __init__(
        self,
        pod: Any,
        folder: Path,
        pod_ip: str,
        read: Read,
        token: Token,
        claim: Claim,
        host_paths: HostPaths,
    ):
        self._pod = pod
        self._folder = folder
        self.pod_ip = pod_ip
        self._read = read
        self._token = token
        self._claim = claim
        self._host_paths = host_paths
        self._written: dict[Path, dict[str, VolumeFile]] = {}
        self.paths: dict[str, Path] = {}
        security = pod.spec.securityContext
        self._group: int | None = security.fsGroup if security else None
        self._policy: str | None = security.fsGroupChangePolicy if security else None

    @property
    def read_only(self) -> frozenset[str]:
        """The volumes whose files the node writes: nobody else may, as with the kubelet."""
        kinds = ("configMap", "secret", "projected", "downwardAPI")
        return frozenset(
            volume.name
            for volume in self._pod.spec.volumes or []
            if any(getattr(volume, kind) is not None for kind in kinds)
        )

    async def prepare(self) -> None:
        """Makes every volume.

        Raises:
            ConfigError: something that a volume needs is not there (yet).
        """
        for volume in self._pod.spec.volumes or []:
            path = await self._make(volume)
            if self._group is not None and volume.hostPath is None:
                claimed = volume.persistentVolumeClaim or volume.ephemeral
                if not (claimed and self._policy == "OnRootMismatch" and self._fits(path)):
                    read_only = volume.name in self.read_only
                    await asyncio.to_thread(give_to_group, path, self._group, read_only=read_only)
            self.paths[volume.name] = path

    def _fits(self, path: Path) -> bool:
        """Whether a volume has been given to the group before."""
        info = path.stat()
        wanted = _GROUP_WRITES | _GROUP_ENTERS | stat.S_ISGID
        return info.st_gid == self._group and info.st_mode & wanted == wanted

    async def refresh(self) -> None:
        """Writes what changed in ConfigMaps, Secrets and tokens; what is gone stays as it was."""
        for volume in self._pod.spec.volumes or []:
            if volume.name in self.read_only:
                with contextlib.suppress(ConfigError):
                    await self._make(volume)

    async def _make(self, volume: Any) -> Path:
        path = self._folder / volume.name
        if volume.hostPath is not None:
            host = self._host_paths.resolve(volume.hostPath.path)
            if not host.exists() and volume.hostPath.type in ("DirectoryOrCreate", "", None):
                host.mkdir(parents=True)
            if not host.exists():
                raise ConfigError(f"hostPath {host} is not there")
            return host
        if volume.persistentVolumeClaim is not None:
            return await self._claim(volume.persistentVolumeClaim.claimName)
        if volume.ephemeral is not None:
            return await self._claim(f"{self._pod.metadata.name}-{volume.name}")
        path.mkdir(parents=True, exist_ok=True)
        if volume.emptyDir is not None:
            path.chmod(0o777)
            return path
        files = await self._files(volume)
        if files is None:
            raise ConfigError(f"volume {volume.name} is of a kind not supported by localjuju")
        self._write(path, files)
        return path

    async def _files(self, volume: Any) -> dict[str, VolumeFile] | None:
        if volume.configMap is not None:
            source = volume.configMap
            return await self._from_object("ConfigMap", source.name, source, source.defaultMode)
        if volume.secret is not None:
            source = volume.secret
            return await self._from_object("Secret", source.secretName, source, source.defaultMode)
        if volume.downwardAPI is not None:
            return self._downward(volume.downwardAPI, volume.downwardAPI.defaultMode)
        if volume.projected is not None:
            found: dict[str, VolumeFile] = {}
            for source in volume.projected.sources or []:
                found.update(await self._projected(source, volume.projected.defaultMode))
            return found
        return None

    async def _projected(self, source: Any, mode: int | None) -> dict[str, VolumeFile]:
        for kind, part in (("ConfigMap", source.configMap), ("Secret", source.secret)):
            if part is not None:
                return await self._from_object(kind, part.name, part, mode)
        if source.downwardAPI is not None:
            return self._downward(source.downwardAPI, mode)
        if source.serviceAccountToken is not None:
            wanted = source.serviceAccountToken
            token = await self._token(
                wanted.audience or "", wanted.expirationSeconds or _TOKEN_SECONDS
            )
            mode = _SECRET_MODE if self._group is not None else mode
            return {wanted.path: VolumeFile(token.encode(), _MODE if mode is None else mode)}
        raise ConfigError("a projected volume's source is not supported by localjuju")

    async def _from_object(
        self, kind: str, name: str, source: Any, mode: int | None
    ) -> dict[str, VolumeFile]:
        mode = _MODE if mode is None else mode
        data = await self._read(kind, name)
        if data is None:
            if source.optional:
                return {}
            raise ConfigError(f'{kind.lower()} "{name}" not found')
        if not source.items:
            return {key: VolumeFile(value, mode) for key, value in data.items()}
        found = {}
        for item in source.items:
            if item.key in data:
                own = mode if item.mode is None else item.mode
                found[item.path] = VolumeFile(data[item.key], own)
            elif not source.optional:
                raise ConfigError(f'{kind.lower()} "{name}" has no key {item.key}')
        return found

    def _downward(self, source: Any, mode: int | None) -> dict[str, VolumeFile]:
        mode = _MODE if mode is None else mode
        found = {}
        for item in source.items or []:
            if item.fieldRef is not None:
                value = field_value(self._pod, item.fieldRef.fieldPath, self.pod_ip)
            else:
                container = self._pod.spec.containers[0]
                value = resource_value(self._pod, container, item.resourceFieldRef)
            own = mode if item.mode is None else item.mode
            found[item.path] = VolumeFile(value.encode(), own)
        return found

    def _write(self, folder: Path, files: dict[str, VolumeFile]) -> None:
        """Replaces each changed file at once, so that no reader sees half of one."""
        old = self._written.get(folder)
        if old == files:
            return
        for name, file in files.items():
            target = folder / name
            if old is not None and old.get(name) == file:
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            new = target.with_name(f".{target.name}.new")
            new.touch(_SECRET_MODE)
            new.write_bytes(file.content)
            new.chmod(file.mode)
            if self._group is not None:
                give_to_group(new, self._group, read_only=True)
            new.replace(target)
        for name in set(old or {}) - set(files):
            (folder / name).unlink(missing_ok=True)
        self._written[folder] = files


def object_data(kind: str, item: Any) -> dict[str, bytes]:
    """The data of a ConfigMap or Secret as bytes by key."""
    if kind == "Secret":
        return {key: base64.b64decode(value) for key, value in (item.data or {}).items()}
    found = {key: value.encode() for key, value in (item.data or {}).items()}
    found.update({k: base64.b64decode(v) for k, v in (item.binaryData or {}).items()})
    return found


def below(volume: Path, path: str) -> Path:
    """A folder or file of a volume; a folder is made where there is nothing, like the volume.

    Raises:
        ConfigError: a link in the volume leads out of it.
    """
    place = volume
    info = volume.stat()
    for part in Path(path).parts:
        place = place / part
        if not place.resolve().is_relative_to(volume.resolve()):
            raise ConfigError(f"subPath {path} leads out of its volume")
        if not place.exists():
            place.mkdir()
            place.chmod(stat.S_IMODE(info.st_mode))
    return place


def give_to_group(path: Path, group: int, *, read_only: bool) -> None:
    """Has a group own a volume and all that is in it; a link is changed, never followed.

    Its folders hand the group on to what is made in them. Where the engine runs without root there
    is one group only.

    Source: SetVolumeOwnership in pkg/volume/volume_linux.go of Kubernetes.
    """
    if system.in_user_namespace():
        return
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        info = os.fstat(descriptor)
        if stat.S_ISLNK(info.st_mode):
            os.chown(path, -1, group, follow_symlinks=False)
            return
        here = f"/proc/self/fd/{descriptor}"
        mode = info.st_mode | (_GROUP_READS if read_only else _GROUP_WRITES)
        os.chown(here, -1, group)
        if stat.S_ISDIR(info.st_mode):
            mode |= _GROUP_ENTERS | stat.S_ISGID
        os.chmod(here, stat.S_IMODE(mode))  # noqa: PTH101 - this very file, whatever its name
        if stat.S_ISDIR(info.st_mode):
            for entry in os.listdir(here):  # noqa: PTH208 - of a descriptor
                give_to_group(Path(here, entry), group, read_only=read_only)
    finally:
        os.close(descriptor)
