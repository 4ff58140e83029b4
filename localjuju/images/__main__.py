"""`python -m localjuju.images list`, or `ensure REFERENCE… | --all`."""

from __future__ import annotations

import argparse
import sys

from localjuju.images import Catalogue, layers
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
        progress = Progress()
        for reference in catalogue.references() if arguments.all else arguments.references:
            print(catalogue.ensure(reference, progress))
            layers.prepare(reference)
    except EngineError as error:
        print(f"ERROR {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
