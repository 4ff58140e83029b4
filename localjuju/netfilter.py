"""The programs that set the packet filter of the engine's own network: from Debian, unpacked."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from localjuju import builds, debian, paths
from localjuju.progress import Progress

_PACKAGES = ("nftables", "iptables", "ipset")
# Debian's alternatives, which only an installation sets.
_COMMANDS = ("iptables", "iptables-save", "iptables-restore")
_IPTABLES = "xtables-nft-multi"
_PROGRAMS = ("usr/sbin", "sbin", "usr/bin", "bin")
_LIBRARIES = ("usr/lib", "lib")


def folder() -> Path:
    """Where they are; `ensure` makes it."""
    system = platform.freedesktop_os_release()
    name = "-".join((system["ID"], system.get("VERSION_ID", "rolling"), *_PACKAGES))
    return paths.cache() / "builds" / f"netfilter-{name}"


def ensure(progress: Progress) -> Path:
    """Unpacks them where that has not been done.

    Raises:
        EngineError: a download failed; names the log.
    """

    def make(target: Path) -> None:
        (target / "root").mkdir()
        with progress.step("Programs of the packet filter") as step:
            debian.unpack(_PACKAGES, target / "root", step)
        for name in _COMMANDS:
            (target / "root" / "usr" / "sbin" / name).symlink_to(_IPTABLES)

    return builds.make_once(folder(), make)


def environment() -> dict[str, str]:
    """How a program finds them, and they their libraries."""
    root = folder() / "root"
    triplet = f"{platform.machine()}-linux-gnu"
    programs = [str(root / part) for part in _PROGRAMS]
    return {
        "PATH": os.pathsep.join([*programs, os.environ.get("PATH", "")]),
        "XTABLES_LIBDIR": str(root / "usr" / "lib" / triplet / "xtables"),
        "LD_LIBRARY_PATH": os.pathsep.join(str(root / part / triplet) for part in _LIBRARIES),
    }
