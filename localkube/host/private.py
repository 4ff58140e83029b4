"""What the node's programs would change on the host, replaced in a mount namespace of our own."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from localkube.host import system

MS_SHARED = 1 << 20
# What kubelet writes at its start (setupKernelTunables), with the values that it wants.
_SYSCTLS = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1000000,
    "kernel/keys/root_maxbytes": 25000000,
}
# Paths that no setting moves: sockets of shims, network namespaces, locks, links to logs.
HIDDEN = (Path("/run"), Path("/var/lib"), Path("/var/log"))


def hide(state: Path, kept: Iterable[Path]) -> None:
    """Gives this mount namespace its own folders and files in place of the host's.

    Args:
        state: the node's folder.
        kept: folders that stay visible where they are, even below a hidden one.

    Raises:
        OSError: the kernel refuses.
    """
    cover(HIDDEN, [state, *kept])
    _replace_sysctls(state / "sysctls")
    # Mounts that are made from here on are seen by containers that ask for it; it is a group of
    # peers of our own, so that the host sees none of them.
    system.mount("none", "/", None, system.MS_REC | MS_SHARED)


def cover(folders: Sequence[Path], kept: Iterable[Path]) -> None:
    """Has this mount namespace see empty folders in place of some of the host's.

    Args:
        folders: none is below another.
        kept: folders that stay visible where they are, even below one of them.

    Raises:
        OSError: the kernel refuses.
    """
    below = [
        (folder, os.open(folder, os.O_PATH | os.O_CLOEXEC))
        for folder in dict.fromkeys(kept)
        if any(folder.resolve().is_relative_to(covered) for covered in folders)
    ]
    for covered in folders:
        system.mount("tmpfs", str(covered), "tmpfs", system.MS_NOSUID | system.MS_NODEV)
    for folder, handle in below:
        folder.mkdir(parents=True, exist_ok=True)
        system.bind(f"/proc/self/fd/{handle}", str(folder))
        os.close(handle)


def _replace_sysctls(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for name, value in _SYSCTLS.items():
        file = folder / name.replace("/", ".")
        file.write_text(f"{value}\n")
        system.bind(str(file), f"/proc/sys/{name}")
