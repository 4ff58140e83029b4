"""Clouds and credentials: kept and shown, as a client's; nothing here runs on them."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import Any

from localjuju.cli.context import CONTROLLER, Context, UsageError, say
from localjuju.cli.output import format_option, show, table
from localjuju.cli.registry import command
from localjuju.cli.settings import read_mapping
from localkube.host import paths
from localkube.host.errors import EngineError

_CLIENT = "client"
_HIDDEN = re.compile(r"secret|password|token|private|^key$|jsonfile", re.IGNORECASE)
_OWN = {"type": "kubernetes", "auth-types": ["oauth2"], "regions": {"localhost": {}}}


def _file() -> Path:
    return paths.state() / "clouds.yaml"


def _kept() -> dict[str, Any]:
    """Clouds and credentials, each by where they are known: the client, the controller."""
    import yaml

    try:
        return yaml.safe_load(_file().read_text()) or {}
    except FileNotFoundError:
        return {}


def _keep(kept: dict[str, Any]) -> None:
    import yaml

    new = _file().with_suffix(".new")
    new.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as output:
        yaml.safe_dump(kept, output, sort_keys=False)
    new.replace(_file())


def _where(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--client", action="store_true", help="of this client")
    parser.add_argument("-c", "--controller", help="of the controller")


def _places(options: argparse.Namespace) -> list[str]:
    """Where it is meant: the client unless a controller is named.

    Raises:
        EngineError: there is no such controller.
    """
    if options.controller not in (None, CONTROLLER):
        raise EngineError(f"controller {options.controller} not found")
    places = [_CLIENT] if options.client or not options.controller else []
    return places + ([CONTROLLER] if options.controller else [])


def _cloud_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="CLOUD")
    parser.add_argument("file", nargs="?", metavar="FILE")
    parser.add_argument("-f", "--file", dest="given", metavar="FILE", help="YAML with clouds")
    parser.add_argument("--force", action="store_true", help="ignored")
    parser.add_argument("--credential", help="ignored")
    _where(parser)


def _defined(options: argparse.Namespace) -> dict[str, Any]:
    """What the file says of the cloud.

    Raises:
        EngineError: it says nothing, or not of what type it is.
    """
    name = options.given or options.file
    if not name:
        raise UsageError("name a file with the cloud's definition: --file FILE")
    found = (read_mapping(name).get("clouds") or {}).get(options.name)
    if not isinstance(found, dict):
        raise EngineError(f'cloud "{options.name}" not found in file "{name}"')
    if not found.get("type"):
        raise EngineError(f'cloud "{options.name}" has no type')
    return found


@command("add-cloud", "Keeps the definition of a cloud.", _cloud_arguments)
def add_cloud(options: argparse.Namespace, context: Context) -> None:
    """Nothing here runs on it."""
    found, kept = _defined(options), _kept()
    for place in _places(options):
        clouds = kept.setdefault("clouds", {}).setdefault(place, {})
        if options.name in clouds or options.name == "local":
            raise EngineError(
                f"use `update-cloud {options.name}` to override known definition: cloud "
                f'"{options.name}" already exists'
            )
        clouds[options.name] = found
        say(f'Cloud "{options.name}" successfully added{_to(place)}.')
    _keep(kept)


def _to(place: str) -> str:
    return " to your local client" if place == _CLIENT else f' to controller "{place}"'


@command("update-cloud", "Changes the definition of a cloud.", _cloud_arguments)
def update_cloud(options: argparse.Namespace, context: Context) -> None:
    """It must be known already."""
    found, kept = _defined(options), _kept()
    for place in _places(options):
        clouds = (kept.get("clouds") or {}).get(place) or {}
        if options.name not in clouds:
            raise EngineError(f"cloud {options.name} not found{_to(place).replace('to', 'on', 1)}")
        clouds[options.name] = found
        say(f'Cloud "{options.name}" updated{_to(place).replace("to", "on", 1)}.')
    _keep(kept)


def _named_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="CLOUD")
    _where(parser)


@command("remove-cloud", "Forgets the definition of a cloud.", _named_arguments)
def remove_cloud(options: argparse.Namespace, context: Context) -> None:
    """Credentials for it stay."""
    kept = _kept()
    for place in _places(options):
        if (kept.get("clouds") or {}).get(place, {}).pop(options.name, None) is None:
            raise EngineError(f"No cloud called {options.name!r} exists{_to(place)[3:]}")
        say(f'Removed details of cloud "{options.name}"{_to(place).replace("to", "from", 1)}')
    _keep(kept)


def _known(place: str) -> dict[str, Any]:
    own = {"local": _OWN} if place == CONTROLLER else {}
    return own | ((_kept().get("clouds") or {}).get(place) or {})


def _show_arguments(parser: argparse.ArgumentParser) -> None:
    _named_arguments(parser)
    format_option(parser, "display", "yaml", "json")


@command("show-cloud", "Shows the definition of a cloud.", _show_arguments)
def show_cloud(options: argparse.Namespace, context: Context) -> None:
    """Where it is known."""
    import yaml

    for place in _places(options):
        found = _known(place).get(options.name)
        if found is None:
            raise EngineError(f"cloud {options.name} not found")
        shown = {"name": options.name, "defined": "local", **found}
        title = "Client cloud" if place == _CLIENT else f'Cloud "{options.name}" from controller'
        named = f'"{options.name}"' if place == _CLIENT else f'"{place}"'
        text = yaml.safe_dump(shown, sort_keys=False).rstrip("\n")
        show(options, shown, lambda head=f"{title} {named}", text=text: f"{head}:\n\n{text}")


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="ignored")
    _where(parser)
    format_option(parser, "tabular", "yaml", "json")


@command("clouds", "Lists the clouds that are known.", _list_arguments)
def clouds(options: argparse.Namespace, context: Context) -> None:
    """The controller's own is `local`."""
    places = _places(options) if options.client or options.controller else [CONTROLLER, _CLIENT]
    found = {name: {"defined": "local", **one} for p in places for name, one in _known(p).items()}
    rows = [("Cloud", "Regions", "Type")]
    rows += [(name, len(one.get("regions") or {}), one["type"]) for name, one in found.items()]
    show(options, found, lambda: table(rows, right=(1,)))


def _credential_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cloud")
    parser.add_argument("-f", "--file", metavar="FILE", help="YAML with credentials")
    parser.add_argument("--region", help="ignored")
    _where(parser)


def _take_credentials(options: argparse.Namespace, replace: bool) -> None:
    if not options.file:
        raise UsageError("name a file with the credential: --file FILE")
    found = (read_mapping(options.file).get("credentials") or {}).get(options.cloud)
    if not isinstance(found, dict):
        raise EngineError(f"no credentials for cloud {options.cloud} exist in {options.file}")
    kept = _kept()
    for place in _places(options):
        stored = kept.setdefault("credentials", {}).setdefault(place, {})
        stored = stored.setdefault(options.cloud, {})
        for name, credential in found.items():
            if name in stored and not replace:
                raise EngineError(
                    f'local credential "{name}" for cloud "{options.cloud}" already exists: use '
                    "update-credential"
                )
            stored[name] = credential
            done = "updated" if replace else "added"
            at = " locally" if place == _CLIENT else f' on controller "{place}"'
            say(f'Credential "{name}" {done}{at} for cloud "{options.cloud}".')
    _keep(kept)


@command("add-credential", "Keeps a credential for a cloud.", _credential_arguments)
def add_credential(options: argparse.Namespace, context: Context) -> None:
    """In a file that only its owner reads."""
    _take_credentials(options, replace=False)


@command("update-credential", "Changes a credential for a cloud.", _credential_arguments)
def update_credential(options: argparse.Namespace, context: Context) -> None:
    """Or adds it."""
    _take_credentials(options, replace=True)


def _remove_credential_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cloud")
    parser.add_argument("name", metavar="CREDENTIAL")
    parser.add_argument("--force", action="store_true", help="ignored")
    _where(parser)


@command("remove-credential", "Forgets a credential.", _remove_credential_arguments)
def remove_credential(options: argparse.Namespace, context: Context) -> None:
    """Of the client unless a controller is named."""
    kept = _kept()
    for place in _places(options):
        stored = ((kept.get("credentials") or {}).get(place) or {}).get(options.cloud) or {}
        if stored.pop(options.name, None) is None:
            raise EngineError(
                f'no credential called "{options.name}" exists for cloud "{options.cloud}"'
            )
    _keep(kept)


def _credentials_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cloud", nargs="?")
    parser.add_argument("--show-secrets", action="store_true", help="with what is secret")
    _where(parser)
    format_option(parser, "tabular", "yaml", "json")


@command("credentials", "Lists the credentials that are kept.", _credentials_arguments)
def credentials(options: argparse.Namespace, context: Context) -> None:
    """What is secret in them only with --show-secrets."""
    places = _places(options) if options.client or options.controller else [_CLIENT, CONTROLLER]
    found: dict[str, Any] = {}
    rows = [("Cloud", "Credentials")]
    for place in places:
        for cloud, named in ((_kept().get("credentials") or {}).get(place) or {}).items():
            if options.cloud not in (None, cloud) or not named:
                continue
            section = found.setdefault(f"{_section(place)}-credentials", {})
            section[cloud] = {
                "cloud-credentials": {
                    name: _shown(one, options.show_secrets) for name, one in named.items()
                }
            }
            rows.append((cloud, ", ".join(named)))
    show(options, found, lambda: table(rows) if len(rows) > 1 else "")


def _section(place: str) -> str:
    return place if place == _CLIENT else "controller"


def _shown(credential: dict[str, Any], secrets: bool) -> dict[str, Any]:
    details = {
        key: value
        for key, value in credential.items()
        if key != "auth-type" and (secrets or not _HIDDEN.search(key))
    }
    shown: dict[str, Any] = {"auth-type": credential.get("auth-type", "")}
    return shown | ({"details": details} if details else {})
