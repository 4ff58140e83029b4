"""The images that a charm's workloads start, in one list that can be overridden.

`src/images.yaml` maps a name to a reference with a tag. The options `images` (a YAML map) and
`registry` (a prefix for all) change it, where the charm has them.
"""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from charmed_mlops.errors import Blocked

_REFERENCE = re.compile(r"[a-z0-9][\w.:/@-]*")
_HOST = re.compile(r"[a-z0-9]([\w.-]*[a-z0-9])?(:\d+)?(/[\w.-]+)*")


def known_images(folder: Path) -> dict[str, str]:
    """The list in `images.yaml` of the charm's `src` folder; empty when there is none."""
    file = folder / "images.yaml"
    return yaml.safe_load(file.read_text()) if file.exists() else {}


def resolve(folder: Path, overrides: str = "", registry: str = "") -> dict[str, str]:
    """The images of `images.yaml` with those of option `images` in their place.

    Args:
        folder: the charm's `src` folder.
        overrides: a YAML map of known names to references.
        registry: host, with a path where wanted, that takes the place of each default
            reference's host.

    Raises:
        Blocked: an option is wrong.
    """
    known = known_images(folder)
    try:
        given = yaml.safe_load(overrides) or {}
    except yaml.YAMLError:
        given = None
    if not isinstance(given, dict):
        raise Blocked(
            f"config images: must be a YAML map, such as {{{next(iter(known))}: HOST/…}}"
        )
    for name, reference in given.items():
        if name not in known:
            raise Blocked(f"config images: no image {name!r}; the option's description lists them")
        if not isinstance(reference, str) or not _REFERENCE.fullmatch(reference):
            raise Blocked(f"config images: {reference!r} is not an image reference")
    if registry and not _HOST.fullmatch(registry):
        raise Blocked(f"config registry={registry}: must be HOST, HOST:PORT or HOST/PATH")
    defaults = {name: _moved(each, registry) for name, each in known.items()}
    return {**defaults, **given}


def _moved(reference: str, registry: str) -> str:
    if not registry:
        return reference
    host, slash, rest = reference.partition("/")
    # as container engines do it: the first part is a host if it looks like one
    is_host = slash and ("." in host or ":" in host or host == "localhost")
    return f"{registry}/{rest if is_host else reference}"
