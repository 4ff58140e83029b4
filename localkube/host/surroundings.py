"""What the node needs of this machine and can tell before anything of it is made."""

from __future__ import annotations

import os

from localkube.host.errors import EngineError


def require_root() -> None:
    """Raises EngineError where this process has not root's rights."""
    if os.geteuid() != 0:
        raise EngineError("the node runs as root only so far: run as root, such as by sudo -E")
