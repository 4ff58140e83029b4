"""Names in the engine's state folder that others need; nothing else, so that it loads at once."""

from __future__ import annotations

DOOR = "door.sock"
"""The socket of the way into the engine's network; see `door`."""
