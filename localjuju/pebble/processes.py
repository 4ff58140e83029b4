"""Starts programs and waits for them; as a container's first process, for everybody's orphans."""

from __future__ import annotations

import asyncio
import contextlib
import grp
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from localjuju import system
from localjuju.pebble.errors import ApiError


class Reaper:
    """Waits for every child; exit codes go to those who asked."""

    def __init__(self) -> None:
        self._waiting: dict[int, asyncio.Future[int]] = {}

    def start(self) -> None:
        """Takes SIGCHLD over; called with a running event loop."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._reap)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            future = self._waiting.pop(pid, None)
            if future is not None and not future.done():
                future.set_result(code if code >= 0 else 128 - code)

    def spawn(self, argv: Sequence[str], **options: Any) -> tuple[int, asyncio.Future[int]]:
        """Starts a program in a session of its own; its id and its exit code to be.

        Raises:
            OSError: it cannot be started.
            ApiError: another user is wanted, and only root can be that.
        """
        if "user" in options and os.geteuid() != 0:
            program = shutil.which(argv[0]) or argv[0]
            raise ApiError(f"fork/exec {program}: operation not permitted")
        process = subprocess.Popen(argv, start_new_session=True, **options)
        system.share_processors(system.NICE_OF_PODS, process.pid)
        # Nothing can have been reaped yet: that happens in this thread, between callbacks.
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting[process.pid] = future
        process.returncode = 0  # waiting is the reaper's; the object must not try
        return process.pid, future


def kill(pid: int, number: int) -> None:
    """Sends a signal to one process."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def kill_group(pid: int, number: int) -> None:
    """Sends a signal to a process and what it started.

    One that is another user's goes on: who waits for its end says so when that does not come.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def identity(
    user_id: int | None, user: str | None, group_id: int | None, group: str | None
) -> dict[str, Any]:
    """`subprocess.Popen` options to run as a user and group; empty for our own.

    Raises:
        ApiError: no such user or group, or a group without a user.
    """
    home = None
    if user:
        try:
            entry = pwd.getpwnam(user)
        except KeyError:
            raise ApiError(f"user: unknown user {user}") from None
        if user_id is not None and user_id != entry.pw_uid:
            raise ApiError(
                f'user "{user}" UID ({entry.pw_uid}) does not match user-id ({user_id})'
            )
        user_id = entry.pw_uid
        home = entry
    if group:
        try:
            found = grp.getgrnam(group).gr_gid
        except KeyError:
            raise ApiError(f"group: unknown group {group}") from None
        if group_id is not None and group_id != found:
            raise ApiError(f'group "{group}" GID ({found}) does not match group-id ({group_id})')
        group_id = found
    if user_id is None:
        if group_id is not None:
            raise ApiError("must specify user, not just group")
        return {}
    if home is None:
        with contextlib.suppress(KeyError):
            home = pwd.getpwuid(user_id)
    if group_id is None:
        if home is None:
            raise ApiError(f"must specify group, not just UID {user_id}")
        group_id = home.pw_gid
    options: dict[str, Any] = {"entry": home}
    if (user_id, group_id) != (os.getuid(), os.getgid()):
        options |= {"user": user_id, "group": group_id, "extra_groups": []}
    return options


def environment(
    base: Mapping[str, str], extra: Mapping[str, str], entry: pwd.struct_passwd | None
) -> dict[str, str]:
    """A program's environment; HOME and USER follow the user unless they are given."""
    found = dict(base)
    if entry is not None:
        found |= {"HOME": entry.pw_dir, "USER": entry.pw_name}
    return found | {key: str(value) for key, value in extra.items()}
