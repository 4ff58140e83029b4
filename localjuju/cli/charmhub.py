"""Finds charms that are named as Charmhub's: in the folder that LOCALJUJU_CHARMS names.

The engine reaches no Charmhub. A bundle or a test suite that deploys `postgresql-k8s` by its name
runs all the same where that folder holds the packed charm.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from localjuju.cli.context import UsageError
from localjuju.model.charm import Charm

_VARIABLE = "LOCALJUJU_CHARMS"
_SOURCE = "ch:"  # of Charmhub's names, where it is said


def find(name: str) -> Path:
    """The file of the charm: `NAME.charm`, or `NAME_PLATFORM.charm` as charmcraft writes it.

    Raises:
        UsageError: there is none, several, or no such folder is named.
    """
    name = name.removeprefix(_SOURCE)
    folder = os.environ.get(_VARIABLE)
    if not folder:
        raise UsageError(
            f'"{name}" is Charmhub\'s: not supported by localjuju; name a local file, such as '
            f"./build/{name}.charm, or with {_VARIABLE} the folder of its .charm file"
        )
    files = sorted(
        file
        for file in Path(folder).glob("*.charm")
        if file.stem == name or file.stem.startswith(f"{name}_")
    )
    if not files:
        raise UsageError(
            f'"{name}" is Charmhub\'s: not supported by localjuju; there is no {name}.charm in '
            f"{folder}, which {_VARIABLE} names"
        )
    if len(files) > 1:
        names = " and ".join(file.name for file in files)
        raise UsageError(f'"{name}" may be {names} in {folder}: name one of them by its path')
    return files[0].resolve()


def resources(charm: Charm, given: Mapping[str, object]) -> dict[str, str]:
    """The images that the charm names as its resources' sources, and over them what is given.

    A given number is a revision in Charmhub: the image that the charm names stands for it.
    """
    named = {
        name: resource["upstream-source"]
        for name, resource in (charm.metadata.get("resources") or {}).items()
        if isinstance(resource, dict)
        and resource.get("type") == "oci-image"
        and isinstance(resource.get("upstream-source"), str)
    }
    return named | {name: str(v) for name, v in given.items() if not str(v).isdecimal()}
