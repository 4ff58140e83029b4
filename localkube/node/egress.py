"""The way out of the cluster's network: slirp4netns, a network stack in user space on the host.

It reads what the cluster sends from a tap device and opens connections of its own for it, as any
program of its user may. Nothing of the host's network is set. The host's loopback is not reached.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import socket
import subprocess
import time
from pathlib import Path

from localkube.building import builds, debian, netfilter
from localkube.host import paths
from localkube.host.errors import EngineError
from localkube.host.progress import Progress

DEVICE = "tap0"
NAME_SERVER = "10.0.2.3"
"""Where slirp4netns answers names, by way of the host's own resolver: slirp4netns(1)."""

_PACKAGE = "slirp4netns"
_TUN = "/dev/net/tun"
_MTU = 65520  # the largest that slirp4netns takes
_READY_SECONDS = 30.0
_POLL_SECONDS = 0.02
_TABLE = "localkube-egress"
# What leaves by the device has the device's address: the stack knows no other.
_RULES = f"""table ip {_TABLE}
delete table ip {_TABLE}
table ip {_TABLE} {{
    chain postrouting {{
        type nat hook postrouting priority srcnat;
        oifname "{DEVICE}" masquerade
    }}
    chain forward {{
        type filter hook forward priority filter;
        %s
    }}
}}
"""
_NOT_PODS = f'oifname "{DEVICE}" drop'


def ensure(progress: Progress) -> Path:
    """The root of slirp4netns' files, unpacked where that has not been done.

    Raises:
        EngineError: this user may not have a tap device; a download failed; names the log.
    """
    if not os.access(_TUN, os.R_OK | os.W_OK):
        raise EngineError(
            f"no way out of the cluster's network, as this user may not open {_TUN}: chmod 666 "
            f"{_TUN} as root, as most systems have it, or ./mlops up --images catalogue without "
            "--egress"
        )
    name = f"{_PACKAGE}-{debian.release()}"

    def make(target: Path) -> None:
        (target / "root").mkdir()
        with progress.step("The way out of the cluster's network") as step:
            debian.unpack((_PACKAGE,), target / "root", step)

    return builds.make_once(paths.cache() / "builds" / name, make) / "root"


class Egress:
    """slirp4netns as a child of the process on the host's side."""

    def __init__(self, root: Path, log: Path):
        """Prepares; starts nothing.

        Args:
            root: what `ensure` gives.
            log: the file for what it prints.
        """
        self._root = root
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._until: int | None = None

    def start(self, pid: int) -> None:
        """Gives the network namespace of a process its device; waits until it has one.

        Args:
            pid: of a process that enters a network namespace of its own.

        Raises:
            EngineError: it does not, or slirp4netns ends; names the log.
        """
        _wait_until_apart(pid)
        # It ends when the other end of this pipe is closed: with this process, however that ends.
        end, self._until = os.pipe()
        ready, told = os.pipe()
        triplet = f"{platform.machine()}-linux-gnu"
        folders = [str(self._root / part / triplet) for part in ("usr/lib", "lib")]
        try:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            with self._log.open("ab") as output:
                self._process = subprocess.Popen(
                    [
                        self._root / "usr" / "bin" / _PACKAGE, "--configure", f"--mtu={_MTU}",
                        "--disable-host-loopback", f"--exit-fd={end}", f"--ready-fd={told}",
                        str(pid), DEVICE,
                    ],
                    env={"LD_LIBRARY_PATH": os.pathsep.join(folders)},
                    stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                    pass_fds=(end, told),
                )  # fmt: skip
        finally:
            os.close(end)
            os.close(told)
        with os.fdopen(ready, "rb") as stream:
            if stream.read(1) != b"1":  # it ended
                self.stop()
                raise EngineError(f"no way out of the cluster's network; see {self._log}")

    def stop(self) -> None:
        """Takes the device away."""
        if self._until is not None:
            os.close(self._until)
            self._until = None
        if self._process is not None:
            self._process.wait()
            self._process = None


def _wait_until_apart(pid: int) -> None:
    own = Path("/proc/self/ns/net").stat().st_ino
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError):
            if Path(f"/proc/{pid}/ns/net").stat().st_ino != own:
                return
        if not Path(f"/proc/{pid}").exists():
            break
        time.sleep(_POLL_SECONDS)
    raise EngineError(f"process {pid} has not entered a network of its own")


async def use(*, pods: bool) -> None:
    """Has all that leaves the cluster go out by the device; called in the cluster's network.

    Args:
        pods: whether what pods send goes out too; else the node's own alone does.

    Raises:
        EngineError: there is no such device, or the packet filter refuses.
    """
    deadline = time.monotonic() + _READY_SECONDS
    while DEVICE not in (name for _, name in socket.if_nameindex()):
        if time.monotonic() > deadline:
            raise EngineError(f"the cluster's network has no device {DEVICE}")
        await asyncio.sleep(_POLL_SECONDS)
    nft = netfilter.folder() / "root" / "usr" / "sbin" / "nft"
    process = await asyncio.create_subprocess_exec(
        nft, "-f", "-", env=netfilter.environment(), stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, errors = await process.communicate((_RULES % ("" if pods else _NOT_PODS)).encode())
    if process.returncode != 0:
        raise EngineError(f"no way out of the cluster's network: {errors.decode().strip()}")
