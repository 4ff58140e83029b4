"""`python -m localkube STATE`: a cluster in the foreground, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import functools
import logging
import pkgutil
import sys
from pathlib import Path

from localkube import inner, outer
from localkube.host import namespaces
from localkube.host.errors import EngineError
from localkube.host.progress import Progress
from localkube.images import finder
from localkube.images.upstream import VARIABLE
from localkube.node.programs import ensure


def main() -> int:
    """Parses the arguments and runs the command; returns an exit code."""
    parser = argparse.ArgumentParser(prog="python -m localkube")
    parser.add_argument("state", type=Path, help="the folder of all that the cluster keeps")
    parser.add_argument(
        "--images",
        metavar="MODULE:FUNCTION",
        default="localkube.images.registry:none",
        help="what tells which images there are; see localkube.images.registry.Find",
    )
    parser.add_argument(
        "--egress", action="store_true", help="let pods reach what this machine reaches"
    )
    parser.add_argument(
        "--images-from",
        choices=["catalogue", "upstream"],
        default="catalogue",
        help="upstream: those that --images has not come from where they are named for, or from "
        f"the mirrors that {VARIABLE} names",
    )
    parser.add_argument("--inner", type=int, metavar="PARENT", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    state = arguments.state.absolute()
    upstream = arguments.images_from == "upstream"
    try:
        programs = ensure(Progress())
        if arguments.inner is None:
            return outer.run(
                state,
                pkgutil.resolve_name(arguments.images),
                way_out=arguments.egress,
                upstream=upstream,
            )
        groups = outer.groups(state)
        find = functools.partial(finder.ask, state / finder.SOCKET)
        namespaces.enter(
            lambda: inner.main(
                programs, state, groups, find, way_out=arguments.egress, upstream=upstream
            ),
            hostname="localkube",
            parent=arguments.inner,
        )
    except EngineError as error:
        print(f"ERROR {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
