"""Starts the engine in the background, tells whether it runs, stops it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from localjuju import paths
from localjuju.controlplane.programs import ensure_programs
from localjuju.errors import EngineError
from localjuju.progress import Progress

_STOP_SECONDS = 45.0
_POLL_SECONDS = 0.1


def pid() -> int | None:
    """The outer process's id, or None where no engine runs."""
    try:
        number = int((paths.state() / "engine.pid").read_text())
        arguments = Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return number if b"localjuju.engine" in arguments else None


def answers() -> bool:
    """Whether the model's API answers."""
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


def start(timeout: float = 300.0) -> None:
    """Starts the engine and returns when its API answers; nothing to do where it does already.

    Args:
        timeout: seconds to wait; building Kubernetes first, where it has to be, takes longer
            and does not count.

    Raises:
        EngineError: a build failed, the engine ended, or was not ready in time; names the log.
    """
    if pid() is not None and answers():
        return
    ensure_programs(Progress())
    log = paths.state() / "log" / "engine.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    begin = log.stat().st_size if log.exists() else 0
    process = None
    if pid() is None:
        (paths.state() / "engine.sock").unlink(missing_ok=True)
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "localjuju.engine", "run"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
    deadline = time.monotonic() + timeout
    while not answers():
        if process is not None and process.poll() is not None:
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
    number = pid()
    if number is None:
        return False
    deadline = time.monotonic() + timeout
    os.kill(number, signal.SIGTERM)
    while pid() == number:
        if time.monotonic() > deadline + 10:
            raise EngineError(f"process {number} does not end: kill -9 {number}")
        if time.monotonic() > deadline:
            os.kill(number, signal.SIGKILL)
        time.sleep(_POLL_SECONDS)
    return True
