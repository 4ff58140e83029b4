"""Ports that a unit opened: those for every endpoint, and those for some.

`""` stands for every endpoint, as with Juju.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from localjuju.model.db import Row

EVERY = "*"
Opened = Mapping[str, Iterable[str]]


def of(unit: Row) -> dict[str, set[str]]:
    """By endpoint; a unit of an older database has a list, for every endpoint."""
    stored = unit["ports"]
    if isinstance(stored, list):
        stored = {"": stored}
    return {endpoint: set(ports) for endpoint, ports in stored.items() if ports}


def stored(opened: Opened) -> dict[str, list[str]]:
    """As a unit's row has them."""
    return {endpoint: sorted(ports) for endpoint, ports in sorted(opened.items()) if ports}


def plain(opened: Opened) -> list[str]:
    """Every port once, whatever endpoint it is for."""
    return sorted({port for ports in opened.values() for port in ports})


def with_endpoints(opened: Opened) -> list[str]:
    """As `opened-ports --endpoints` prints: `80/tcp (*)`, `81/tcp (a,b)`."""
    lines = []
    for port in plain(opened):
        names = sorted(name or EVERY for name, ports in opened.items() if port in ports)
        lines.append(f"{port} ({','.join(names)})")
    return lines


def opened(before: Opened, ports: set[str], endpoints: set[str]) -> dict[str, set[str]]:
    """With these ports opened for these endpoints."""
    after = {endpoint: set(had) for endpoint, had in before.items()}
    for endpoint in endpoints:
        after.setdefault(endpoint, set()).update(ports)
    return after


def closed(before: Opened, ports: set[str], endpoints: set[str]) -> dict[str, set[str]]:
    """With these ports closed: for these endpoints, or wherever where that is every one."""
    return {
        endpoint: set(had) - ports if endpoints == {""} or endpoint in endpoints else set(had)
        for endpoint, had in before.items()
    }
