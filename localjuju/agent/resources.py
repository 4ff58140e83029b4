"""Resources as files in the unit's charm container."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml

from localjuju.agent.context import CommandError
from localjuju.agent.services import Services, agent_folder
from localjuju.model import applications


def resource_file(services: Services, model: str, unit: str, name: str) -> str:
    """Puts a resource into the pod; returns its path there.

    An OCI image is a YAML file with `registrypath`, `username` and `password`.

    Raises:
        CommandError: the application was deployed without it.
    """
    application = applications.get(services.db, model, unit.rpartition("/")[0])
    charm = applications.charm_of(services.db, application)
    value = application["resources"].get(name)
    if value is None:
        raise CommandError(f"could not download resource: resource#{application['name']}/{name} "
                           "not found")  # fmt: skip
    folder = services.agent_folder(model, unit) / "resources" / name
    folder.mkdir(parents=True, exist_ok=True)
    inside = f"{agent_folder(unit)}/resources/{name}"
    if charm.resources[name].get("type") == "oci-image":
        content = {"registrypath": value, "username": "", "password": ""}
        (folder / "content.yaml").write_text(yaml.safe_dump(content))
        return f"{inside}/content.yaml"
    filename = charm.resources[name].get("filename") or Path(value).name
    shutil.copyfile(value, folder / Path(filename).name)
    return f"{inside}/{Path(filename).name}"
