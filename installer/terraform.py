"""Writes bundle/terraform/main.tf.json from the bundle and the overlays that add applications.

`python -m installer.terraform` after a change of one; a test compares.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from installer.pack import ROOT

MODULE = Path("bundle/terraform/main.tf.json")
OVERLAYS = ("tuning", "tuning-ui", "training", "training-v1", "door", "notebooks", "pipelines")
"""Each has a variable; the others change what there is, for which the module has variables."""
_TYPES = {"config": "map(map(string))", "units": "map(number)"}


def module(root: Path = ROOT) -> dict[str, Any]:
    """The module in Terraform's JSON syntax."""
    files = {"": _read(root / "bundle/bundle.yaml")}
    files |= {name: _read(root / f"bundle/overlays/{name}.yaml") for name in OVERLAYS}
    base = files[""]["default-base"].partition("/")[0]
    specs = {n: spec for file in files.values() for n, spec in file["applications"].items()}
    # the overlay that an application comes with, "" for the bundle itself
    homes = {name: overlay for overlay, file in files.items() for name in file["applications"]}
    needs: dict[str, set[str]] = {overlay: set() for overlay in OVERLAYS}
    integrations: dict[str, Any] = {}
    for overlay, file in files.items():
        for pair in file["relations"]:
            ends = [end.split(":") for end in pair]
            conditions = {overlay, *(homes[name] for name, _ in ends)} - {""}
            if overlay:
                needs[overlay] |= conditions - {overlay}
            integrations["_".join(_label(part) for end in ends for part in end)] = {
                **_count(conditions),
                "model_uuid": "${var.model_uuid}",
                "application": [
                    {"name": _name(name, homes[name]), "endpoint": endpoint}
                    for name, endpoint in ends
                ],
            }
    return {
        "//": "Made from the bundle and its overlays by python -m installer.terraform.",
        "terraform": {
            "required_version": ">= 1.6",
            "required_providers": {"juju": {"source": "juju/juju", "version": "~> 1.0"}},
        },
        "variable": _variables(needs, list(specs)),
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


def _read(file: Path) -> dict[str, Any]:
    document = yaml.safe_load(file.read_text())
    return {**document, "relations": document.get("relations") or []}


def _application(name: str, spec: Mapping[str, Any], overlay: str, base: str) -> dict[str, Any]:
    given = f"lookup(var.config, {json.dumps(name)}, {{}})"
    entry: dict[str, Any] = {
        **_count({overlay} - {""}),
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


def _variables(needs: Mapping[str, set[str]], applications: list[str]) -> dict[str, Any]:
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
    for overlay, others in needs.items():
        along = f"; goes with {' and '.join(_label(each) for each in sorted(others))}"
        variables[_label(overlay)] = {
            "type": "bool",
            "default": False,
            "description": f"Deploy what overlays/{overlay}.yaml adds{along if others else ''}.",
        }
    for name, what in (
        ("config", "Options by application, over those of the bundle."),
        ("units", "Units by application, in place of the bundle's."),
    ):
        known = json.dumps(applications)
        variables[name] = {
            "type": _TYPES[name],
            "default": {},
            "description": what,
            "validation": {
                "condition": f"${{length(setsubtract(keys(var.{name}), {known})) == 0}}",
                "error_message": f"The keys of {name} have to be applications of the bundle.",
            },
        }
    return variables


def _count(overlays: Iterable[str]) -> dict[str, str]:
    condition = " && ".join(f"var.{_label(overlay)}" for overlay in sorted(overlays))
    return {"count": f"${{{condition} ? 1 : 0}}"} if condition else {}


def _name(application: str, overlay: str) -> str:
    """A reference, so that an integration comes after its applications."""
    instance = "[0]" if overlay else ""
    return f"${{juju_application.{_label(application)}{instance}.name}}"


def _label(name: str) -> str:
    return name.replace("-", "_")


def _literal(value: object) -> str:
    """A value as the provider's maps of strings have it, free of Terraform's templates."""
    plain = str(value).lower() if isinstance(value, bool) else str(value)
    return plain.replace("${", "$${").replace("%{", "%%{")


if __name__ == "__main__":
    (ROOT / MODULE).write_text(text())
