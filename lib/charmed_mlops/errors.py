"""What a charm raises when it cannot go on: each becomes a status or a failed action."""

from __future__ import annotations

import re

STATUS_WIDTH = 80
"""Characters of a status about an option; `juju status` shows each twice, in one line."""


class Waiting(Exception):  # noqa: N818 (a state of affairs, not a fault)
    """Something that comes by itself is not there yet; str() is the waiting status."""


class Restarting(Waiting):
    """The charm has restarted its program, which does not answer yet; the maintenance status."""


class Blocked(Exception):  # noqa: N818
    """Someone has to act; str() is the blocked status and names the fix in one line."""


class ActionFailed(Exception):  # noqa: N818
    """The action cannot do what was asked; str() is its failure message, one line."""


class CommandFailed(Exception):  # noqa: N818
    """A command in the workload container ended with a code other than 0.

    Attributes:
        code: its exit code; -1 when it could not be started or ran into its time limit.
        stderr: what it wrote to its standard error.
    """

    def __init__(self, program: str, code: int, stderr: str):
        last = stderr.strip().splitlines()[-1] if stderr.strip() else "no message"
        super().__init__(f"{program} failed with exit code {code}: {last}")
        self.code = code
        self.stderr = stderr


def option_status(text: str, application: str) -> str:
    """What a unit's status says of a wrong option, in at most `STATUS_WIDTH` characters.

    A text that names its own cure, `: juju …`, stays whole: half a command is of no use.

    Args:
        text: begins with `config NAME`. A text `config NAME=VALUE: REASON` gets the command that
            puts the default back, where there is room.
        application: whose option it is.
    """
    if ": juju " in text:
        return text
    found = re.match(r"config ([a-z0-9-]+)=", text)
    if found and text.count("config ") == 1:
        cured = f"{text}: juju config {application} --reset {found[1]}"
        if len(cured) <= STATUS_WIDTH:
            return cured
    if len(text) <= STATUS_WIDTH:
        return text
    return text[: STATUS_WIDTH - 1].rpartition(" ")[0].rstrip(",;:") + "…"
