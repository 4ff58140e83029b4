"""Writes bundle/terraform/main.tf.json from the full bundle and the overlays that add to it.

`python -m installer.terraform` after a change of a bundle or overlay writes it, and the full
bundle itself; tests compare.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from installer import full_bundle
from installer.pack import ROOT

MODULE = Path("bundle/terraform/main.tf.json")
OVERLAYS = ("training-v1", "spark", "model-registry", "knative")
"""Each has a variable; the others change what there is, for which the module has variables."""
_TYPES = {"config": "map(map(string))", "units": "map(number)", "without": "set(string)"}


def module(root: Path = ROOT) -> dict[str, Any]:
    """The module in Terraform's JSON syntax."""
    files = {"": full_bundle.document(root)}
    files |= {name: _overlay(root, name) for name in OVERLAYS}
    base = files[""]["default-base"].partition("/")[0]
    specs = {n: spec for file in files.values() for n, spec in file["applications"].items()}
    # the overlay that an application comes with, "" for the bundle itself
    homes = {name: overlay for overlay, file in files.items() for name in file["applications"]}
    integrations: dict[str, Any] = {}
    for overlay, file in files.items():
        for pair in file["relations"]:
            ends = [end.split(":") for end in pair]
            names = [name for name, _ in ends]
            integrations["_".join(_label(part) for end in ends for part in end)] = {
                "count": _count({overlay, *(homes[name] for name in names)}, names),
                "model_uuid": "${var.model_uuid}",
                "application": [
                    {"name": _name(name), "endpoint": endpoint} for name, endpoint in ends
                ],
            }
    return {
        "//": "Made from the bundle and its overlays by python -m installer.terraform.",
        "terraform": {
            "required_version": ">= 1.6",
            "required_providers": {"juju": {"source": "juju/juju", "version": ">= 1.0, < 3.0"}},
        },
        "variable": _variables(list(specs)),
        "locals": {
            "config": {
                name: {key: _literal(value) for key, value in (spec.get("options") or {}).items()}
                for name, spec in specs.items()
            }
        },
        "resource": {
            "juju_application": {
                _label(name): _application(name, spec, homes[name], base)
                for name, spec in specs.items()
            },
            "juju_integration": integrations,
        },
    }


def text(root: Path = ROOT) -> str:
    """The text of the module's file."""
    return json.dumps(module(root), indent=2, ensure_ascii=False) + "\n"


def _overlay(root: Path, name: str) -> dict[str, Any]:
    """An overlay, with the one that relates it to the door, which the full bundle has."""
    found, door = _read(root / f"bundle/overlays/{name}.yaml"), f"bundle/overlays/{name}-door.yaml"
    if (root / door).exists():
        found["relations"] = [*found["relations"], *_read(root / door)["relations"]]
    return found


def _read(file: Path) -> dict[str, Any]:
    document = yaml.safe_load(file.read_text())
    return {**document, "relations": document.get("relations") or []}


def _application(name: str, spec: Mapping[str, Any], overlay: str, base: str) -> dict[str, Any]:
    given = f"lookup(var.config, {json.dumps(name)}, {{}})"
    entry: dict[str, Any] = {
        "count": _count({overlay}, [name]),
        "name": name,
        "model_uuid": "${var.model_uuid}",
        "charm": {
            "name": f"${{var.charm_prefix}}{Path(spec['charm']).stem}",
            "channel": "${var.channel}",
            "base": base,
        },
        "units": f"${{lookup(var.units, {json.dumps(name)}, {spec['scale']})}}",
        "trust": bool(spec.get("trust")),
        "config": f"${{merge(local.config[{json.dumps(name)}], {given})}}",
        "resources": {key: _literal(value) for key, value in spec["resources"].items()},
    }
    if spec.get("storage"):
        entry["storage_directives"] = {k: _literal(v) for k, v in spec["storage"].items()}
    return entry


def _variables(applications: list[str]) -> dict[str, Any]:
    variables: dict[str, Any] = {
        "model_uuid": {"type": "string", "description": "The UUID of the model to deploy into."},
        "charm_prefix": {
            "type": "string",
            "default": "",
            "description": "What the charms' names on Charmhub have before the application's.",
        },
        "channel": {
            "type": "string",
            "default": "latest/edge",
            "description": "The channel of all charms.",
        },
    }
    for overlay in OVERLAYS:
        variables[_label(overlay)] = {
            "type": "bool",
            "default": False,
            "description": f"Deploy what overlays/{overlay}.yaml adds.",
        }
    known = json.dumps(applications)
    for name, what, default, keys in (
        ("config", "Options by application, over those of the bundle.", {}, "keys(var.config)"),
        ("units", "Units by application, in place of the bundle's.", {}, "keys(var.units)"),
        ("without", "Applications that are left out, with their relations.", [], "var.without"),
    ):
        variables[name] = {
            "type": _TYPES[name],
            "default": default,
            "description": what,
            "validation": {
                "condition": f"${{length(setsubtract({keys}, {known})) == 0}}",
                "error_message": f"What {name} names has to be an application of the bundle.",
            },
        }
    return variables


def _count(overlays: Iterable[str], applications: Iterable[str]) -> str:
    """One where all of these overlays are wanted and none of these applications is left out."""
    conditions = [f"var.{_label(overlay)}" for overlay in sorted({*overlays} - {""})]
    conditions += [f"!contains(var.without, {json.dumps(name)})" for name in applications]
    return f"${{{' && '.join(conditions)} ? 1 : 0}}"


def _name(application: str) -> str:
    """A reference, so that an integration comes after its applications."""
    return f"${{juju_application.{_label(application)}[0].name}}"


def _label(name: str) -> str:
    return name.replace("-", "_")


def _literal(value: object) -> str:
    """A value as the provider's maps of strings have it, free of Terraform's templates."""
    plain = str(value).lower() if isinstance(value, bool) else str(value)
    return plain.replace("${", "$${").replace("%{", "%%{")


if __name__ == "__main__":
    (ROOT / full_bundle.FILE).write_text(full_bundle.text(ROOT))
    (ROOT / MODULE).write_text(text())
