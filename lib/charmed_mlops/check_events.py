"""Whether the event of a health check is old news; `dispatch` asks before it starts the charm.

A check that goes up and down on a busy machine leaves an event each time. They wait in a queue,
and the charm would be started for each. Only the last one tells what is.

It imports nothing of the library, as it runs on Python alone, which takes a tenth of the time.
"""

from __future__ import annotations

import json
import os
import socket
import sys

_SECONDS = 5
_START = "-start"


def is_old_news(event: str, check: str, status: str | None) -> bool:
    """Whether another event has followed, or need not be waited for.

    Args:
        event: the hook's name, such as `dex-pebble-check-failed`.
        check: the check's name.
        status: what Pebble says of the check now; None if it says nothing.
    """
    if status == "inactive":  # a start check that has been stopped, as its service answered
        return True
    if event.endswith("-failed"):
        return status == "up"
    # a start check's one success is enough, whatever it says now
    return status == "down" and not check.endswith(_START)


def status_of(socket_path: str, check: str) -> str | None:
    """What Pebble says of a check: up, down or inactive; None if it cannot be asked.

    Source: https://documentation.ubuntu.com/pebble/reference/api/, GET /v1/checks
    """
    path = f"/v1/checks?names={check}"  # letters and hyphens, as the library names them
    try:
        with socket.socket(socket.AF_UNIX) as pebble:
            pebble.settimeout(_SECONDS)
            pebble.connect(socket_path)
            # HTTP/1.0: the answer ends with the connection and is not in chunks
            pebble.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
            with pebble.makefile("rb") as answer:
                body = answer.read().partition(b"\r\n\r\n")[2]
        return str(json.loads(body)["result"][0]["status"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def main() -> int:
    """Returns 0 if the event of this hook is old news."""
    environment = os.environ
    event = environment.get("JUJU_DISPATCH_PATH", "")
    check = environment.get("JUJU_PEBBLE_CHECK_NAME", "")
    container = environment.get("JUJU_WORKLOAD_NAME", "")
    status = status_of(f"/charm/containers/{container}/pebble.socket", check)
    return 0 if is_old_news(event, check, status) else 1


if __name__ == "__main__":
    sys.exit(main())
