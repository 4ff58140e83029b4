"""Secrets: charms' and the user's."""

from __future__ import annotations

import argparse
from typing import Any

from localjuju.cli.context import Context, UsageError
from localjuju.cli.output import format_option, show, table
from localjuju.cli.registry import command
from localjuju.cli.settings import pairs, read_mapping


@command(
    "secrets", "Lists secrets.",
    lambda parser: (
        format_option(parser, "tabular", "json", "yaml"),
        parser.add_argument("--owner", help="only of this application or unit"),
    ),
)  # fmt: skip
def secrets(options: argparse.Namespace, context: Context) -> None:
    """Without their content."""
    found = context.call("secrets")
    if options.owner:
        owner = _owner(options.owner)
        found = {id: entry for id, entry in found.items() if entry["owner"] == owner}
    rows = [("ID", "Name", "Owner", "Rotation", "Revision", "Last updated")]
    rows += [
        (
            id, entry.get("name") or entry.get("label") or "-", entry["owner"],
            entry.get("rotation", "never"), str(entry["revision"]), entry.get("updated", ""),
        )
        for id, entry in sorted(found.items())
    ]  # fmt: skip
    show(options, found, lambda: table(rows) if len(rows) > 1 else "")


def _owner(text: str) -> str:
    """A name as it is, or of Juju's tag of an application or a unit."""
    if text.startswith("unit-"):
        application, _, number = text.removeprefix("unit-").rpartition("-")
        return f"{application}/{number}"
    return text.removeprefix("application-")


def _show_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID or NAME")
    parser.add_argument("--reveal", action="store_true", help="with the content")
    parser.add_argument("-r", "--revision", type=int)
    parser.add_argument("--revisions", action="store_true")
    format_option(parser, "yaml", "json")


@command("show-secret", "Shows a secret.", _show_arguments)
def show_secret(options: argparse.Namespace, context: Context) -> None:
    """Its content only with --reveal."""
    if options.reveal and options.revisions:
        raise UsageError("specify either --revisions or --reveal but not both")
    show(
        options,
        context.call(
            "show_secret",
            id=options.id,
            reveal=options.reveal,
            revision=options.revision,
            revisions=options.revisions,
        ),
    )


def _content(options: argparse.Namespace) -> dict[str, str]:
    content: dict[str, Any] = read_mapping(options.file) if options.file else {}
    for key, value in pairs(options.content, "").items():
        if key.endswith("#file"):
            from localjuju.cli.settings import read_text

            content[key.removesuffix("#file")] = read_text(value)
        else:
            content[key] = value
    return {key: str(value) for key, value in content.items()}


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name")
    parser.add_argument("content", nargs="*", metavar="KEY[#file]=VALUE")
    parser.add_argument("--file", metavar="FILE", help="YAML with keys and values")
    parser.add_argument("--info", default="", help="what it is for")


@command("add-secret", "Adds a secret of the user's.", _add_arguments)
def add_secret(options: argparse.Namespace, context: Context) -> None:
    """Prints its URI; values are safer in a file than on the command line."""
    content = _content(options)
    if not content:
        raise UsageError("missing secret value or filename")
    print(context.call("add_secret", name=options.name, content=content, description=options.info))


def _update_arguments(parser: argparse.ArgumentParser) -> None:
    _add_arguments(parser)
    parser.set_defaults(info=None)
    parser.add_argument("--name", dest="new_name")
    parser.add_argument("--auto-prune", action="store_true", default=None)


@command("update-secret", "Gives a secret new content.", _update_arguments)
def update_secret(options: argparse.Namespace, context: Context) -> None:
    """A new revision, where there is content."""
    context.call(
        "update_secret",
        id=options.name,
        content=_content(options) or None,
        description=options.info,
        name=options.new_name,
        auto_prune=options.auto_prune,
    )


def _remove_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID or NAME")
    parser.add_argument("--revision", type=int)


@command("remove-secret", "Removes a secret of the user's.", _remove_arguments)
def remove_secret(options: argparse.Namespace, context: Context) -> None:
    """All of it, or one revision."""
    context.call("remove_secret", id=options.id, revision=options.revision)


def _grant_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID or NAME")
    parser.add_argument("applications", metavar="APPLICATION,…")


@command("grant-secret", "Lets applications read a secret.", _grant_arguments)
def grant_secret(options: argparse.Namespace, context: Context) -> None:
    """One or several, with commas."""
    names = options.applications.split(",")
    context.call("grant_secret", id=options.id, applications=names)


@command("revoke-secret", "Takes the right to read a secret back.", _grant_arguments)
def revoke_secret(options: argparse.Namespace, context: Context) -> None:
    """One or several, with commas."""
    names = options.applications.split(",")
    context.call("revoke_secret", id=options.id, applications=names)
