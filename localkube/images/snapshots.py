"""How containerd keeps the trees of images on the file system that it has."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from localkube.host import system

_log = logging.getLogger(__name__)


def choose(folder: Path) -> str:
    """The name of containerd's snapshotter for a folder; called in our own mount namespace.

    It is `overlayfs` where the kernel mounts one with its upper tree there: not on an overlay, and
    not where the kernel has none. Else it is `native`, which copies an image for each container.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix="overlay-") as made:
        lower, upper, work, merged = (Path(made, name) for name in ("l", "u", "w", "m"))
        for part in (lower, upper, work, merged):
            part.mkdir()
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        try:
            system.mount("overlay", str(merged), "overlay", 0, options)
        except OSError as error:
            _log.warning(
                "no overlay in %s (%s): images are copied for each container; a state folder on "
                "another file system, or modprobe overlay, saves disk and time",
                folder, error.strerror,
            )  # fmt: skip
            return "native"
        system.unmount(str(merged))
    return "overlayfs"
