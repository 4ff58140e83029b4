"""`./mlops images`: every image of a bundle, and an overlay that takes them from one registry.

A charm's own images are its resources; what its controllers start is in its `src/images.yaml`.
Images that users name themselves, in their notebooks and jobs, are not in the list.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from installer import bundle as bundles
from installer.charm_python import ROOT
from localjuju.images.catalogue import normalise

BUNDLE = ROOT / "bundle" / "bundle.yaml"


@dataclass(frozen=True)
class Use:
    """One image of one application.

    Attributes:
        application: who uses it.
        name: of the resource, or in the charm's list of images.
        started: whether a controller starts it, in pods of its own.
        reference: the image, with its registry spelled out.
    """

    application: str
    name: str
    started: bool
    reference: str


def main(arguments: list[str]) -> int:
    """Runs `./mlops images`; returns an exit code."""
    parser = argparse.ArgumentParser(prog="./mlops images", description=__doc__)
    parser.add_argument("--bundle", type=Path, default=BUNDLE, help="default: bundle/bundle.yaml")
    parser.add_argument("--overlay", type=Path, action="append", default=[])
    parser.add_argument("--format", choices=["table", "json"], default="table")
    parser.add_argument(
        "--registry",
        metavar="HOST[:PORT][/PATH]",
        help="print an overlay that takes every image from this registry instead",
    )
    options = parser.parse_args(arguments)
    found = uses(options.bundle, options.overlay)
    if options.registry:
        print(yaml.safe_dump(overlay(found, options.registry), sort_keys=False, width=99), end="")
    elif options.format == "json":
        print(json.dumps([asdict(each) for each in found], indent=2))
    else:
        for reference in sorted({each.reference for each in found}):
            users = sorted({each.application for each in found if each.reference == reference})
            print(f"{reference}  {', '.join(users)}")
    return 0


def uses(file: Path, overlays: Sequence[Path] = ()) -> list[Use]:
    """Every image of the bundle with its overlays, by application.

    Raises:
        EngineError: a file does not exist or is no bundle.
    """
    bundles.read(file, overlays)  # says what is wrong
    applications = bundles.document(file, overlays)["applications"]
    return [
        use
        for name, spec in sorted(applications.items())
        for use in _uses(name, spec.get("resources") or {})
    ]


def _uses(application: str, resources: dict[str, str]) -> Iterator[Use]:
    for name, reference in resources.items():
        yield Use(application, name, False, normalise(reference))
    for name, reference in _started(application).items():
        yield Use(application, name, True, normalise(reference))


def _started(application: str) -> dict[str, str]:
    """A charm's list of the images that its controllers start."""
    file = ROOT / "charms" / application / "src" / "images.yaml"
    return yaml.safe_load(file.read_text()) if file.exists() else {}


def _options(application: str) -> dict[str, Any]:
    file = ROOT / "charms" / application / "charmcraft.yaml"
    document = yaml.safe_load(file.read_text()) if file.exists() else {}
    return (document.get("config") or {}).get("options") or {}


def moved(reference: str, registry: str) -> str:
    """The image's place in another registry: its path stays."""
    return f"{registry}/{reference.partition('/')[2]}"


def overlay(found: Sequence[Use], registry: str) -> dict[str, Any]:
    """A bundle overlay by which every image comes from the registry."""
    applications: dict[str, Any] = {}
    for each in found:
        spec = applications.setdefault(each.application, {})
        if not each.started:
            spec.setdefault("resources", {})[each.name] = moved(each.reference, registry)
        elif "registry" in _options(each.application):
            spec.setdefault("options", {})["registry"] = registry
        else:  # the charm has one option for its images alone
            images = yaml.safe_load(spec.setdefault("options", {}).get("images", "{}"))
            images[each.name] = moved(each.reference, registry)
            spec["options"]["images"] = yaml.safe_dump(images)
    return {"applications": applications}
