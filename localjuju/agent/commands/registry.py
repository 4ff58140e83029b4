"""Finds and runs a hook command by its name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from localjuju.agent.commands.arguments import Arguments, parse
from localjuju.agent.context import CommandError, Context
from localjuju.model.errors import ModelError

Function = Callable[[Context, Arguments], str | None]


@dataclass(frozen=True)
class Command:
    """`words` shows the positional arguments, `flags` maps each flag to str or bool."""

    name: str
    function: Function
    words: str = ""
    flags: dict[str, type] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """What it does, in one line."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    @property
    def usage(self) -> str:
        """How it is called."""
        return f"{self.name} [options] {self.words}".strip()

    def help(self, context: Context) -> str:
        """What `--help` prints."""
        lines = [f"Usage: {self.usage}", "", "Summary:", self.summary]
        if self.flags:
            lines += ["", "Options:"]
            lines += [self._option(flag, context) for flag in sorted(self.flags)]
        return "\n".join(lines) + "\n"

    def _option(self, flag: str, context: Context) -> str:
        dashed = f"-{flag}" if len(flag) == 1 else f"--{flag}"
        if default := DEFAULTS.get((self.name, flag)):
            return f"{dashed}  (= {default(context)})"
        return dashed if self.flags[flag] is bool else f"{dashed} VALUE"


@dataclass(frozen=True)
class Answer:
    """What the hook command prints and how it ends; `file` takes stdout if it is given."""

    stdout: str = ""
    stderr: str = ""
    code: int = 0
    file: str = ""


COMMANDS: dict[str, Command] = {}
DEFAULTS: dict[tuple[str, str], Callable[[Context], str]] = {}
"""What a flag of a command stands at when it is not given, where `--help` has to tell."""
REFUSED = {
    "add-metric": "Juju has no metrics of charms any more; serve them to Prometheus",
    "juju-reboot": "a unit on Kubernetes has no machine to boot; restart its services by Pebble",
    "leader-get": "removed in Juju 4; read the peer relation's application data",
    "leader-set": "removed in Juju 4; write the peer relation's application data",
    "payload-register": "removed in Juju 4",
    "payload-status-set": "removed in Juju 4",
    "payload-unregister": "removed in Juju 4",
    "pod-spec-get": "charms without sidecar are gone in Juju 4; use Pebble",
    "pod-spec-set": "charms without sidecar are gone in Juju 4; use Pebble",
    "unit-get": "Juju advises against it; use network-get",
}
"""Hook commands of Juju that a charm here cannot use, and why."""


def command(name: str, words: str = "", **flags: type) -> Callable[[Function], Function]:
    """Registers a function as hook command `name`; `_` in a flag stands for `-`.

    A command that takes `--format` takes `-o`/`--output`, a file to write to, as well.
    """

    def register(function: Function) -> Function:
        spec = {flag.replace("_", "-"): kind for flag, kind in flags.items()}
        if "format" in spec:
            spec |= {"o": str, "output": str}
        COMMANDS[name] = Command(name, function, words, spec)
        return function

    return register


def execute(context: Context, argv: Sequence[str], stdin: str | None) -> Answer:
    """Runs one command; what is wrong becomes `ERROR …` and a code other than 0."""
    name = argv[0]
    if name in REFUSED:
        return Answer(stderr=f"ERROR {name} is not supported: {REFUSED[name]}\n", code=1)
    found = COMMANDS.get(name)
    if found is None:
        return Answer(stderr=f"ERROR {name} is not a hook command\n", code=2)
    try:
        arguments = parse(argv[1:], found.flags, stdin)
        if arguments.on("help"):
            return Answer(stdout=found.help(context))
        text = found.function(context, arguments) or ""
        return Answer(stdout=text, file=arguments.text("output") or arguments.text("o") or "")
    except CommandError as error:
        return Answer(stderr=f"ERROR {error}\n", code=error.code)
    except ModelError as error:
        return Answer(stderr=f"ERROR {error}\n", code=1)
