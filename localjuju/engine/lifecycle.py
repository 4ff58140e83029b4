"""Starts the engine in the background, tells whether it runs, stops it."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from localjuju.engine import choices, limits, running
from localjuju.engine.choices import Choices
from localjuju.engine.names import DOOR
from localkube.host import ownership, paths
from localkube.host.errors import EngineError
from localkube.host.progress import Progress
from localkube.node import programs

_STOP_SECONDS = 45.0
_KILL_SECONDS = 10.0
_POLL_SECONDS = 0.1


def pid() -> int | None:
    """The outer process's id, or None where no engine runs."""
    running_engine = running.find(paths.state())
    if running_engine is None:
        return None
    with running_engine:
        return running_engine.pid


def answers() -> bool:
    """Whether the model's API answers; where a real Juju is to come, whether the cluster does."""
    if choices.load(paths.state()).juju:
        return _door_is_open()
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(paths.state() / "engine.sock"))
            client = http.client.HTTPConnection("engine")
            client.sock = connection
            body = json.dumps({"method": "version", "params": {}})
            client.request("POST", "/v1/call", body, {"Content-Type": "application/json"})
            return client.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False


def _door_is_open() -> bool:
    """The door opens when the node is ready."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(paths.state() / DOOR))
            return True
    except OSError:
        return False


def network() -> Path:
    """The network of the engine that runs, as nsenter(1) takes it.

    Raises:
        EngineError: none runs.
    """
    number = pid()
    own = Path("/proc/self/ns/net").readlink()
    for status in Path("/proc").glob("[0-9]*/status") if number is not None else ():
        with contextlib.suppress(OSError):  # it may have ended meanwhile
            there = status.parent / "ns/net"
            if f"\nPPid:\t{number}\n" in status.read_text() and there.readlink() != own:
                return there
    raise EngineError("no engine runs here: ./mlops up starts one")


def start(timeout: float = 300.0, owner: int | None = None, asked: Choices | None = None) -> None:
    """Starts the engine and returns when its API answers; nothing to do where it does already.

    Args:
        owner: a process that the engine ends with; None for an engine that stays.
        timeout: seconds to wait; building Kubernetes first, where it has to be, takes longer
            and does not count.
        asked: what it is to be like; as the last one where nothing is said.

    Raises:
        EngineError: a build failed, the engine ended, or was not ready in time; names the log.
            One runs that was started with something else.
    """
    ownership.claim_state()
    asked = asked or Choices()
    if pid() is not None and answers():
        choices.load(paths.state()).refuse_other(asked)
        return
    limits.check(paths.state())
    programs.ensure(Progress())
    log = paths.state() / "log" / "engine.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    begin = log.stat().st_size if log.exists() else 0
    process = None
    if pid() is None:
        for name in ("engine.sock", DOOR):
            (paths.state() / name).unlink(missing_ok=True)
        options = [] if owner is None else [f"--owner-pid={owner}"]
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "localjuju.engine", "run", *options, *asked.options()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
    deadline = time.monotonic() + timeout
    while not answers():
        # Another that was started at the same time may have been the first: it is as good.
        if process is not None and process.poll() is not None and pid() is None:
            raise EngineError(f"the engine ended: {_last_error(log, begin)} (log: {log})")
        if time.monotonic() > deadline:
            raise EngineError(f"the engine was not ready in {timeout:.0f} s; see {log}")
        time.sleep(_POLL_SECONDS)


def _last_error(log: Path, begin: int) -> str:
    with log.open("rb") as text:
        text.seek(begin)
        lines = text.read().decode(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("ERROR ") if lines else "it said nothing"


def stop(timeout: float = _STOP_SECONDS) -> bool:
    """Stops the engine; what is deployed stays on disk. Returns whether one was running.

    Raises:
        EngineError: it did not end, even killed.
    """
    engine = running.find(paths.state())
    if engine is None:
        return False
    with engine:
        engine.signal(signal.SIGTERM)
        if not engine.wait(timeout):
            engine.signal(signal.SIGKILL)
            if not engine.wait(_KILL_SECONDS):
                raise EngineError(f"process {engine.pid} does not end: kill -9 {engine.pid}")
    return True


def kill() -> None:
    """Ends the engine as a power cut does.

    Raises:
        EngineError: none runs, or it did not end.
    """
    engine = running.find(paths.state())
    if engine is None:
        raise EngineError("no engine runs")
    with engine:
        engine.signal(signal.SIGKILL)
        if not engine.wait(_KILL_SECONDS):
            raise EngineError(f"process {engine.pid} does not end: kill -9 {engine.pid}")
