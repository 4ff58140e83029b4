"""`./mlops COMMAND …`: imports only the command's own module, so that each starts fast."""

from __future__ import annotations

import errno
import importlib
import sys

from localjuju.errors import EngineError

COMMANDS = {
    "up": "deploy the bundle; starts a local engine where no Juju controller is at hand",
    "down": "remove the model and the local engine; --all removes the builds too",
    "status": "what runs and what it costs",
    "doctor": "check this machine (or cluster) and name the fix",
    "open": "make an application reachable on this host's loopback",
    "pack": "pack the charms into build/",
    "juju": "run juju on the model in use",
    "kubectl": "run kubectl on the cluster in use",
    "test": "lint, unit and integration tests (tox)",
}
_MODULES = {"open": "open_application", "test": "run_tests"}


def usage() -> str:
    """The text of `./mlops help`."""
    lines = ["usage: ./mlops COMMAND [OPTIONS]", ""]
    lines += [f"  {name:<8} {text}" for name, text in COMMANDS.items()]
    return "\n".join([*lines, "", "./mlops COMMAND --help tells a command's options."])


def main(arguments: list[str]) -> int:
    """Runs a command; returns an exit code."""
    if not arguments or arguments[0] in ("help", "-h", "--help"):
        print(usage())
        return 0
    name = arguments[0]
    if name not in COMMANDS:
        print(f"ERROR no command {name}: ./mlops help lists them", file=sys.stderr)
        return 2
    module = importlib.import_module(f"installer.{_MODULES.get(name, name)}")
    try:
        return module.main(arguments[1:])
    except EngineError as error:
        print(f"ERROR {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped: ./mlops up continues, ./mlops down removes", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 141
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        print(
            f"ERROR no space left{f' at {error.filename}' if error.filename else ''}: free some, "
            "or name a folder on another disk with CHARMED_MLOPS_CACHE",
            file=sys.stderr,
        )
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
