"""Runs one program of a build so that it stays in its place.

`python contained.py PARENT PROGRAM…`: it leaves the processors to others, is ended first when
memory runs out, and ends with PARENT, the process that started it, with all that it has started.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from localkube.host import system

_NICE = 10
_OOM_SCORE = 300  # below a container's 500: what is built is wanted by somebody who waits


def main() -> int:
    """Runs the program; returns its exit code, 128 + N where signal N ended it."""
    parent, *command = sys.argv[1:]
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    # Nothing can be done on SIGKILL: its parent's end comes as SIGTERM, and the group goes.
    signal.signal(signal.SIGTERM, lambda *_: system.kill_group(os.getpid()))
    try:
        system.die_with_parent(int(parent), signal.SIGTERM)
    except ProcessLookupError:
        return 1
    system.share_processors(max(_NICE, os.getpriority(os.PRIO_PROCESS, 0)))
    system.prefer_to_kill(_OOM_SCORE)
    code = subprocess.Popen(command).wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
