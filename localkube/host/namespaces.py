"""Enters new namespaces, and hands over to an init process that keeps no zombie.

The kernel ends every process of a process namespace when its first one ends (pid_namespaces(7)),
removes a network with its last process, and unmounts what only a dead mount namespace saw. That is
what makes `./mlops down`, and a crash, leave nothing behind.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from localkube.host import system
from localkube.host.errors import EngineError

_PASSED_ON = (signal.SIGTERM, signal.SIGINT)
_KINDS = ("user", "mnt", "uts", "ipc", "pid", "net")
_ENOUGH = 15000  # of each kind, for hundreds of pods


def unshare(flags: int) -> None:
    """Moves this process into new namespaces.

    Raises:
        EngineError: the kernel or its settings refuse; the line names the setting.
    """
    try:
        system.unshare(flags)
    except OSError as error:
        if error.errno == errno.ENOSPC:  # namespaces(7): not the disk, a limit
            raise EngineError(
                f"this kernel refuses namespaces (a limit is reached): sysctl -w {_limits()}"
            ) from None
        raise EngineError(
            f"this kernel refuses namespaces ({error.strerror}): run as root, or allow user "
            "namespaces: sysctl -w kernel.unprivileged_userns_clone=1 "
            "kernel.apparmor_restrict_unprivileged_userns=0 user.max_user_namespaces=15000"
        ) from None


def _limits() -> str:
    """The limits that are low, or may be in a namespace around this one, as sysctl sets them."""
    files = [Path(f"/proc/sys/user/max_{kind}_namespaces") for kind in _KINDS]
    low = [file.name for file in files if int(file.read_text()) < _ENOUGH]
    return " ".join(f"user.{name}={_ENOUGH}" for name in low or [file.name for file in files])


def enter(main: Callable[[], int], hostname: str, parent: int) -> NoReturn:
    """Runs `main` in new namespaces, as the child of an init process; never returns.

    This process is root, of a user namespace at least; see `mapped`.

    The exit code of `main` becomes this process's. SIGTERM and SIGINT reach `main`'s process.

    Args:
        main: called in the new namespaces, with /proc and the loopback interface in place.
        hostname: the host name inside.
        parent: the process that started this one; all of it ends when that one does, and nothing
            begins where it has ended already.

    Raises:
        EngineError: the kernel or its settings refuse namespaces, or `parent` has ended.
    """
    flags = (
        system.CLONE_NEWNS
        | system.CLONE_NEWUTS
        | system.CLONE_NEWIPC
        | system.CLONE_NEWPID
        | system.CLONE_NEWNET
    )
    unshare(flags)
    try:
        system.die_with_parent(parent)
    except ProcessLookupError as error:
        raise EngineError(str(error)) from None
    # The kernel drops what the first process of a namespace has no handler for, unless it is
    # blocked: a signal that comes before `_relay` would be lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)
    alive, end = os.pipe()  # the kernel closes `end` when this process ends, nobody before
    child = os.fork()
    if child == 0:
        os.close(end)
        # The parent of a process namespace's first process is 0, alive or not (getppid(2)).
        system.die_with_parent(0)
        if select.select([alive], [], [], 0)[0]:
            os._exit(1)
        os.close(alive)
        _first_process(main, hostname)
    os.close(alive)
    os._exit(_relay(child))


def _first_process(main: Callable[[], int], hostname: str) -> NoReturn:
    system.mount("none", "/", None, system.MS_REC | system.MS_PRIVATE)
    system.mount("proc", "/proc", "proc", system.MS_NOSUID | system.MS_NODEV | system.MS_NOEXEC)
    socket.sethostname(hostname)
    _loopback_up()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)
            code = main()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    os._exit(_relay(child))


def _loopback_up() -> None:
    """A new network namespace has its loopback interface down (netdevice(7))."""
    get_flags, set_flags, up = 0x8913, 0x8914, 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        answer = fcntl.ioctl(any_socket, get_flags, struct.pack("16sH22x", b"lo", 0))
        flags = struct.unpack("16sH22x", answer)[1]
        fcntl.ioctl(any_socket, set_flags, struct.pack("16sH22x", b"lo", flags | up))


def _relay(child: int) -> int:
    """Reaps until `child` ends, passing signals on to it; its exit code is the result."""
    for number in _PASSED_ON:
        signal.signal(number, lambda received, _: os.kill(child, received))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def use_resolver(address: str, folder: Path) -> None:
    """Has this mount namespace ask the name server at `address`; the host's file is unchanged."""
    private = folder / "resolv.conf"
    private.write_text(f"nameserver {address}\n")
    target = Path("/etc/resolv.conf")
    if target.exists():
        system.bind(str(private), str(target.resolve()))
