"""What a charm raises when it cannot go on: each becomes a status or a failed action."""

from __future__ import annotations


class Waiting(Exception):  # noqa: N818 (a state of affairs, not a fault)
    """Something that comes by itself is not there yet; str() is the waiting status."""


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
