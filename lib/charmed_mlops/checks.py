"""Health checks of a workload, as Pebble performs them.

Source: https://documentation.ubuntu.com/pebble/reference/layer-specification/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Http:
    """Healthy when GET http://localhost:PORT/PATH answers 2xx.

    There is no HTTPS: Pebble's check cannot be told which CA to trust. Use Tcp or Exec there.
    """

    port: int
    path: str = "/"
    headers: Mapping[str, str] = field(default_factory=dict)

    def layer(self) -> dict[str, Any]:
        """The check's part of a Pebble layer."""
        http: dict[str, Any] = {"url": f"http://localhost:{self.port}{self.path}"}
        if self.headers:
            http["headers"] = dict(self.headers)
        return {"http": http}


@dataclass(frozen=True)
class Tcp:
    """Healthy when PORT accepts a connection."""

    port: int

    def layer(self) -> dict[str, Any]:
        """The check's part of a Pebble layer."""
        return {"tcp": {"port": self.port}}


@dataclass(frozen=True)
class Exec:
    """Healthy when COMMAND ends with code 0. No secrets: the plan is readable."""

    command: str
    environment: Mapping[str, str] = field(default_factory=dict)

    def layer(self) -> dict[str, Any]:
        """The check's part of a Pebble layer."""
        layer: dict[str, Any] = {"command": self.command}
        if self.environment:
            layer["environment"] = dict(self.environment)
        return {"exec": layer}


Check = Http | Tcp | Exec


def duration(seconds: float) -> str:
    """A time as Go prints it, which is how Pebble returns it in a plan: 60 becomes `1m0s`.

    A layer that says `60s` would differ from its own plan for ever.
    """
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest}s"
    if minutes or hours:
        text = f"{minutes}m{text}"
    return f"{hours}h{text}" if hours else text
