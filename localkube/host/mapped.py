"""A plain user's way to run a node: a user namespace with a range of ids (user_namespaces(7)).

Its root is the user outside; the ids above are those that the system has set aside for the user in
/etc/subuid and /etc/subgid (subuid(5)). newuidmap(1) and newgidmap(1) write the map: the kernel
lets a plain user map no id but its own.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from localkube.host import namespaces, system
from localkube.host.errors import EngineError

_COUNT = 65536  # ids that images use: 65534 is nobody's
_FILES = (Path("/etc/subuid"), Path("/etc/subgid"))
_PROGRAMS = ("newuidmap", "newgidmap")
_WHOLE = 4294967295  # the length of the map where no namespace has been made


def is_inside() -> bool:
    """Whether this process is in a user namespace, where it is root of its own things only."""
    return [line.split()[2] for line in _map()] != [str(_WHOLE)]


def _map() -> list[str]:
    return Path("/proc/self/uid_map").read_text().splitlines()


def ranges(files: Sequence[Path] = _FILES) -> list[int]:
    """The first of the ids that are set aside for this user: of users, and of groups.

    Args:
        files: as subuid(5) and subgid(5) describe them.

    Raises:
        EngineError: too few are; names the command that sets them aside.
    """
    name = _user()
    found = [_first(file, name) for file in files]
    if None in found:
        raise EngineError(
            f"no {_COUNT} subordinate ids for {name} in {files[found.index(None)]}: run as root, "
            "or once as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 "
            f"{name}"
        )
    return [number for number in found if number is not None]


def check() -> None:
    """What can be told before a namespace is made.

    Raises:
        EngineError: something is missing; names the command that brings it.
    """
    if os.geteuid() == 0:
        have = sum(int(line.split()[2]) for line in _map())
        if have < _COUNT:
            raise EngineError(
                f"this user namespace has {have} of the {_COUNT} ids that pods need: run outside "
                "of it"
            )
        return
    if missing := [name for name in _PROGRAMS if shutil.which(name) is None]:
        raise EngineError(
            f"{' and '.join(missing)} missing: run as root, or once as root: apt-get install "
            "uidmap"
        )
    ranges()


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _first(file: Path, name: str) -> int | None:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        whose, _, numbers = line.strip().partition(":")
        first, _, count = numbers.partition(":")
        if whose not in (name, str(os.geteuid())):
            continue
        if not (first.isdecimal() and count.isdecimal()):
            continue
        if int(count) >= _COUNT:
            return int(first)
    return None


def enter() -> None:
    """Makes this process, which has one thread, the root of a new user namespace.

    Nothing happens where it is root already.

    Raises:
        EngineError: what it needs is not there, or the kernel refuses.
    """
    if os.geteuid() == 0:
        return
    check()
    firsts = ranges()
    own = os.geteuid(), os.getegid()
    pid = os.getpid()
    apart, told = os.pipe()
    heard, said = os.pipe()
    mapper = os.fork()
    if mapper == 0:
        os.close(told)
        os.dup2(said, 2)
        code = 1
        try:
            if os.read(apart, 1):  # else the namespace could not be made
                code = _write_maps(pid, own, firsts)
        finally:
            os._exit(code)
    os.close(apart)
    os.close(said)
    try:
        namespaces.unshare(system.CLONE_NEWUSER)
        os.write(told, b"1")
    finally:
        os.close(told)
        with os.fdopen(heard, errors="replace") as words:
            why = " ".join(words.read().split())
        _, status = os.waitpid(mapper, 0)
    if status != 0:
        raise EngineError(
            f"{why or 'newuidmap or newgidmap refuses'}: run as root, or once as root: apt-get "
            "install --reinstall uidmap"
        )


def _write_maps(pid: int, own: tuple[int, int], firsts: Sequence[int]) -> int:
    for program, mine, first in zip(_PROGRAMS, own, firsts, strict=True):
        told = [program, pid, 0, mine, 1, 1, first, _COUNT]
        if (code := subprocess.run([str(word) for word in told], check=False).returncode) != 0:
            return code
    return 0


def run(function: Callable[[], None]) -> None:
    """Calls a function as root, which may touch what the ids of pods own.

    Where this process is a plain user's, another one does it in a namespace.

    Raises:
        EngineError: what the function raises, or what `enter` does; or that process was ended.
    """
    if os.geteuid() == 0:
        function()
        return
    said, told = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(said)
        code = 1
        try:
            enter()
            function()
            code = 0
        except (EngineError, OSError) as error:
            os.write(told, os.fsencode(str(error)))
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(told)
    with os.fdopen(said, "rb") as answer:
        why = os.fsdecode(answer.read())
    _, status = os.waitpid(child, 0)
    if code := os.waitstatus_to_exitcode(status):
        raise EngineError(why or f"the process in a user namespace ended with {code}")
