"""The few system calls that Python 3.10 has no function for."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
_MNT_DETACH = 2
_PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """unshare(2). Raises OSError."""
    _check(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str | None, flags: int = 0, data: str = "") -> None:
    """mount(2). Raises OSError."""
    encoded = [
        None if text is None else os.fsencode(text) for text in (source, target, kind, data)
    ]
    _check(_libc.mount(*encoded[:3], ctypes.c_ulong(flags), encoded[3]), f"mount {target}")


def bind(source: str, target: str) -> None:
    """Makes `source` seen at `target` too; what is mounted below it as well. Raises OSError."""
    mount(source, target, None, MS_BIND | MS_REC)


def unmount(target: str, *, lazily: bool = False) -> None:
    """Takes a mount away.

    Args:
        target: where it is.
        lazily: what still uses it keeps it.

    Raises:
        OSError: the kernel refuses.
    """
    _check(_libc.umount2(target.encode(), _MNT_DETACH if lazily else 0), f"umount of {target}")


def die_with_parent(parent: int, number: int = signal.SIGKILL) -> None:
    """Has the kernel signal this process when its parent ends, however that ends.

    The kernel says nothing of a parent that has ended before: that is looked for here.

    Args:
        parent: the process that started this one, as it names itself.
        number: the signal.

    Raises:
        ProcessLookupError: it has ended already.
        OSError: the kernel refuses.
    """
    _check(_libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0), "prctl")
    if os.getppid() != parent:
        raise ProcessLookupError(f"process {parent}, which started this one, has ended")


def kill_group(leader: int, number: int = signal.SIGKILL) -> None:
    """Signals a process and all of its process group; nothing happens where it has gone.

    Raises:
        ValueError: 0, 1 and what is below them mean other processes than one group.
    """
    if leader <= 1:
        raise ValueError(f"{leader} is no process group of ours")
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, number)


def share_processors(nice: int) -> None:
    """Sets how this process, and what it starts, shares the processors with others.

    Each session is a group of its own to the scheduler where it groups by session, which is the
    default of most distributions: sched(7), "The autogroup feature". There a process's own nice
    value counts in its session only. What may not be set stays as it is.

    Args:
        nice: as nice(2) has it; less than 0 needs a right that root has.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    with contextlib.suppress(OSError), open("/proc/self/autogroup", "w") as text:  # noqa: PTH123
        text.write(str(nice))


def prefer_to_kill(score: int) -> None:
    """Has the kernel end this process and its children sooner when memory runs out.

    Args:
        score: added to the badness that proc(5) describes, at most 1000; a higher one stays.
    """
    file = "/proc/self/oom_score_adj"
    with contextlib.suppress(OSError, ValueError), open(file, "r+") as text:  # noqa: PTH123
        if int(text.read()) < score:
            text.seek(0)
            text.write(str(score))
