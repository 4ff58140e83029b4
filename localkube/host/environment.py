"""What the inner process, and the programs that it starts, have of the environment.

Whatever the shell of `./mlops up` had exported, tokens and keys too, could else be read in
/proc/PID/environ of each program of the node.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from localkube.host import paths

_KEPT = ("PATH", "LANG", "HOME", "LD_LIBRARY_PATH")
_OWN = ("CHARMED_MLOPS_", "LOCALJUJU_")


def scrubbed(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of the inner process.

    Proxies are not in it: the inner process has no way out of its network, and the address of a
    proxy may hold a password.
    """
    kept = {
        name: value
        for name, value in environment.items()
        if name in _KEPT or name.startswith(_OWN)
    }
    return {
        **kept,
        "CHARMED_MLOPS_CACHE": str(paths.cache()),
        "CHARMED_MLOPS_STATE": str(paths.state()),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
