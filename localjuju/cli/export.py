"""export-bundle: a model as a file that `juju deploy` takes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from localjuju.cli.context import Context, say
from localjuju.cli.registry import command
from localjuju.model.charm import read
from localkube.host.errors import EngineError


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--filename", metavar="FILE", help="write to a file")
    parser.add_argument("--include-charm-defaults", action="store_true",
                        help="also options that nobody set")  # fmt: skip
    parser.add_argument("--include-series", action="store_true", help="ignored: one base")


@command("export-bundle", "Writes the model as a bundle.", _arguments)
def export_bundle(options: argparse.Namespace, context: Context) -> None:
    """Juju names local charms by what the controller calls them; here their files are named."""
    found = context.call("export_bundle", charm_defaults=options.include_charm_defaults)
    for name, application in found["bundle"]["applications"].items():
        application["charm"] = _charm(name, found["charms"][name])
    text = _text(found["bundle"])
    if found["overlay"]:
        text += f"--- # overlay.yaml\n{_text(found['overlay'])}"
    if not options.filename:
        print(text, end="")
        return
    try:
        Path(options.filename).write_text(text)
    except OSError as error:
        raise EngineError(f"while creating local file: {error}") from None
    print(f"Bundle successfully exported to {options.filename}")


def _charm(application: str, charm: dict[str, str]) -> str:
    path = charm["path"]
    if not path:
        say(f"WARNING the file of {application}'s charm is not known")
        return charm["url"]
    try:
        if read(Path(path)).sha256 != charm["sha256"]:
            say(f"WARNING {path} is no longer the charm that {application} runs")
    except EngineError as error:
        say(f"WARNING {application}: {error}")
    return path


def _text(document: dict[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(document, sort_keys=False, default_flow_style=False)
