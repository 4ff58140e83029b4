"""`./mlops COMMAND …`: imports only the command's own module, so that each starts fast."""

from __future__ import annotations

import errno
import importlib
import os
import sys

from localkube.host.errors import EngineError

COMMANDS = {
    "up": "deploy the bundle; starts a local engine where no Juju controller is at hand",
    "down": "remove the model and the local engine; --all removes the builds too",
    "status": "the engine, its memory, and the model",
    "doctor": "check this machine (or cluster) and name the fix",
    "open": "make an application reachable on this host's loopback",
    "pack": "pack the charms into build/",
    "images": "every image of the bundle; --registry prints an overlay for an air-gapped one",
    "juju": "run juju on the model in use",
    "kubectl": "run kubectl on the cluster in use",
    "test": "lint, unit, localkube and integration tests (tox)",
}
_MODULES = {"open": "open_application", "test": "run_tests"}


def usage() -> str:
    """The text of `./mlops help`."""
    lines = ["usage: ./mlops COMMAND [OPTIONS]", ""]
    lines += [f"  {name:<8} {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [*lines, "", "./mlops COMMAND --help tells a command's options; version, the version."]
    )


def main(arguments: list[str]) -> int:
    """Runs a command; returns an exit code."""
    try:
        return _run(arguments)
    except EngineError as error:
        print(f"ERROR {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped: ./mlops up continues, ./mlops down removes", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as head, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            return _unexpected(error)
        print(
            f"ERROR no space left{f' at {error.filename}' if error.filename else ''}: free some, "
            "or name a folder on another disk with CHARMED_MLOPS_CACHE",
            file=sys.stderr,
        )
        return 1
    except Exception as error:
        return _unexpected(error)


def _run(arguments: list[str]) -> int:
    if arguments[:1] == ["help"] and arguments[1:2] and arguments[1] in COMMANDS:
        arguments = [arguments[1], "--help"]
    if not arguments or arguments[0] in ("help", "-h", "--help"):
        print(usage(), flush=True)
        return 0
    name = arguments[0]
    if name in ("version", "--version"):
        return _version()
    if name not in COMMANDS:
        print(f"ERROR no command {name}: ./mlops help lists them", file=sys.stderr)
        return 2
    module = importlib.import_module(f"installer.{_MODULES.get(name, name)}")
    code = module.main(arguments[1:])
    sys.stdout.flush()  # here, where a closed pipe is met
    return code


def _version() -> int:
    """Prints the project's version."""
    from pathlib import Path  # here: every command pays for what is imported above

    text = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    print(text.partition('version = "')[2].partition('"')[0], flush=True)
    return 0


def _unexpected(error: Exception) -> int:
    """Says in one line what nobody thought of; the details go into a file."""
    import tempfile  # here: every command pays for what is imported above
    import traceback

    with tempfile.NamedTemporaryFile(
        "w", prefix="charmed-mlops-", suffix=".log", delete=False
    ) as file:
        traceback.print_exception(error, file=file)
    print(
        f"ERROR {type(error).__name__}: {' '.join(str(error).split()) or 'no message'}; "
        f"this is a mistake of ours: please report it with {file.name}",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
