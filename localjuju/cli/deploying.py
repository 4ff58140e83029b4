"""deploy and refresh."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from localjuju.cli import charmhub
from localjuju.cli.bundle import Bundle, load, texts
from localjuju.cli.context import Context, UsageError, plain_name, say
from localjuju.cli.registry import command
from localjuju.cli.settings import pairs, read_mapping
from localjuju.cli.status import as_applications
from localjuju.model.charm import read
from localkube.host.errors import EngineError

Step = tuple[str, str, dict[str, Any]]  # what is told, a method of the API, its parameters
_IGNORED = ("--base", "--channel", "--revision")
_NOT_SUPPORTED = ("--bind", "--to", "--attach-storage", "--device")


def _deploy_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("charm", help="a .charm file, a bundle, the folder of one, or the name "
                        "of a charm in the folder that LOCALJUJU_CHARMS names")  # fmt: skip
    parser.add_argument("application", nargs="?")
    parser.add_argument("-n", "--num-units", type=int, default=None)
    parser.add_argument("--trust", action="store_true")
    parser.add_argument("--force", action="store_true",
                        help="though a charm assumes what is not there")  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="tell what would be done")
    for option in ("--config", "--resource", "--storage", "--constraints", "--overlay"):
        parser.add_argument(option, action="append", default=[])
    for option in _IGNORED:
        parser.add_argument(option, help="ignored: one base, local charms")
    for option in _NOT_SUPPORTED:
        parser.add_argument(option, help="not supported by localjuju")


@command("deploy", "Deploys a charm file or a bundle.", _deploy_arguments)
def deploy(options: argparse.Namespace, context: Context) -> None:
    """A path ends in .charm, or it is a bundle."""
    for option in _NOT_SUPPORTED:
        if getattr(options, option.lstrip("-").replace("-", "_")) is not None:
            raise UsageError(f"{option} is not supported by localjuju")
    path = Path(options.charm)
    if path.is_dir():
        path = path / "bundle.yaml"
    hub = not options.charm.startswith((".", "/")) and not path.exists()
    if hub:
        path = charmhub.find(options.charm)
    if not path.is_file():
        raise EngineError(f'no charm or bundle found at "{options.charm}"')
    if path.suffix in (".yaml", ".yml"):
        _deploy_bundle(options, context, path.resolve())
    else:
        _deploy_charm(options, context, path.resolve(), hub)


def _deploy_charm(options: argparse.Namespace, context: Context, path: Path, hub: bool) -> None:
    if options.overlay:
        raise UsageError("--overlay is for bundles only")
    config: dict[str, Any] = {}
    for text in options.config:
        if "=" in text:
            config.update(pairs([text], "--config"))
        else:
            given = read_mapping(text)
            config.update(given.get(options.application or "", given))
    resources = pairs(options.resource, "--resource")
    if hub:
        resources = charmhub.resources(read(path), resources)
    arguments = {
        "charm": str(path),
        "application": options.application or "",
        "config": texts(config),
        "resources": _resources(resources),
        "units": 1 if options.num_units is None else options.num_units,
        "trust": options.trust,
        "constraints": " ".join(options.constraints),
        "storage": pairs(options.storage, "--storage"),
        "force": options.force,
    }
    if options.dry_run:
        say(f"would deploy {arguments['application'] or path.name}")
        return
    made = context.call("deploy", **arguments)
    say(
        f'Located local charm "{made["charm"]}"\n'
        f'Deploying "{made["application"]}" from local charm "{made["charm"]}"'
    )


def _resources(resources: dict[str, str]) -> dict[str, str]:
    """A resource that is a file by its whole path: the engine has another current folder."""
    return {
        name: str(Path(value).resolve())
        if value.startswith((".", "/")) or Path(value).is_file()
        else value
        for name, value in resources.items()
    }


def _deploy_bundle(options: argparse.Namespace, context: Context, path: Path) -> None:
    if options.application or options.num_units is not None:
        raise UsageError("a bundle takes no application name and no --num-units")
    bundle = load(path, [Path(overlay).resolve() for overlay in options.overlay])
    for note in bundle.notes:
        say(f"ignored: {note}")
    trusted = [application.name for application in bundle.applications if application.trust]
    if trusted and not options.trust:
        # The text of cmd/juju/application/deployer/bundle.go in juju/juju, in short.
        raise EngineError(
            "Bundle cannot be deployed without trusting applications with your cloud "
            f"credentials: {', '.join(trusted)}; repeat the deploy with --trust"
        )
    status = context.call("status")
    present = status["applications"]
    force = {"force": options.force}
    steps: list[Step] = []
    for application in bundle.applications:
        params = {
            "charm": str(application.charm), "application": application.name,
            "config": texts(application.options),
            "resources": _resources(application.resources), "units": application.scale,
            "trust": application.trust, "constraints": application.constraints,
            "storage": application.storage,
        }  # fmt: skip
        if application.name in present:
            if not application.scaled:
                params["units"] = None
            changes = context.call("changes", **params)
            steps += [
                (f"- {c['text']}", c["method"],
                 c["params"] | (force if c["method"] == "refresh" else {}))
                for c in changes
            ]  # fmt: skip
            continue
        text = f"- deploy application {application.name} from local charm {application.charm.name}"
        steps.append(
            (text + (" with trust" if application.trust else ""), "deploy", params | force)
        )
    steps += _offer_steps(bundle, status.get("offers") or {})
    steps += _consume_steps(bundle, status.get("application-endpoints") or {})
    related = _related(present | as_applications(status))
    for a, b in bundle.relations:
        if not _is_related(related, a, b):
            steps.append((f"- add relation {a} - {b}", "integrate", {"a": a, "b": b}))
    if not steps:
        say("No changes to apply.")
        return
    say("Changes to deploy bundle:" if options.dry_run else "Executing changes:")
    for text, method, params in steps:
        say(text)
        if not options.dry_run:
            context.call(method, **params)
    if not options.dry_run:
        say("Deploy of bundle completed.")


def _offer_steps(bundle: Bundle, present: dict[str, Any]) -> list[Step]:
    """Offers that are not there, or have other endpoints."""
    steps: list[Step] = []
    for application in bundle.applications:
        for name, endpoints in application.offers.items():
            there = present.get(name)
            if there and set(there["endpoints"]) == set(endpoints):
                continue
            verb = "update" if there else "create"
            text = f"- {verb} offer {name} using {application.name}:{','.join(endpoints)}"
            params = {"application": application.name, "endpoints": list(endpoints), "name": name}
            steps.append((text, "offer", params))
    return steps


def _consume_steps(bundle: Bundle, present: dict[str, Any]) -> list[Step]:
    """What is consumed under the same name from elsewhere, the model refuses."""
    return [
        (f"- consume offer {name} at {url}", "consume", {"url": url, "alias": name})
        for name, url in bundle.saas.items()
        if plain_name(url) != plain_name(present.get(name, {}).get("url", ""))
    ]


def _related(present: dict[str, Any]) -> set[tuple[str, str, str]]:
    """(application, its endpoint, the other application) for all that is related already."""
    return {
        (name, endpoint, other["related-application"])
        for name, application in present.items()
        for endpoint, others in (application.get("relations") or {}).items()
        for other in others
    }


def _is_related(related: set[tuple[str, str, str]], a: str, b: str) -> bool:
    def matches(one: str, other: str) -> bool:
        name, _, endpoint = one.partition(":")
        partner = other.partition(":")[0]
        return any(
            row[0] == name and row[2] == partner and endpoint in ("", row[1]) for row in related
        )

    return matches(a, b) and matches(b, a)


def _refresh_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("application")
    parser.add_argument("--path", help="the new charm file")
    parser.add_argument("--resource", action="append", default=[])
    parser.add_argument("--config", action="append", default=[])
    parser.add_argument("--trust", action="store_true", default=None)
    parser.add_argument("--force", action="store_true",
                        help="though the charm assumes what is not there")  # fmt: skip
    for flag in ("--force-base", "--force-units"):
        parser.add_argument(flag, action="store_true", help="ignored")
    for option in ("--base", "--channel", "--revision", "--switch", "--storage"):
        parser.add_argument(option, help="ignored: charms are local files")


@command("refresh", "Gives an application a new charm file or resources.", _refresh_arguments)
def refresh(options: argparse.Namespace, context: Context) -> None:
    """Configuration is kept."""
    if not options.path and not options.resource:
        raise UsageError("local charms are refreshed with --path FILE, resources with --resource")
    path = None
    if options.path:
        path = Path(options.path).resolve()
        if not path.is_file():
            raise EngineError(f'no charm found at "{options.path}"')
    context.call(
        "refresh",
        application=options.application,
        charm=str(path) if path else None,
        resources=_resources(pairs(options.resource, "--resource")),
        trust=options.trust,
        force=options.force,
    )
    if options.config:
        values = pairs(options.config, "--config")
        context.call("set_config", application=options.application, values=values, reset=[])
    if path:
        say(f'Added local charm "{path.name}" to the model.')


def _attach_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("application")
    parser.add_argument("resource", metavar="NAME=VALUE")


@command("attach-resource", "Gives an application another resource.", _attach_arguments)
def attach_resource(options: argparse.Namespace, context: Context) -> None:
    """An image by its name or a file by its path; every unit gets a new pod, as by refresh."""
    given = pairs([options.resource], "resource")
    context.call(
        "refresh", application=options.application, charm=None, resources=_resources(given)
    )
