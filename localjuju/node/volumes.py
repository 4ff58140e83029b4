"""A pod's volumes as folders on the host."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from localjuju.node.environment import ConfigError
from localjuju.node.hostpaths import HostPaths
from localjuju.node.values import field_value, resource_value

Data = Mapping[str, bytes]
Read = Callable[[str, str], Awaitable[Data | None]]
"""`read("ConfigMap" or "Secret", name)`: the data as bytes, None where there is no such object."""
Token = Callable[[str, int], Awaitable[str]]
"""`token(audience or "", seconds)`: a bound token of the pod's service account."""
Claim = Callable[[str], Awaitable[Path]]
"""`claim(name)`: the host's folder of a bound PersistentVolumeClaim."""

_TOKEN_SECONDS = 3607


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
        self._written: dict[Path, dict[str, bytes]] = {}
        self.paths: dict[str, Path] = {}

    async def prepare(self) -> None:
        """Makes every volume.

        Raises:
            ConfigError: something that a volume needs is not there (yet).
        """
        for volume in self._pod.spec.volumes or []:
            self.paths[volume.name] = await self._make(volume)

    async def refresh(self) -> None:
        """Writes what changed in ConfigMaps, Secrets and tokens; what is gone stays as it was."""
        for volume in self._pod.spec.volumes or []:
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

    async def _files(self, volume: Any) -> dict[str, bytes] | None:
        if volume.configMap is not None:
            source = volume.configMap
            return await self._from_object("ConfigMap", source.name, source)
        if volume.secret is not None:
            source = volume.secret
            return await self._from_object("Secret", source.secretName, source)
        if volume.downwardAPI is not None:
            return self._downward(volume.downwardAPI)
        if volume.projected is not None:
            found: dict[str, bytes] = {}
            for source in volume.projected.sources or []:
                found.update(await self._projected(source))
            return found
        return None

    async def _projected(self, source: Any) -> dict[str, bytes]:
        if source.configMap is not None:
            return await self._from_object("ConfigMap", source.configMap.name, source.configMap)
        if source.secret is not None:
            return await self._from_object("Secret", source.secret.name, source.secret)
        if source.downwardAPI is not None:
            return self._downward(source.downwardAPI)
        if source.serviceAccountToken is not None:
            wanted = source.serviceAccountToken
            token = await self._token(
                wanted.audience or "", wanted.expirationSeconds or _TOKEN_SECONDS
            )
            return {wanted.path: token.encode()}
        raise ConfigError("a projected volume's source is not supported by localjuju")

    async def _from_object(self, kind: str, name: str, source: Any) -> dict[str, bytes]:
        data = await self._read(kind, name)
        if data is None:
            if source.optional:
                return {}
            raise ConfigError(f'{kind.lower()} "{name}" not found')
        if not source.items:
            return dict(data)
        found = {}
        for item in source.items:
            if item.key in data:
                found[item.path] = data[item.key]
            elif not source.optional:
                raise ConfigError(f'{kind.lower()} "{name}" has no key {item.key}')
        return found

    def _downward(self, source: Any) -> dict[str, bytes]:
        found = {}
        for item in source.items or []:
            if item.fieldRef is not None:
                value = field_value(self._pod, item.fieldRef.fieldPath, self.pod_ip)
            else:
                container = self._pod.spec.containers[0]
                value = resource_value(self._pod, container, item.resourceFieldRef)
            found[item.path] = value.encode()
        return found

    def _write(self, folder: Path, files: dict[str, bytes]) -> None:
        """Replaces each changed file at once, so that no reader sees half of one."""
        old = self._written.get(folder)
        if old == files:
            return
        for name, content in files.items():
            target = folder / name
            if old is not None and old.get(name) == content:
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            new = target.with_name(f".{target.name}.new")
            new.write_bytes(content)
            new.chmod(0o644)
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
