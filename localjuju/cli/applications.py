"""What is done to one application."""

from __future__ import annotations

import argparse
from typing import Any

from localjuju.cli.context import Context, UsageError, confirm, say
from localjuju.cli.output import format_option, show
from localjuju.cli.registry import command
from localjuju.cli.settings import settings_arguments, show_settings, split_settings
from localkube.host.errors import EngineError


def _config_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("application")
    settings_arguments(parser)
    parser.set_defaults(format="yaml")


@command("config", "Shows or sets an application's configuration.", _config_arguments)
def config(options: argparse.Namespace, context: Context) -> None:
    """KEY shows one, KEY=VALUE sets, --reset takes back, --file sets from YAML."""
    keys, values = split_settings(options)
    if values or options.reset:
        given = values.get(options.application)
        from localjuju.cli.bundle import texts

        context.call(
            "set_config",
            application=options.application,
            values=texts(given if isinstance(given, dict) else values),
            reset=options.reset,
        )
        return
    found = context.call("config", application=options.application)
    if not keys:
        show(options, found, None)
        return
    merged = {**found["settings"], **found.get("application-config", {})}
    if options.format == "yaml":
        options.format = "tabular"  # one value is shown bare
    show_settings(options, keys, merged, "value", lambda f: [])


def _trust_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("application")
    parser.add_argument("--remove", action="store_true")
    parser.add_argument("--scope", choices=["cluster"])


@command("trust", "Gives an application cluster administrator's rights.", _trust_arguments)
def trust(options: argparse.Namespace, context: Context) -> None:
    """As Juju, --scope=cluster says that this is meant."""
    if not options.remove and options.scope != "cluster":
        raise UsageError(
            f"'juju trust' currently grants full access to the cluster itself. Set the scope to "
            f"'cluster' using --scope=cluster to confirm: juju trust {options.application} "
            "--scope=cluster"
        )
    context.call("trust", application=options.application, remove=options.remove)


def _scale_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("application")
    parser.add_argument("scale", type=int)


@command("scale-application", "Sets the number of units.", _scale_arguments)
def scale_application(options: argparse.Namespace, context: Context) -> None:
    """Units of the highest numbers go first."""
    if options.scale < 0:
        raise UsageError("scale must be a positive integer")
    context.call("scale", application=options.application, units=options.scale)
    say(f"{options.application} scaled to {options.scale} units")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("application")
    parser.add_argument("-n", "--num-units", type=int, default=1)
    for option in ("--to", "--attach-storage"):
        parser.add_argument(option, help="not supported by localjuju")


@command("add-unit", "Adds units.", _add_arguments)
def add_unit(options: argparse.Namespace, context: Context) -> None:
    """One, or as many as --num-units says."""
    for option, value in (("--to", options.to), ("--attach-storage", options.attach_storage)):
        if value is not None:
            raise UsageError(f"{option} is not supported by localjuju")
    context.call("add_units", application=options.application, n=options.num_units)


def _remove_unit_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("application")
    parser.add_argument("--num-units", type=int)
    parser.add_argument("--destroy-storage", action="store_true",
                        help="ignored: juju remove-storage removes what units left")  # fmt: skip
    for flag in ("--no-prompt", "--force", "--no-wait"):
        parser.add_argument(flag, action="store_true")


@command("remove-unit", "Removes units.", _remove_unit_arguments)
def remove_unit(options: argparse.Namespace, context: Context) -> None:
    """On Kubernetes units go by number, not by name."""
    if "/" in options.application:
        raise UsageError(
            "k8s models only support removing a number of units: juju remove-unit "
            f"{options.application.partition('/')[0]} --num-units 1"
        )
    if not options.num_units or options.num_units < 1:
        raise UsageError("specify the number of units to remove with --num-units")
    units = _units(context.call("status"), options.application)
    lines = [f"will remove unit {unit}" for unit in units[-options.num_units :]]
    if options.no_prompt:
        say("\n".join(lines))
    else:
        confirm(lines)
    context.call("remove_units", application=options.application, n=options.num_units)


def _units(status: dict[str, Any], name: str) -> list[str]:
    """An application's units, the lowest number first.

    Raises:
        EngineError: there is no such application.
    """
    if name not in status["applications"]:
        raise EngineError(f'application "{name}" not found')
    units = status["applications"][name].get("units") or {}
    return sorted(units, key=lambda unit: int(unit.rpartition("/")[2]))


def _remove_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("applications", nargs="+", metavar="APPLICATION")
    for flag in ("--no-prompt", "--destroy-storage", "--force", "--no-wait"):
        parser.add_argument(flag, action="store_true")


@command("remove-application", "Removes applications.", _remove_arguments)
def remove_application(options: argparse.Namespace, context: Context) -> None:
    """Asks first unless --no-prompt is given; goes on in the background, as with Juju."""
    status = context.call("status")
    lines = []
    for name in options.applications:
        lines += _what_goes(status, name, options.destroy_storage)
    if options.no_prompt:
        say("\n".join(lines))
    else:
        confirm(lines)
    for name in options.applications:
        context.call(
            "remove_application",
            application=name,
            destroy_storage=options.destroy_storage,
            force=options.force,
        )


def _what_goes(status: dict[str, Any], name: str, destroy_storage: bool) -> list[str]:
    units = _units(status, name)
    verb = "remove" if destroy_storage else "detach"
    stored = (status.get("storage") or {}).get("storage") or {}
    return [
        f"will remove application {name}",
        *(f"- will remove unit {unit}" for unit in units),
        *(
            f"- will {verb} storage {storage}"
            for storage, instance in sorted(stored.items())
            if set((instance.get("attachments") or {}).get("units") or {}) & set(units)
        ),
    ]


def _resolved_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("units", nargs="*", metavar="UNIT")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--no-retry", action="store_true")


@command("resolved", "Marks a unit's error as resolved.", _resolved_arguments)
def resolved(options: argparse.Namespace, context: Context) -> None:
    """The hook that failed runs again, unless --no-retry."""
    if bool(options.units) == options.all:
        raise UsageError("name units, or give --all")
    for unit in options.units or ["all"]:
        context.call("resolve", unit=unit, retry=not options.no_retry)


def _constraints_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("application")
    parser.add_argument("constraints", nargs="+")


@command("set-constraints", "Sets an application's constraints.", _constraints_arguments)
def set_constraints(options: argparse.Namespace, context: Context) -> None:
    """KEY=VALUE …"""
    text = " ".join(options.constraints)
    context.call("set_constraints", application=options.application, text=text)


def _show_constraints_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("application")
    format_option(parser, "constraints", "json", "yaml")


@command("constraints", "Shows an application's constraints.", _show_constraints_arguments)
def constraints(options: argparse.Namespace, context: Context) -> None:
    """As KEY=VALUE …"""
    found = context.call("constraints", application=options.application)
    show(options, found, lambda: " ".join(f"{key}={value}" for key, value in found.items()))
