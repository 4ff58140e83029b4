"""Offers to other models, and what a model consumes of them."""

from __future__ import annotations

import argparse
from typing import Any

from localjuju.cli.context import Context, UsageError, confirm, plain_name, say
from localjuju.cli.output import format_option, show, table
from localjuju.cli.registry import command
from localkube.host.errors import EngineError


def _offer_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("endpoints", metavar="[MODEL.]APPLICATION:ENDPOINT[,…]")
    parser.add_argument("name", nargs="?", default="", metavar="OFFER",
                        help="the application's name unless given")  # fmt: skip
    parser.add_argument("-c", "--controller", help="ignored: there is one")


@command("offer", "Offers an application's endpoints to other models.", _offer_arguments)
def offer(options: argparse.Namespace, context: Context) -> None:
    """Offering again under the same name changes the endpoints."""
    head, colon, names = options.endpoints.partition(":")
    if not colon or not names:
        raise UsageError(
            "an offer must at least specify application endpoint: juju offer APPLICATION:ENDPOINT"
        )
    model, dot, application = head.rpartition(".")
    found = context.client.call(
        "offer",
        model=plain_name(model) if dot else context.model,
        application=application,
        endpoints=names.split(","),
        name=options.name,
    )
    shown = " ".join(names.split(","))
    say(f'Application "{application}" endpoints [{shown}] available at "{found["url"]}"')


def _consume_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("url", metavar="MODEL.OFFER")
    parser.add_argument("alias", nargs="?", default="", metavar="NAME")


@command("consume", "Makes another model's offer known in the model.", _consume_arguments)
def consume(options: argparse.Namespace, context: Context) -> None:
    """It is then related as an application of the model is."""
    found = context.call("consume", url=options.url, alias=options.alias)
    say(f"Added {_url(options.url)} as {found['name']}")


def _url(text: str) -> str:
    name = text.rpartition(":")[2]
    return name if "/" in name else f"admin/{name}"


def _saas_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="+", metavar="NAME")
    for flag in ("--force", "--no-wait"):
        parser.add_argument(flag, action="store_true", help="ignored")


@command("remove-saas", "Ends the use of another model's offer.", _saas_arguments)
def remove_saas(options: argparse.Namespace, context: Context) -> None:
    """Its relations end first, in the background, as with Juju."""
    for name in options.names:
        context.call("remove_saas", name=name)


def _remove_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("offers", nargs="+", metavar="[MODEL.]OFFER")
    parser.add_argument("--force", action="store_true", help="also those that are in use")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    parser.add_argument("--no-prompt", action="store_true", help="do not ask")
    parser.add_argument("-c", "--controller", help="ignored: there is one")


@command("remove-offer", "Takes an offer back.", _remove_arguments)
def remove_offer(options: argparse.Namespace, context: Context) -> None:
    """With --force its relations end as well."""
    if options.force and not (options.yes or options.no_prompt):
        confirm([f"will remove offer {name}, with its relations" for name in options.offers])
    for name in options.offers:
        url = name if "." in name else f"{context.model}.{name}"
        context.client.call("remove_offer", url=url, force=options.force)


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="OFFER")
    parser.add_argument("--active-only", action="store_true", help="only those that are in use")
    parser.add_argument("--application", help="only of this application")
    parser.add_argument("--interface", help="only with this interface")
    format_option(parser, "tabular", "summary", "json", "yaml")


@command("offers", "Lists the model's offers and who uses them.", _list_arguments)
def offers(options: argparse.Namespace, context: Context) -> None:
    """`--format summary` has an offer on a line."""
    found = {
        name: one
        for name, one in context.call("offers").items()
        if options.name in (None, name)
        and (not options.active_only or one.get("connections"))
        and options.application in (None, one["application"])
        and _has_interface(one, options.interface)
    }

    def text() -> str:
        if options.format == "summary":
            return _summary(found)
        rows: list[tuple[Any, ...]] = [
            ("Offer", "User", "Relation id", "Status", "Endpoint", "Interface", "Role")
        ]
        for name, one in sorted(found.items()):
            if not one.get("connections"):
                rows.append((name, "-", "", "", "", "", ""))
            for joined in one.get("connections") or []:
                spec = one["endpoints"].get(joined["endpoint"]) or {}
                rows.append(
                    (
                        name, joined["username"], joined["relation-id"],
                        joined["status"]["current"], joined["endpoint"],
                        spec.get("interface", ""), spec.get("role", ""),
                    )
                )  # fmt: skip
        return table(rows) if len(rows) > 1 else ""

    show(options, found, text)


def _has_interface(one: dict[str, Any], interface: str | None) -> bool:
    specs = one["endpoints"].values()
    return interface is None or any(spec["interface"] == interface for spec in specs)


def _summary(found: dict[str, Any]) -> str:
    rows: list[tuple[str, ...]] = [
        ("Offer", "Application", "Charm", "Connected", "Store", "URL", "Endpoint", "Interface",
         "Role")
    ]  # fmt: skip
    for name, one in sorted(found.items()):
        joined = one.get("connections") or []
        active = sum(entry["status"]["current"] == "joined" for entry in joined)
        first = (name, one["application"], one["charm"], f"{active}/{len(joined)}", one["store"],
                 one["offer-url"])  # fmt: skip
        for endpoint, spec in sorted(one["endpoints"].items()):
            rows.append((*first, endpoint, spec["interface"], spec["role"]))
            first = ("",) * len(first)
    return table(rows) if len(rows) > 1 else ""


def _find_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("place", nargs="?", default="", metavar="[CONTROLLER:][OWNER/MODEL]")
    parser.add_argument("--interface", help="only with this interface")
    parser.add_argument("--url", help="only this one")
    parser.add_argument("--offer", help="only of this name")
    format_option(parser, "tabular", "json", "yaml")


@command("find-offers", "Finds offers of all models.", _find_arguments)
def find_offers(options: argparse.Namespace, context: Context) -> None:
    """Of one model where it is named."""
    model, name = (plain_name(options.place) or None), options.offer
    if options.url:
        model, _, name = plain_name(options.url).partition(".")
    found = {
        url: {key: value for key, value in one.items() if key != "description"}
        for url, one in context.client.call("find_offers", model=model, name=name).items()
        if _has_interface(one, options.interface)
    }
    if not found:
        raise EngineError("no matching application offers found")

    def text() -> str:
        rows = [("Store", "URL", "Access", "Interfaces")]
        for url, one in found.items():
            store, _, rest = url.partition(":")
            kinds = (f"{spec['interface']}:{name}" for name, spec in one["endpoints"].items())
            rows.append((store, rest, one["access"], ", ".join(kinds)))
        return table(rows)

    show(options, found, text)


def _show_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("url", metavar="[MODEL.]OFFER")
    format_option(parser, "tabular", "json", "yaml")


@command("show-offer", "Shows an offer.", _show_arguments)
def show_offer(options: argparse.Namespace, context: Context) -> None:
    """With what its charm says of itself."""
    model, dot, name = plain_name(options.url).rpartition(".")
    model = model if dot else context.model
    found = context.client.call("find_offers", model=model, name=name)
    if not found:
        raise EngineError(f'application offer "admin/{model}.{name}" not found')

    def text() -> str:
        rows: list[tuple[str, ...]] = [
            ("Store", "URL", "Access", "Description", "Endpoint", "Interface", "Role")
        ]
        for url, one in found.items():
            store, _, rest = url.partition(":")
            first = (store, rest, one["access"], " ".join(one["description"].split()))
            for endpoint, spec in sorted(one["endpoints"].items()):
                rows.append((*first, endpoint, spec["interface"], spec["role"]))
                first = ("",) * len(first)
        return table(rows)

    show(options, found, text)
