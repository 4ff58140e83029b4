"""Storage pools: the cluster's StorageClasses, and those made for the model."""

from __future__ import annotations

import argparse

from localjuju.cli.context import Context, UsageError, say
from localjuju.cli.output import format_option, show, table
from localjuju.cli.registry import command

_PROVIDER = "kubernetes"


def _pool_arguments(parser: argparse.ArgumentParser) -> None:
    for option, what in (("--name", "names"), ("--provider", "providers")):
        parser.add_argument(option, action="append", default=[], metavar=f"{what.upper()}",
                            help=f"only pools of these {what}, separated by commas")  # fmt: skip
    format_option(parser, "tabular", "json", "yaml")


@command("storage-pools", "Lists storage pools: the cluster's StorageClasses.", _pool_arguments)
def storage_pools(options: argparse.Namespace, context: Context) -> None:
    """`juju deploy --storage NAME=POOL` takes one."""
    names, providers = (
        [name for text in texts for name in text.split(",") if name]
        for texts in (options.name, options.provider)
    )
    found = {
        name: pool
        for name, pool in context.call("storage_pools").items()
        if (not names or name in names) and (not providers or pool["provider"] in providers)
    }
    if not found:
        say("No storage pools to display.")
        return

    def text() -> str:
        rows = [("Name", "Provider", "Attributes")]
        for name, pool in found.items():
            attributes = (f"{key}={value}" for key, value in sorted(pool["attrs"].items()))
            rows.append((name, pool["provider"], " ".join(attributes)))
        return table(rows)

    show(options, found, text)


def _create_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("rest", nargs="*", metavar="[PROVIDER] [KEY=VALUE …]")


@command("create-storage-pool", "Creates a storage pool of the model.", _create_arguments)
def create_storage_pool(options: argparse.Namespace, context: Context) -> None:
    """The provider is `kubernetes` unless given."""
    rest = options.rest
    provider, *rest = rest if rest and "=" not in rest[0] else [_PROVIDER, *rest]
    if "=" in options.name:
        raise UsageError(
            "pool creation requires names and provider type before optional attributes for "
            "configuration"
        )
    context.call(
        "create_storage_pool", name=options.name, provider=provider, attributes=_pairs(rest)
    )


def _update_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("rest", nargs="*", metavar="KEY=VALUE …")


@command("update-storage-pool", "Replaces the attributes of a storage pool.", _update_arguments)
def update_storage_pool(options: argparse.Namespace, context: Context) -> None:
    """What was deployed stays as it is."""
    if not options.rest:
        raise UsageError("pool update requires name and configuration attributes")
    attributes = _pairs(options.rest)
    provider = attributes.pop("type", "")
    context.call(
        "update_storage_pool", name=options.name, provider=provider, attributes=attributes
    )


@command("remove-storage-pool", "Removes a storage pool of the model.",
         lambda parser: parser.add_argument("name", metavar="NAME"))  # fmt: skip
def remove_storage_pool(options: argparse.Namespace, context: Context) -> None:
    """Refused while storage is of it."""
    context.call("remove_storage_pool", name=options.name)


def _pairs(words: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key or not value:
            raise UsageError(f'expected "key=value", got "{word}"')
        if key in found:
            raise UsageError(f'key "{key}" specified more than once')
        found[key] = value
    return found
