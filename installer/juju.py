"""`./mlops juju …`: juju on the model in use."""

from __future__ import annotations

import os

from installer import target


def main(arguments: list[str]) -> int:
    """Becomes juju; does not return."""
    chosen = target.current()
    argv = [*chosen.juju(), *arguments]
    os.execvpe(argv[0], argv, chosen.environment())
