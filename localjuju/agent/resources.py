"""Resources as files in the unit's charm container."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable
from pathlib import Path

import yaml

from localjuju.agent.context import CommandError
from localjuju.agent.hub import Tree
from localjuju.agent.services import Services, agent_folder
from localjuju.model import applications


def resource_file(
    services: Services, model: str, unit: str, pod: str, name: str
) -> tuple[str, Awaitable[None]]:
    """A resource's path in the pod, and what puts it there.

    An OCI image is a YAML file with `registrypath`, `username` and `password`.

    Raises:
        CommandError: the application was deployed without it; the resource cannot be read, or the
            pod not be reached.
    """
    application = applications.get(services.db, model, unit.rpartition("/")[0])
    charm = applications.charm_of(services.db, application)
    value = application["resources"].get(name)
    if value is None:
        raise _failure(application["name"], name, "not found")
    folder = f"{agent_folder(unit)}/resources/{name}"
    if charm.resources[name].get("type") == "oci-image":
        content = {"registrypath": value, "username": "", "password": ""}
        filename, file = "content.yaml", yaml.safe_dump(content).encode()
        version = hashlib.sha256(file).hexdigest()
    else:
        file = Path(value)
        filename = Path(charm.resources[name].get("filename") or file.name).name
        try:
            info = file.stat()
        except OSError as error:
            raise _failure(application["name"], name, str(error)) from None
        version = f"{file} {info.st_mtime_ns} {info.st_size}"
    tree = Tree({filename: file}, folder, version)

    async def deliver() -> None:
        try:
            await services.hub.install(pod, tree)
        except OSError as error:
            raise _failure(application["name"], name, str(error)) from None

    return f"{folder}/{filename}", deliver()


def _failure(application: str, name: str, why: str) -> CommandError:
    return CommandError(f"could not download resource: resource#{application}/{name} {why}")
