"""Finds and runs a hook command by its name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from localjuju.agent.commands.arguments import Arguments, parse
from localjuju.agent.context import CommandError, Context
from localjuju.model.errors import ModelError

Function = Callable[[Context, Arguments], str | None]


@dataclass(frozen=True)
class Command:
    """`flags` maps each flag to str or bool; `function` returns what goes to stdout."""

    function: Function
    flags: dict[str, type]


@dataclass(frozen=True)
class Answer:
    """What the hook command prints and how it ends."""

    stdout: str = ""
    stderr: str = ""
    code: int = 0


COMMANDS: dict[str, Command] = {}


def command(name: str, **flags: type) -> Callable[[Function], Function]:
    """Registers a function as hook command `name`; `_` in a flag stands for `-`."""

    def register(function: Function) -> Function:
        spec = {flag.replace("_", "-"): kind for flag, kind in flags.items()}
        COMMANDS[name] = Command(function, spec)
        return function

    return register


def execute(context: Context, argv: Sequence[str], stdin: str | None) -> Answer:
    """Runs one command; what is wrong becomes `ERROR …` and a code other than 0."""
    found = COMMANDS.get(argv[0])
    if found is None:
        return Answer(stderr=f"ERROR {argv[0]}: not supported by localjuju\n", code=2)
    try:
        arguments = parse(argv[1:], found.flags, stdin)
        return Answer(stdout=found.function(context, arguments) or "")
    except CommandError as error:
        return Answer(stderr=f"ERROR {error}\n", code=error.code)
    except ModelError as error:
        return Answer(stderr=f"ERROR {error}\n", code=1)
