"""`python -m localjuju.images list`, or `ensure REFERENCE… | --all`."""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from localjuju.images import Catalogue, layers
from localjuju.images.entries import AgentEntry, GoEntry
from localkube.building import builds
from localkube.host.errors import EngineError
from localkube.host.progress import Progress


def main() -> int:
    """Parses the arguments and runs the command; returns an exit code."""
    parser = argparse.ArgumentParser(prog="python -m localjuju.images")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="every image there is an entry for")
    ensure = commands.add_parser("ensure", help="make images that are not in the cache yet")
    ensure.add_argument("references", nargs="*", metavar="REFERENCE")
    ensure.add_argument("--all", action="store_true")
    arguments = parser.parse_args()
    try:
        catalogue = Catalogue.load()
        if arguments.command == "list":
            for reference in catalogue.references():
                entry = catalogue.find(reference)
                print(f"{reference}  {entry.kind}")
            return 0
        references = catalogue.references() if arguments.all else arguments.references
        if sys.stderr.isatty():  # two lines that change would be in each other's way
            _ensure(catalogue, references, threading.Event())
        else:
            _ensure_side_by_side(catalogue, references)
    except EngineError as error:
        print(f"ERROR {error}", file=sys.stderr)
        return 1
    return 0


def _ensure_side_by_side(catalogue: Catalogue, references: Iterable[str]) -> None:
    """Makes images: what is compiled, one at a time, and beside it what is mostly downloaded.

    Raises:
        EngineError: of the first that could not be made; no other is begun.
    """
    compiled: list[str] = []
    others: list[str] = []
    for reference in references:
        goes = isinstance(catalogue.find(reference), GoEntry | AgentEntry)
        (compiled if goes else others).append(reference)
    failed = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(_ensure, catalogue, each, failed) for each in (compiled, others)]
        try:
            for each in both:
                each.result()
        except KeyboardInterrupt:  # comes to this thread alone
            builds.end()
            raise


def _ensure(catalogue: Catalogue, references: Iterable[str], failed: threading.Event) -> None:
    progress = Progress()
    for reference in references:
        if failed.is_set():
            return
        try:
            print(catalogue.ensure(reference, progress), flush=True)
            layers.prepare(reference)
        except BaseException:
            failed.set()
            raise


if __name__ == "__main__":
    sys.exit(main())
