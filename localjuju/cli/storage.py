"""Storage: what there is, and what Juju lets one do with it on Kubernetes."""

from __future__ import annotations

import argparse
import re
from typing import Any

from localjuju.cli.context import Context, UsageError, say
from localjuju.cli.output import format_option, show, table
from localjuju.cli.registry import command
from localjuju.cli.status import by_number, size, storage_table
from localkube.host.errors import EngineError

_ID = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*/\d+")


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("only", nargs="*", metavar="STORAGE",
                        help="with --filesystem or --volume: only of these IDs")  # fmt: skip
    parser.add_argument("--filesystem", action="store_true", help="filesystems, with their places")
    parser.add_argument(
        "--volume", action="store_true", help="volumes, with what Kubernetes calls them"
    )
    format_option(parser, "tabular", "json", "yaml")


@command("storage", "Lists storage.", _list_arguments)
def storage(options: argparse.Namespace, context: Context) -> None:
    """Of all units, and what units that are gone left."""
    if options.volume and options.filesystem:
        raise UsageError("--filesystem and --volume can not be used together")
    kind = "filesystems" if options.filesystem else "volumes" if options.volume else ""
    if options.only and not kind:
        raise UsageError("specifying IDs only supported with --filesystem and --volume options")
    found = context.call("storage_details")
    if kind:
        chosen = {
            number: entry
            for number, entry in (found.get(kind) or {}).items()
            if not options.only or entry["storage"] in options.only
        }
        found = {kind: chosen} if chosen else {}
    if not found:
        if options.format == "tabular":
            say("No storage to display.")
        return
    if kind:
        show(options, found, lambda: _table(kind, found[kind]))
    else:
        show(options, found, lambda: storage_table(found, mounts=False))


def _table(kind: str, found: dict[str, Any]) -> str:
    """A column that is empty in every row is left out."""
    rows: list[tuple[str, ...]] = []
    for number, entry in found.items():
        units = (entry.get("attachments") or {}).get("units") or {"": {}}
        for unit, attachment in units.items():
            place = attachment.get("location", "") if kind == "filesystems" else ""
            rows.append(
                (unit, entry["storage"], number, entry.get("provider-id", ""), place,
                 size(entry["size"]), entry["status"]["current"], "")
            )  # fmt: skip
    header = ("Unit", "Storage ID", "ID", "Provider ID", "Mountpoint", "Size", "State", "Message")
    rows.sort(key=lambda row: (by_number(row[0]), by_number(row[1])))
    optional = {"Provider ID", "Mountpoint"}
    columns = [
        column
        for column in zip(header, *rows, strict=True)
        if column[0] not in optional or any(column[1:])
    ]
    return table(list(zip(*columns, strict=True)))


def _show_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ids", nargs="+", metavar="STORAGE")
    format_option(parser, "yaml", "json")


@command("show-storage", "Shows storage instances.", _show_arguments)
def show_storage(options: argparse.Namespace, context: Context) -> None:
    """One or several, by the IDs that `juju storage` lists."""
    _check(options.ids)
    there = context.call("storage").get("storage") or {}
    for name in options.ids:
        if name not in there:
            raise EngineError(f'storage instance "{name}" not found')
    show(options, {name: there[name] for name in sorted(options.ids, key=by_number)})


def _check(ids: list[str]) -> None:
    for name in ids:
        if not _ID.fullmatch(name):
            raise EngineError(f"invalid storage ID {name}")


def _remove_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ids", nargs="+", metavar="STORAGE")
    parser.add_argument("--force", action="store_true", help="refused, as by Juju on Kubernetes")
    parser.add_argument("--no-destroy", action="store_true", help="not supported by localjuju")


@command("remove-storage", "Removes storage that no unit has any more.", _remove_arguments)
def remove_storage(options: argparse.Namespace, context: Context) -> int:
    """With its volume."""
    if options.force:
        raise UsageError("forced detachment of storage on container models not supported")
    if options.no_destroy:
        raise UsageError("--no-destroy is not supported by localjuju")
    _check(options.ids)
    failed = 0
    for name in options.ids:
        try:
            context.call("remove_storage", id=name)
        except EngineError as error:
            say(f"failed to remove {name}: {error}")
            failed = 1
        else:
            say(f"removing {name}")
    return failed


def _any_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("rest", nargs="*", metavar="UNIT or STORAGE")
    for flag in ("--force", "--no-wait"):
        parser.add_argument(flag, action="store_true", help="means nothing here")


def _refused(name: str) -> None:
    @command(name, "Refused, as by Juju on Kubernetes.", _any_arguments)
    def refuse(options: argparse.Namespace, context: Context) -> None:
        """A StatefulSet's volumes are fixed from the start."""
        del options, context
        raise UsageError(f'Juju command "{name}" not supported on container models')


for _name in ("add-storage", "attach-storage", "detach-storage"):
    _refused(_name)
