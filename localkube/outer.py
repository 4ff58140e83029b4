"""The process on the host's side: makes the control groups, starts the inner one, cleans up."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from localjuju import ownership
from localjuju.engine import environment
from localkube.cgroups import Groups

READY = "ready"
"""The file in the state folder that is there while the cluster is ready."""


def groups(state: Path) -> Groups:
    """The control groups of the cluster that keeps its things in `state`.

    Raises:
        EngineError: this host has not the hierarchies that are needed.
    """
    return Groups(f"localkube-{hashlib.sha256(os.fsencode(state)).hexdigest()[:12]}")


def run(state: Path) -> int:
    """Runs a cluster until SIGTERM or SIGINT; returns an exit code.

    Raises:
        EngineError: one runs in this folder, the folder is another's, or no groups can be made.
    """
    ownership.claim(state, "STATE")
    state.chmod(0o700)
    own = groups(state)
    own.make()
    (state / READY).unlink(missing_ok=True)  # of one that was killed
    inner: subprocess.Popen[bytes] | None = None

    def stop(number: int, _: object) -> None:
        if inner is not None:
            inner.send_signal(signal.SIGTERM)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    try:
        inner = subprocess.Popen(
            [sys.executable, "-m", "localkube", "--inner", str(state)],
            env=environment.scrubbed(os.environ),
            start_new_session=True,  # Ctrl-C reaches it through this process alone
        )
        return inner.wait()
    finally:
        own.remove()
