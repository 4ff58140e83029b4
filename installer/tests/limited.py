"""Runs a program in a user namespace in which no further namespaces may be made; called by root.

`python -m installer.tests.limited KIND PROGRAM…`: KIND is `mnt`, `user` and so on, as the limits
in /proc/sys/user name them. Every id is mapped to itself, so that all but the limit is as before.
A word `PARENT` of the program stands for this process.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from localkube.host import system

_ALL = "0 0 4294967295"


def command(kind: str) -> tuple[str, ...]:
    """What runs a program so."""
    return (sys.executable, "-m", __name__, kind)


def main() -> int:
    """Runs the program; returns its exit code."""
    kind, *program = sys.argv[1:]
    parent = os.getpid()
    apart, told = os.pipe()
    mapped, go = os.pipe()
    child = os.fork()
    if child == 0:
        system.unshare(system.CLONE_NEWUSER)
        os.write(told, b"1")
        os.read(mapped, 1)
        Path(f"/proc/sys/user/max_{kind}_namespaces").write_text("0")
        words = [str(parent) if word == "PARENT" else word for word in program]
        os.execvp(words[0], words)
    os.read(apart, 1)
    for name in ("uid_map", "gid_map"):
        Path(f"/proc/{child}/{name}").write_text(_ALL)
    os.write(go, b"1")
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    sys.exit(main())
