"""`juju COMMAND …`."""

from __future__ import annotations

import argparse
import difflib
import sys
from typing import NoReturn

from localjuju.cli import registry
from localjuju.cli.context import Context, UsageError
from localkube.host.errors import EngineError


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def main(argv: list[str]) -> int:
    """Runs a command; returns the exit code: 0, 1 for a failure, 2 for a wrong command line."""
    try:
        return _run(argv)
    except UsageError as error:
        print(f"ERROR {error}", file=sys.stderr)
        return 2
    except EngineError as error:
        print(f"ERROR {error}", file=sys.stderr)
        return 2 if getattr(error, "code", "") == "not-supported" else 1
    except KeyboardInterrupt:
        print("ERROR interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 141


def _run(argv: list[str]) -> int:
    if not argv or argv[0] in ("help", "-h", "--help"):
        if len(argv) > 1:
            argv = [argv[1], "--help"]
        else:
            print(_help())
            return 0
    if argv[0] == "--version":
        argv = ["version"]
    name, *rest = argv
    found = registry.find(name)
    if found is None:
        if name in registry.NOT_SUPPORTED:
            raise UsageError(f'"juju {name}" is not supported by localjuju')
        near = difflib.get_close_matches(
            name, [c for n in registry.MODULES.values() for c in n], 1
        )
        hint = f'. Did you mean "{near[0]}"?' if near else "."
        raise UsageError(f'juju: "{name}" is not a juju command{hint} See "juju --help".')
    parser = _Parser(prog=f"juju {name}", description=found.summary)
    parser.add_argument("-m", "--model", metavar="MODEL", help="the model to work on")
    found.arguments(parser)
    # Everything after -- is the command's own, and flags may stand anywhere before it.
    after: list[str] = []
    if "--" in rest:
        split = rest.index("--")
        rest, after = rest[:split], rest[split + 1 :]
    read = parser.parse_args if found.flags_first else parser.parse_intermixed_args
    options = read(rest)
    options.after = after
    return found.run(options, Context(options.model)) or 0


def _help() -> str:
    lines = [f"    {command.name:24} {command.summary}" for command in registry.every()]
    return (
        "The local engine's juju: a Juju-compatible model on this machine.\n\n"
        "Usage: juju COMMAND [options] …\n\nCommands:\n" + "\n".join(lines)
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
