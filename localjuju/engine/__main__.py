"""`python -m localjuju.engine run|start|stop|kill|status`."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from localjuju.engine import choices
from localkube.host.errors import EngineError


def main() -> int:
    """Parses the arguments and runs the command; returns an exit code."""
    parser = argparse.ArgumentParser(prog="python -m localjuju.engine")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("run", "run in the foreground"),
        ("start", "start in the background, return when ready"),
        ("stop", "stop; what is deployed stays on disk"),
        ("kill", "end it as a power cut does"),
        ("status", "exit code 0 when it answers, 1 when not"),
    ):
        command = commands.add_parser(name, help=text)
        if name in ("run", "start"):
            command.add_argument("--owner-pid", type=int, help="a process to end with")
            choices.add_options(command)
            choices.add_controller(command)
    inner = commands.add_parser("inner")
    inner.add_argument("--egress", action="store_true")
    inner.add_argument("--upstream", action="store_true")
    inner.add_argument("--juju", action="store_true")
    inner.add_argument("--parent", type=int, required=True, help="the process that starts it")
    inner.add_argument("state", type=Path)
    arguments = parser.parse_args()
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        return _run(arguments)
    except EngineError as error:
        print(f"ERROR {error}", file=sys.stderr)
        return 1


def _run(arguments: argparse.Namespace) -> int:
    if arguments.command == "run":
        from localjuju.engine import outer

        return outer.run(arguments.owner_pid, choices.asked(arguments))
    if arguments.command == "inner":
        from localjuju.engine import inner
        from localkube.host import namespaces

        namespaces.enter(
            lambda: inner.main(
                arguments.state,
                leads_out=arguments.egress,
                upstream=arguments.upstream,
                juju=arguments.juju,
            ),
            hostname="localjuju",
            parent=arguments.parent,
        )
    from localjuju.engine import lifecycle

    if arguments.command == "start":
        lifecycle.start(owner=arguments.owner_pid, asked=choices.asked(arguments))
    elif arguments.command == "stop":
        print("stopped" if lifecycle.stop() else "no engine was running")
    elif arguments.command == "kill":
        lifecycle.kill()
    else:
        running = lifecycle.answers()
        print("running" if running else "not running")
        return 0 if running else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
