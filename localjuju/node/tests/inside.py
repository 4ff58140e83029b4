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
from dataclasses import astuple
from pathlib import Path
from typing import Any

from localjuju.node import spawn
from localjuju.node.identity import ROOT, Identity
from localjuju.node.runtime import Runtime
from localjuju.node.volumes import give_to_group
from localkube.host import namespaces

_PAUSE = "/charm/bin/pause"
_ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


class Pod:
    """One sandbox with one container that only waits."""

    def __init__(self, runtime: Runtime, folder: Path):
        self.runtime = runtime
        self.folder = folder
        self.container = 0
        self.identity = ROOT

    async def start(self, *, share_pids: bool = False, containers: int = 1, **changes: Any) -> Pod:
        """Starts the sandbox and the containers; `sh` runs in the last, as its user."""
        self.identity = Identity(*changes.get("identity", (0, None, ())))
        sandbox = await self.runtime.sandbox("pod", share_pids=share_pids)
        self.folder.mkdir(exist_ok=True)
        for number in range(containers):
            spec = {
                "sandbox": sandbox, "share_pids": share_pids,
                "folder": str(self.folder / str(number)), "image": None, "binds": [],
                "mounts": [], "files": {}, "read_only": False, "argv": [_PAUSE],
                "env": _ENVIRONMENT, "cwd": "/", "identity": astuple(self.identity),
                "writable": [], "owner": [0, None], **changes,
            }  # fmt: skip
            with (self.folder / "output").open("ab") as output:
                self.container = await self.runtime.container(spec, output.fileno())
        return self

    async def sh(self, script: str, timeout: float | None = 20) -> str:
        """What a shell in the container prints."""
        done = await self.runtime.exec(
            self.container, ["sh", "-c", script], _ENVIRONMENT, "/",
            identity=self.identity, timeout=timeout,
        )  # fmt: skip
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


async def own_user(pod: Pod) -> Any:
    """Ids, home and what may be written to in a container of an image with a user of its own."""
    image = pod.folder / "image"
    (image / "etc").mkdir(parents=True)
    (image / "etc/passwd").write_text("jovyan:x:1000:100::/home/jovyan:/bin/sh\n")
    (image / "etc/group").write_text("users:x:100:\nextra:x:7:jovyan\n")
    (image / "home/jovyan").mkdir(parents=True)
    (image / "home/jovyan/notes").write_text("of the image")
    made = await Pod(pod.runtime, pod.folder / "user").start(
        image=str(image), identity=(1000, None, (170,)), owner=[1000, None],
        writable=["/home/jovyan", "/var/own"], cwd="/srv/app",
    )  # fmt: skip
    written = {}
    for folder in ("/", "/etc", "/srv/app", "/usr/bin", "/home/jovyan", "/var/own", "/tmp"):
        written[folder] = await made.sh(f"touch {folder}/x 2>/dev/null && echo yes || echo no")
    await made.sh("echo more >>$HOME/notes")
    return {
        "ids": await made.sh("id -u; id -g; id -G"),
        "first": await made.sh("grep -E '^(Uid|Gid|Groups|CapEff)' /proc/1/status"),
        "home": await made.sh("echo $HOME; cat $HOME/notes"),
        "tmp": await made.sh("stat -c %a /tmp"),
        "stdout": await made.sh("echo said >/dev/stdout"),
        "written": {folder: text.strip() for folder, text in written.items()},
        "image": (image / "home/jovyan/notes").read_text(),
    }


async def read_only_root(pod: Pod) -> Any:
    """What may be written to where the root is read-only."""
    volume = pod.folder / "data"
    volume.mkdir()
    made = await Pod(pod.runtime, pod.folder / "read-only").start(
        read_only=True,
        mounts=[{"source": str(volume), "target": "/data", "read_only": False}],
    )  # fmt: skip
    return {
        folder: await made.sh(f"touch {folder}/x 2>/dev/null && echo yes || echo no")
        for folder in ("/", "/etc", "/usr/bin", "/tmp", "/data")
    }


async def volumes_of_a_group(pod: Pod) -> Any:
    """What a user may do in a pod's volumes through the pod's group."""
    claim, empty = pod.folder / "claim", pod.folder / "empty"
    for folder in (claim, empty):
        folder.mkdir(mode=0o755)
    (claim / "kept").write_text("of an earlier pod")
    (claim / "kept").chmod(0o600)
    (claim / "link").symlink_to("/etc/hostname")
    before = Path("/etc/hostname").stat().st_gid
    for folder in (claim, empty):
        give_to_group(folder, 170, read_only=False)
    made = await Pod(pod.runtime, pod.folder / "group").start(
        identity=(65532, 65532, (170,)),
        mounts=[
            {"source": str(source), "target": f"/{source.name}", "read_only": False}
            for source in (claim, empty)
        ],
    )  # fmt: skip
    return {
        "claim": await made.sh("cat /claim/kept; echo more >>/claim/kept; stat -c '%a %g' /claim"),
        "empty": await made.sh("mkdir /empty/new && stat -c '%u %g' /empty/new"),
        "followed": Path("/etc/hostname").stat().st_gid != before,
    }


async def own_bin(pod: Pod) -> Any:
    """Programs of an image that has /bin and /lib of its own, beside the host's."""
    image = pod.folder / "merged"
    for name, text in (("bin", "top"), ("usr/bin", "usr"), ("lib", "library")):
        (image / name).mkdir(parents=True)
        program = image / name / f"its-{text}"
        program.write_text(f"#!/bin/sh\necho {text}\n")
        program.chmod(0o755)
    made = await Pod(pod.runtime, pod.folder / "bin").start(image=str(image))
    return await made.sh("its-top; /bin/its-usr; /lib/its-library; /usr/bin/env echo host")


TESTS: dict[str, Callable[[Pod], Awaitable[Any]]] = {
    function.__name__: function
    for function in (
        environment, oom_score, timed_out, shared_pids, own_user, read_only_root,
        volumes_of_a_group, own_bin,
    )
}  # fmt: skip


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
