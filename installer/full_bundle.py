"""Puts bundle/bundle.yaml together: core.yaml with the overlays that add to it.

`python -m installer.terraform` writes it, with the Terraform module; a test compares.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from localjuju.cli.overlay import lay_over

FILE = Path("bundle/bundle.yaml")
CORE = Path("bundle/core.yaml")
OVERLAYS = (
    "door",
    "notebooks",
    "serving-ui",
    "pipelines",
    "tuning",
    "tuning-ui",
    "training",
    "workspaces",
)
"""What is laid over the core, in this order."""
_HEAD = """\
# The whole stack, on any Kubernetes:
#   ./mlops pack --full && juju deploy ./bundle/bundle.yaml --trust
# On one machine: ./mlops up --full
# Made by python -m installer.terraform from core.yaml and these overlays; change those:
"""


def text(root: Path) -> str:
    """The text of the file."""
    said = yaml.dump(document(root), Dumper=_Dumper, sort_keys=False, width=99)
    return f"{_HEAD}# {', '.join(OVERLAYS)}.\n{said}"


def document(root: Path) -> dict[str, Any]:
    """What the file says."""
    merged: dict[str, Any] = yaml.safe_load((root / CORE).read_text())
    for name in OVERLAYS:
        overlay = yaml.safe_load((root / f"bundle/overlays/{name}.yaml").read_text())
        for spec in overlay["applications"].values():
            if "charm" in spec:  # named from one folder further down
                spec["charm"] = spec["charm"].removeprefix("../")
        lay_over(merged, overlay)
    merged["description"] = (
        "Notebooks, pipelines, tuning, training, tracking, a registry and serving; one login."
    )
    return merged


class _Dumper(yaml.SafeDumper):
    """As people write bundles: texts of several lines as they are, relations on one line."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _text(dumper: _Dumper, value: str) -> yaml.Node:
    return dumper.represent_scalar(
        "tag:yaml.org,2002:str", value, style="|" if "\n" in value else None
    )


def _list(dumper: _Dumper, value: Sequence[object]) -> yaml.Node:
    short = all(isinstance(each, str) for each in value)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=short)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(list, _list)
