"""The programs that set the packet filter of the engine's own network: from Debian, unpacked."""

from __future__ import annotations

import os
import platform
import socket
import struct
from pathlib import Path

from localkube.building import builds, debian
from localkube.host import paths
from localkube.host.errors import EngineError
from localkube.host.progress import Progress

_PACKAGES = ("nftables", "iptables", "ipset")
# Debian's alternatives, which only an installation sets.
_COMMANDS = ("iptables", "iptables-save", "iptables-restore")
_IPTABLES = "xtables-nft-multi"
_PROGRAMS = ("usr/sbin", "sbin", "usr/bin", "bin")
_LIBRARIES = ("usr/lib", "lib")


# nfnetlink(7), linux/netfilter/nf_tables.h
_NETLINK_NETFILTER = 12
_GET_GENERATION = 10 << 8 | 16  # of the subsystem of nftables
_REQUEST = 1


def require() -> None:
    """Asks the kernel for the state of its packet filter; called in a network of our own.

    Raises:
        EngineError: it has none that this process may set.
    """
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as kernel:
            question = struct.pack("=BBH", socket.AF_UNSPEC, 0, 0)
            head = struct.pack("=IHHII", 16 + len(question), _GET_GENERATION, _REQUEST, 1, 0)
            kernel.send(head + question)
            answer = kernel.recv(4096)
        (kind,) = struct.unpack_from("=H", answer, 4)
        (number,) = struct.unpack_from("=i", answer, 16)
        if kind != _GET_GENERATION - 1:  # NFT_MSG_NEWGEN is the answer, an error is not
            raise OSError(-number, os.strerror(-number))
    except OSError as error:
        raise EngineError(
            f"this kernel's packet filter does not answer ({error.strerror}): modprobe nf_tables, "
            "or run a kernel with nftables, as root"
        ) from None


def folder() -> Path:
    """Where they are; `ensure` makes it."""
    name = "-".join((debian.release(), *_PACKAGES))
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
