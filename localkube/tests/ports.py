"""Ports for programs that tests start."""

from __future__ import annotations

import contextlib
import random
import socket
from pathlib import Path


def ports(count: int) -> list[int]:
    """TCP ports that nobody listens on.

    They are below those that connections get by themselves, one of which would take a port before
    the program that it is meant for.
    """
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(lowest // 2, lowest)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("", port))
            if port not in found:
                found.append(port)
    return found
