"""Hook commands: one small function per command, found by name in `registry`."""

from localjuju.agent.commands import action, environment, relation, secret, status
from localjuju.agent.commands.registry import COMMANDS, REFUSED, Answer, execute

__all__ = [
    "COMMANDS",
    "REFUSED",
    "Answer",
    "action",
    "environment",
    "execute",
    "relation",
    "secret",
    "status",
]
