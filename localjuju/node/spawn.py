"""The parent of all containers: one small process that forks on request.

It is forked from the engine before any thread or event loop exists, so that forking stays safe,
and has imported what Pebble needs, so that forty Pebbles share those pages. Requests and answers
are JSON datagrams on a socket pair; open files travel with them.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from localjuju.node import identity, rootfs
from localkube.host import system

LARGEST_MESSAGE = 1 << 18
_MOST_FILES = 4
_MOST_DESCRIPTORS = 1 << 10
# Every container inherits it: when memory runs out, a container goes before the user's editor.
_OOM_SCORE = 500
_OWN_PIDS = "/proc/self/ns/pid"

Builtin = Callable[[Sequence[str]], int]


def fork(builtins: Mapping[str, Builtin]) -> socket.socket:
    """Starts the spawner and returns the engine's end of the pair.

    Args:
        builtins: programs that are called in the forked container instead of executed, by the
            path that a pod's command names.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LARGEST_MESSAGE * 4)
    parent = os.getpid()
    if os.fork():
        theirs.close()
        return ours
    ours.close()
    system.die_with_parent()
    if os.getppid() != parent:
        os._exit(1)
    system.prefer_to_kill(_OOM_SCORE)
    os.umask(0o022)  # the caller's would keep a container's user from what root makes for it
    code = 1
    try:
        _Spawner(theirs, builtins).serve()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


class _Spawner:
    def __init__(self, requests: socket.socket, builtins: Mapping[str, Builtin]):
        self._requests = requests
        self._builtins = builtins

    def serve(self) -> None:
        """Serves requests until the engine closes its end."""
        reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            ready, _, _ = select.select([self._requests, reading], [], [])
            if reading in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(reading, 4096)
                self._reap()
            if self._requests in ready and not self._serve_one():
                return

    def _reap(self) -> None:
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            self._answer(
                {
                    "exit": pid,
                    "code": code if code >= 0 else 128 - code,
                    "cpu": usage.ru_utime + usage.ru_stime,
                    "memory": usage.ru_maxrss * 1024,
                }
            )

    def _serve_one(self) -> bool:
        message, files, _, _ = socket.recv_fds(self._requests, LARGEST_MESSAGE, _MOST_FILES)
        if not message:
            return False
        request = json.loads(message)
        try:
            pid = getattr(self, f"_{request['kind']}")(request, files)
            self._answer({"request": request["request"], "pid": pid})
        except OSError as error:
            self._answer({"request": request["request"], "error": str(error)})
        finally:
            for file in files:
                os.close(file)
        return True

    def _answer(self, answer: dict[str, Any]) -> None:
        self._requests.send(json.dumps(answer).encode())

    # Kinds of requests -----------------------------------------------------------------------

    def _sandbox(self, request: dict[str, Any], files: list[int]) -> int:
        """The process that keeps a pod's network, IPC and host name.

        With shareProcessNamespace it is the first process of all the pod's containers, as
        Kubernetes' pause container is.
        """

        def body() -> NoReturn:
            system.unshare(system.CLONE_NEWNET | system.CLONE_NEWIPC | system.CLONE_NEWUTS)
            socket.sethostname(request["hostname"])
            os.write(files[0], b"1")
            os.close(files[0])
            os._exit(pause(()))

        if not request["share_pids"]:
            return self._fork(body, [])
        return self._fork_with_own_pids(body, [])

    def _network(self, request: dict[str, Any], files: list[int]) -> int:
        """Gives a pod's interface its address and route; ends when done."""

        def body() -> NoReturn:
            system.setns(f"/proc/{request['sandbox']}/ns/net", system.CLONE_NEWNET)
            from localkube.node.network import configure_pod

            configure_pod(request["address"], request["prefix"], request["gateway"])
            os._exit(0)

        return self._fork(body, [])

    def _container(self, request: dict[str, Any], files: list[int]) -> int:
        """A container: its first process in a process namespace of its own, or the pod's.

        The last of `files` is told when the container's file system is in place.
        """
        argv = request["argv"]
        *streams, ready = files

        def body() -> NoReturn:
            _join(request["sandbox"])
            system.unshare(system.CLONE_NEWNS)
            rootfs.build(request)
            # From here on another program may enter and finds the container's own files.
            os.write(ready, b"1")
            os.close(ready)
            builtin = self._builtins.get(argv[0])
            if builtin is None:
                _execute(request)
            os.environ.clear()
            os.environ.update(_environment(request))
            sys.argv = argv
            os.closerange(3, _MOST_DESCRIPTORS)  # the spawner's
            identity.become(_identity(request), executes=False)
            os._exit(builtin(argv[1:]))

        if request["share_pids"]:
            return self._fork_into(f"/proc/{request['sandbox']}/ns/pid", body, streams)
        return self._fork_with_own_pids(body, streams)

    def _exec(self, request: dict[str, Any], files: list[int]) -> int:
        """Another program in a container that runs."""
        target = f"/proc/{request['container']}/ns"

        def body() -> NoReturn:
            for name, kind in (
                ("net", system.CLONE_NEWNET),
                ("ipc", system.CLONE_NEWIPC),
                ("uts", system.CLONE_NEWUTS),
                ("mnt", system.CLONE_NEWNS),
            ):
                system.setns(f"{target}/{name}", kind)
            _execute(request)

        # The mount namespace comes last: after it, /proc is the container's.
        return self._fork_into(f"{target}/pid", body, files)

    def _fork_with_own_pids(self, body: Callable[[], NoReturn], files: list[int]) -> int:
        """Forks the first process of a new process namespace."""
        system.setns(_OWN_PIDS, system.CLONE_NEWPID)
        system.unshare(system.CLONE_NEWPID)
        try:
            return self._fork(body, files)
        finally:
            system.setns(_OWN_PIDS, system.CLONE_NEWPID)

    def _fork_into(self, pids: str, body: Callable[[], NoReturn], files: list[int]) -> int:
        """Forks into a process namespace that is there."""
        system.setns(pids, system.CLONE_NEWPID)
        try:
            return self._fork(body, files)
        finally:
            system.setns(_OWN_PIDS, system.CLONE_NEWPID)

    def _fork(self, body: Callable[[], NoReturn], files: list[int]) -> int:
        """Forks; the child gets `files` as stdin, stdout and stderr and ends with `body`."""
        pid = os.fork()
        if pid:
            return pid
        try:
            self._requests.close()
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            os.setsid()
            for number, file in enumerate(files):
                os.dup2(file, number)
            for file in files:
                if file > 2:
                    os.close(file)
            body()
        except OSError as error:
            os.write(2, f"cannot start: {error}\n".encode())
            os._exit(126)
        except BaseException:
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(125)


def _join(sandbox: int) -> None:
    for name, kind in (
        ("net", system.CLONE_NEWNET),
        ("ipc", system.CLONE_NEWIPC),
        ("uts", system.CLONE_NEWUTS),
    ):
        system.setns(f"/proc/{sandbox}/ns/{name}", kind)


def _execute(request: dict[str, Any]) -> NoReturn:
    """Becomes the user and the program; ends with 127 where there is no such program."""
    env = _environment(request)
    system.share_processors(system.NICE_OF_PODS)
    os.chdir(request["cwd"] or "/")
    identity.become(_identity(request), executes=True)
    argv = request["argv"]
    try:
        os.execvpe(argv[0], argv, env)
    except OSError as error:
        os.write(2, f"{argv[0]}: {error.strerror}\n".encode())
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


def _identity(request: dict[str, Any]) -> identity.Identity:
    user, group, groups = request["identity"]
    return identity.Identity(user, group, tuple(groups))


def _environment(request: dict[str, Any]) -> dict[str, str]:
    """As the runtime does: HOME is the user's, unless the image or the pod says another."""
    return {"HOME": identity.account(request["identity"][0]).home, **request["env"]}


def pause(_: Sequence[str]) -> int:
    """The program of a container that only has to be there: waits for SIGTERM, reaps orphans."""
    ended = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while not ended:
        signal.pause()
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
    return 0
