"""What `./mlops open` has open on this host: one record each in the state folder.

A record counts as long as the process that it names began when it says: a process id alone comes
again.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from localjuju.engine import running
from localkube.host import ownership, paths
from localkube.host.errors import EngineError

_STOP_SECONDS = 5.0


@dataclass(frozen=True)
class Opened:
    """A port of this host that leads to a Service.

    Attributes:
        pid: the process that listens.
        start: when it began, in ticks since the boot.
        name: the Service's.
        namespace: the Service's.
        port: the Service's.
        host_port: this host's.
        address: on this host, as a program takes it.
        detached: whether it runs in the background, so that `--stop` ends it.
    """

    pid: int
    start: int
    name: str
    namespace: str
    port: int
    host_port: int
    address: str
    detached: bool

    def __str__(self) -> str:
        return f"{self.name} at {self.address}"


def _folder() -> Path:
    return paths.state() / "open"


def record(
    name: str, namespace: str, port: int, host_port: int, address: str, *, detached: bool
) -> Path:
    """Records that this process has it open; returns the file.

    Raises:
        EngineError: the state folder that the user named holds other things.
    """
    ownership.claim_state()
    start = running.start_time(os.getpid())
    assert start is not None  # this process is there
    found = Opened(os.getpid(), start, name, namespace, port, host_port, address, detached)
    file = _folder() / f"{found.pid}.json"
    file.parent.mkdir(exist_ok=True)
    new = file.with_suffix(".new")
    new.write_text(json.dumps(asdict(found)))
    new.rename(file)
    return file


def listed() -> list[Opened]:
    """All that is open, by name; a record whose process has ended is removed."""
    found = []
    for file in sorted(_folder().glob("*.json")):
        each = _read(file)
        if each is None or not _runs(each):
            file.unlink(missing_ok=True)
        else:
            found.append(each)
    return sorted(found, key=lambda each: (each.name, each.namespace, each.pid))


def stop(name: str = "") -> list[Opened]:
    """Ends what is open in the background, or only a Service's; returns what was.

    Raises:
        EngineError: a process does not end, even killed.
    """
    ended = [each for each in listed() if each.detached and name in ("", each.name)]
    for each in ended:
        with _process(each) as process:
            if process is not None:
                process.signal(signal.SIGTERM)
                if not process.wait(_STOP_SECONDS):
                    process.signal(signal.SIGKILL)
                    if not process.wait(_STOP_SECONDS):
                        raise EngineError(f"process {each.pid} does not end: kill -9 {each.pid}")
        (_folder() / f"{each.pid}.json").unlink(missing_ok=True)
    return ended


@contextlib.contextmanager
def _process(found: Opened) -> Iterator[running.Running | None]:
    """The very process of a record, None where it has ended meanwhile."""
    try:
        descriptor = os.pidfd_open(found.pid)
    except ProcessLookupError:
        yield None
        return
    with running.Running(found.pid, descriptor) as process:
        # after the descriptor: from here on the number cannot become another's
        yield process if running.start_time(found.pid) == found.start else None


def _runs(found: Opened) -> bool:
    """Whether it is there and has not ended: one that nobody waits for keeps its number."""
    try:
        text = Path(f"/proc/{found.pid}/stat").read_text()
    except OSError:
        return False
    ended = text.rpartition(")")[2].split()[0] in ("Z", "X")  # field 3 of proc(5)
    return not ended and running.start_time(found.pid) == found.start


def _read(file: Path) -> Opened | None:
    try:
        return Opened(**json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
        return None
