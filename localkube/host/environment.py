"""What the inner process, and by it every pod, may see of the environment it was started in.

A container's first process is forked from the inner one, so that whatever the shell of
`./mlops up` had exported could be read in the container's /proc/1/environ: tokens and keys.
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
