"""Runs a program as a plain user that a system has set ids aside for; called by root.

`python -m localkube.tests.plain PROGRAM…`: the user is in an /etc that a mount namespace of its
own has over the system's. Of a folder that only root may enter, the program sees what it needs.
"""

from __future__ import annotations

import itertools
import os
import stat
import sys
import tempfile
from pathlib import Path

from localkube.building import builds, debian
from localkube.host import paths, private, system
from localkube.host.progress import Progress

NAME = "plain"
ID = 60123
"""Of the user, and of the group of its own."""

FIRST = 200000
"""Of the ids that are set aside for the user; in the user's namespace it is 1."""

_TUN = {"--tun": 0o666, "--no-tun": 0o600}
"""The words on the device, and its mode by each."""

_LINES = {
    "/etc/passwd": f"{NAME}:x:{ID}:{ID}::/nonexistent:/bin/sh\n",
    "/etc/group": f"{NAME}:x:{ID}:\n",
}
_RANGES: dict[str, str] = dict.fromkeys(("/etc/subuid", "/etc/subgid"), f"{NAME}:{FIRST}:65536\n")


def programs() -> Path:
    """The folder of newuidmap and newgidmap, which are root's and setuid; made if need be."""

    def make(target: Path) -> None:
        (target / "root").mkdir()
        with Progress().step("uidmap") as step:
            debian.unpack(("uidmap",), target / "root", step)

    made = builds.make_once(paths.cache() / "builds" / f"uidmap-{debian.release()}", make)
    return made / "root" / "usr" / "bin"


def command(*told: str) -> list[str]:
    """What runs a command as the plain user.

    Args:
        told: `--no-ids`, the system has set none aside; `--no-uidmap`, newuidmap and newgidmap
            are not there; `--tun`, the device is everybody's, `--no-tun`, root's alone. Without
            either word the device is the system's, which a user namespace cannot change.
    """
    return [sys.executable, "-m", __name__, *told]


def main() -> None:
    """Becomes the program."""
    options = set(itertools.takewhile(lambda word: word.startswith("--"), sys.argv[1:]))
    program = sys.argv[1 + len(options) :]
    if "--no-uidmap" not in options:
        os.environ["PATH"] = f"{programs()}{os.pathsep}{os.environ['PATH']}"
    system.unshare(system.CLONE_NEWNS)
    system.mount("none", "/", None, system.MS_REC | system.MS_PRIVATE)
    for word in options & _TUN.keys():
        _make_tun(_TUN[word])
    _add_user({} if "--no-ids" in options else _RANGES)
    needed = [paths.cache(), Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parents[2]]
    closed = dict.fromkeys(filter(None, map(_closed, needed)))
    private.cover(list(closed), needed)
    os.setgroups([])
    os.setresgid(ID, ID, ID)
    os.setresuid(ID, ID, ID)
    os.execvp(program[0], program)


def _make_tun(mode: int) -> None:
    """The device that network stacks in user space open; udev gives it to everybody."""
    system.mount("tmpfs", "/dev/net", "tmpfs", 0, "mode=755")
    os.mknod("/dev/net/tun", stat.S_IFCHR, os.makedev(10, 200))
    Path("/dev/net/tun").chmod(mode)


def _add_user(ranges: dict[str, str]) -> None:
    """Lays the user's lines over /etc, where the system sees nothing of them."""
    with tempfile.TemporaryDirectory() as folder:
        system.mount("tmpfs", folder, "tmpfs", 0, "mode=755")
        for name in ("upper", "work"):
            Path(folder, name).mkdir()
        layers = f"lowerdir=/etc,upperdir={folder}/upper,workdir={folder}/work"
        system.mount("overlay", "/etc", "overlay", 0, layers)
        system.unmount(folder, lazily=True)
    for name, added in (*_LINES.items(), *ranges.items()):
        with Path(name).open("a") as text:
            text.write(added)


def _closed(folder: Path) -> Path | None:
    """The first folder on the way that is root's alone."""
    way = [*reversed(folder.resolve().parents), folder.resolve()]
    return next((each for each in way if not each.stat().st_mode & 0o001), None)


if __name__ == "__main__":
    main()
