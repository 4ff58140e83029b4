"""Relations between applications."""

from __future__ import annotations

import argparse

from localjuju.cli.context import Context
from localjuju.cli.registry import command


def _ends(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", metavar="APPLICATION[:ENDPOINT]")
    parser.add_argument("b", metavar="APPLICATION[:ENDPOINT]")


def _integrate_arguments(parser: argparse.ArgumentParser) -> None:
    _ends(parser)
    parser.add_argument("--via", help="ignored: all models are in one network")


@command("integrate", "Relates two applications.", _integrate_arguments)
def integrate(options: argparse.Namespace, context: Context) -> None:
    """Endpoints may be left out where only one pair fits."""
    context.call("integrate", a=options.a, b=options.b)


def _remove_arguments(parser: argparse.ArgumentParser) -> None:
    _ends(parser)
    parser.add_argument("--force", action="store_true")


@command("remove-relation", "Ends the relation of two applications.", _remove_arguments)
def remove_relation(options: argparse.Namespace, context: Context) -> None:
    """Goes on in the background, as with Juju."""
    context.call("remove_relation", a=options.a, b=options.b, force=options.force)
