"""What every command works with: the API, the model that is meant."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from functools import cached_property
from typing import Any

from localjuju.client import Client
from localkube.host import paths
from localkube.host.errors import EngineError

CONTROLLER = "localjuju"


class UsageError(EngineError):
    """The command line is wrong: exit code 2."""


class Context:
    """One run of the executable."""

    def __init__(self, model: str | None):
        """Args: model: what -m names, with or without controller and owner."""
        self._named = model
        self.client = Client()

    @cached_property
    def model(self) -> str:
        """The model that is meant: -m, $JUJU_MODEL, the one switched to, or the only one.

        Raises:
            EngineError: none can be told.
        """
        if self._named or os.environ.get("JUJU_MODEL"):
            return plain_name(self._named or os.environ["JUJU_MODEL"])
        names = [model["short-name"] for model in self.client.call("models")]
        current = read_current()
        if current in names:
            return current
        if len(names) == 1:
            return names[0]
        raise EngineError(
            "no model in focus: name one with -m, or use juju switch; there "
            + (f"are {', '.join(names)}" if names else "is none yet: juju add-model NAME")
        )

    def call(self, method: str, **params: Any) -> Any:
        """Calls a method for the model that is meant."""
        return self.client.call(method, model=self.model, **params)

    def wait(self, done: Callable[[], bool], timeout: float | None, what: str) -> None:
        """Asks until `done` is true.

        Raises:
            EngineError: not within `timeout` seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = 0.05
        while not done():
            if deadline is not None and time.monotonic() > deadline:
                raise EngineError(f"timed out waiting for {what}")
            time.sleep(pause)
            pause = min(pause * 1.3, 1.0)


def plain_name(text: str) -> str:
    """A model's name without controller and owner.

    Raises:
        EngineError: it is another controller's.
    """
    controller, colon, name = text.rpartition(":")
    if colon and controller and controller != CONTROLLER:
        raise EngineError(f"controller {controller} not found")
    return name.rpartition("/")[2]


def read_current() -> str:
    """The model that was switched to last, "" for none."""
    try:
        return (paths.state() / "current-model").read_text().strip()
    except OSError:
        return ""


def write_current(name: str) -> None:
    """Makes a model the current one."""
    (paths.state() / "current-model").write_text(f"{name}\n")


def say(text: str) -> None:
    """Tells a person something: on stderr, as Juju does."""
    print(text, file=sys.stderr)


def confirm(lines: list[str]) -> None:
    """Says what will happen and asks whether to go on; no answer is a no, as with Juju.

    Raises:
        EngineError: the answer is no.
    """
    say("WARNING This command will perform the following actions:")
    say("\n".join(lines))
    print("\nContinue [y/N]? ", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        say("")
    if answer.strip().lower() not in ("y", "yes"):
        raise EngineError("aborted; --no-prompt does not ask")


def seconds(text: str) -> float:
    """A duration such as `30s`, `1m30s` or `2h`, in seconds.

    Raises:
        UsageError: it is none.
    """
    import re

    if not re.fullmatch(r"(\d+(\.\d+)?(ms|s|m|h))+", text):
        raise UsageError(f'invalid duration "{text}": write 30s, 10m or 2h')
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
    return sum(float(n) * units[u] for n, u in re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text))
