"""A runtime in namespaces of its own, for tests: `python inside.py FOLDER TEST…`, needs root.

Each TEST is a coroutine function below; what it returns is printed as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from localjuju.engine import namespaces
from localjuju.node import spawn
from localjuju.node.runtime import Runtime

_PAUSE = "/charm/bin/pause"
_ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


class Pod:
    """One sandbox with one container that only waits."""

    def __init__(self, runtime: Runtime, folder: Path):
        self.runtime = runtime
        self.folder = folder
        self.container = 0

    async def start(self, *, share_pids: bool = False, containers: int = 1) -> Pod:
        """Starts the sandbox and the containers; `sh` runs in the last."""
        sandbox = await self.runtime.sandbox("pod", share_pids=share_pids)
        self.folder.mkdir(exist_ok=True)
        for number in range(containers):
            spec = {
                "sandbox": sandbox, "share_pids": share_pids,
                "folder": str(self.folder / str(number)), "image": None, "binds": [],
                "mounts": [], "files": {}, "read_only": False, "argv": [_PAUSE],
                "env": _ENVIRONMENT, "cwd": "/", "user": None, "group": None,
            }  # fmt: skip
            with (self.folder / "output").open("ab") as output:
                self.container = await self.runtime.container(spec, output.fileno())
        return self

    async def sh(self, script: str, timeout: float | None = 20) -> str:
        """What a shell in the container prints."""
        done = await self.runtime.exec(
            self.container, ["sh", "-c", script], _ENVIRONMENT, "/", timeout=timeout
        )
        return (done.stdout + done.stderr).decode()


async def environment(pod: Pod) -> Any:
    """The environment of the container's first process, and what of the host's can be seen."""
    return await pod.sh("tr '\\0' '\\n' </proc/1/environ")


async def oom_score(pod: Pod) -> Any:
    """How willing the kernel is to end a container, and the engine."""
    return [int(await pod.sh("cat /proc/self/oom_score_adj")), int(_own("oom_score_adj"))]


async def timed_out(pod: Pod) -> Any:
    """Whose processes are left when an exec has timed out that had started another."""
    with contextlib.suppress(asyncio.TimeoutError):
        await pod.sh("sleep 98764 & sleep 98764", timeout=0.3)
    return await pod.sh("sleep 0.1; cat /proc/[0-9]*/cmdline | tr '\\0' ' '")


async def shared_pids(pod: Pod) -> Any:
    """How many processes a container sees besides its shell, alone and in a sharing pod."""
    count = "set -- /proc/[0-9]*; echo $(($# - 1))"
    sharing = await Pod(pod.runtime, pod.folder / "sharing").start(share_pids=True, containers=2)
    return [int(await pod.sh(count)), int(await sharing.sh(count))]


TESTS: dict[str, Callable[[Pod], Awaitable[Any]]] = {
    function.__name__: function for function in (environment, oom_score, timed_out, shared_pids)
}


def _own(name: str) -> str:
    return Path("/proc/self", name).read_text()


async def _run(runtime: Runtime, folder: Path, names: list[str]) -> None:
    runtime.start()
    pod = await Pod(runtime, folder / "pod").start()
    print(json.dumps({name: await TESTS[name](pod) for name in names}), flush=True)


def main() -> int:
    """Runs inside the namespaces."""
    runtime = Runtime(spawn.fork({_PAUSE: spawn.pause}))
    asyncio.run(_run(runtime, Path(sys.argv[1]), sys.argv[2:]))
    return 0


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("needs root")
    namespaces.enter(main, "test")
