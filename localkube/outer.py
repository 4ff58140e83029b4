"""The process on the host's side: control groups, images, the inner one, cleaning up."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from localkube.building import builds
from localkube.host import environment, mapped, ownership, paths
from localkube.host.cgroups import Groups, groups_or_none
from localkube.host.errors import EngineError
from localkube.host.progress import Progress
from localkube.images import finder
from localkube.images.registry import Find
from localkube.node import egress
from localkube.node.egress import Egress

_STOP_SECONDS = 60
_BY_THE_SIGNAL = (-signal.SIGTERM, 128 + signal.SIGTERM)

READY = "ready"
"""The file in the state folder that is there while the cluster is ready."""


def groups(state: Path) -> Groups:
    """The control groups of the cluster that keeps its things in `state`.

    Raises:
        EngineError: this host has not the hierarchies that are needed.
    """
    return groups_or_none(f"localkube-{hashlib.sha256(os.fsencode(state)).hexdigest()[:12]}")


def run(state: Path, find: Find, *, way_out: bool = False, upstream: bool = False) -> int:
    """Runs a cluster until SIGTERM or SIGINT; returns an exit code.

    Args:
        state: everything the cluster keeps.
        find: tells which images there are; it is called in this process.
        way_out: whether pods reach what this host reaches; see `egress`.
        upstream: whether images that `find` has not come from where they are named for.

    Raises:
        EngineError: one runs in this folder, the folder is another's, its path is too long for
            the node's sockets, this machine is not as it has to be, or there is no way out.
    """
    paths.refuse_long(state, "STATE")
    mapped.check()
    mapped.enter()
    own = groups(state)
    own.check()
    ownership.claim(state, "STATE")
    state.chmod(0o700)
    inner: subprocess.Popen[bytes] | None = None
    stopping = False

    def stop(number: int, _: object) -> None:
        nonlocal stopping
        stopping = True
        if inner is not None:
            _end(inner, number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
        signal.signal(number, stop)
    out = None
    if way_out or upstream:
        out = Egress(egress.ensure(Progress()), state / "log" / "egress.log")
    own.make()
    images = finder.Finder(state / finder.SOCKET, find)
    (state / READY).unlink(missing_ok=True)  # of one that was killed
    try:
        images.start()
        inner = subprocess.Popen(
            [
                sys.executable, "-m", "localkube", f"--inner={os.getpid()}",
                *(["--egress"] if way_out else []),
                *(["--images-from=upstream"] if upstream else []), str(state),
            ],
            env=environment.scrubbed(os.environ),
            start_new_session=True,  # Ctrl-C reaches it through this process alone
        )  # fmt: skip
        if out is not None:
            try:
                out.start(inner.pid)
            except EngineError:
                inner.kill()
                inner.wait()
                raise
        if stopping:
            _end(inner, signal.SIGTERM)
        code = inner.wait()
        # It ends by the signal where it had not come far enough to do more.
        return 0 if stopping and code in _BY_THE_SIGNAL else code
    finally:
        builds.end()  # of an image that nobody waits for any more
        images.stop()
        if out is not None:
            out.stop()
        own.remove()


def _end(inner: subprocess.Popen[bytes], number: int) -> None:
    """Tells the inner process to stop; SIGALRM comes when it had time enough."""
    if number == signal.SIGALRM:
        inner.kill()
    else:
        inner.terminate()
        signal.alarm(_STOP_SECONDS)
