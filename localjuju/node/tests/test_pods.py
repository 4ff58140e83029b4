"""How a pod ends: which object is deleted, and how a container is asked to stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from lightkube import codecs
from lightkube.resources.core_v1 import Pod

from localjuju.images import Image
from localjuju.node.container import Container, Sandbox
from localjuju.node.hostpaths import HostPaths
from localjuju.node.pod import PodWorker, Services
from localjuju.node.runtime import Ended
from localkube.host.errors import EngineError
from localkube.node.client import delete_exactly


def pod(uid: str = "u1", **spec: Any) -> Any:
    return codecs.from_dict(
        {
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "app-0", "namespace": "m", "uid": uid},
            "spec": {"containers": [{"name": "c", "image": "i"}], **spec},
        }
    )  # fmt: skip


class Cluster:
    """An API server that has one pod."""

    def __init__(self, there: Any):
        self.there = there
        self.deleted: list[str] = []

    async def get(self, kind: Any, name: str, namespace: str) -> Any:
        return self.there

    async def delete(self, kind: Any, name: str, namespace: str, grace_period: int) -> None:
        self.deleted.append(self.there.metadata.uid)


async def test_a_pod_s_successor_of_the_same_name_is_not_deleted():
    cluster: Any = Cluster(pod("u2"))
    await delete_exactly(cluster, Pod, pod("u1"))
    assert cluster.deleted == []
    await delete_exactly(cluster, Pod, pod("u2"))
    assert cluster.deleted == ["u2"]


def services(
    folder: Path, forgotten: asyncio.Future[bool], runtime: Any = None, pull: Any = None
) -> Services:
    """What a pod works with; a runtime is its network, too."""
    anything: Any = None

    async def nothing(*_: Any) -> Any:
        return None

    async def forget(pod: Any, delete: bool) -> None:
        forgotten.set_result(delete)

    return Services(
        folder, folder / "logs", runtime, runtime, pull, nothing, anything, anything,
        nothing, forget, {}, HostPaths([]),
    )  # fmt: skip


@pytest.mark.parametrize("forced", [True, False])
async def test_a_pod_deleted_by_force_has_no_object_left_to_delete(tmp_path: Path, forced: bool):
    forgotten: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    made = pod(volumes=[{"name": "v", "configMap": {"name": "none"}}])
    worker = PodWorker(made, services(tmp_path, forgotten))
    if forced:
        worker.vanished()
    else:
        made.metadata.deletionTimestamp = "2026-01-01T00:00:00Z"
        made.metadata.deletionGracePeriodSeconds = 0
        worker.update(made)
    assert await asyncio.wait_for(forgotten, 10) is not forced
    await worker.task


class Starts:
    """A runtime whose first container takes a while to start; all that it starts are processes."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.processes: dict[int, subprocess.Popen[bytes]] = {}

    async def sandbox(self, *_: Any, **__: Any) -> int:
        process = subprocess.Popen(["sleep", "60"])
        self.processes[process.pid] = process
        return process.pid

    async def attach(self, _: int) -> tuple[str, int, str]:
        return "10.1.0.2", 16, "10.1.0.1"

    async def configure(self, *_: Any) -> None:
        pass

    def release(self, _: str) -> None:
        pass

    async def container(self, spec: Mapping[str, Any], _: int) -> int:
        (name,) = spec["argv"]
        self.events.append(f"{name} begins")
        await asyncio.sleep(0.3 if name == "first" else 0)
        self.events.append(f"{name} is there")
        return await self.sandbox()

    async def wait(self, pid: int) -> Ended:
        return Ended(await asyncio.to_thread(self.processes[pid].wait), 0.0, 0)


async def test_containers_start_in_their_order_and_one_without_an_image_holds_up_none(
    tmp_path: Path,
):
    forgotten: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    runtime = Starts()

    async def pull(reference: str) -> Image:
        if reference == "none":
            raise EngineError("no such image")
        return Image(reference, "path", tmp_path)

    names = ("first", "lost", "last")
    made = pod(
        containers=[
            {"name": each, "image": "none" if each == "lost" else "i", "command": [each]}
            for each in names
        ]
    )
    worker = PodWorker(made, services(tmp_path, forgotten, runtime, pull))
    while "last is there" not in runtime.events:
        await asyncio.sleep(0.05)
    assert runtime.events == ["first begins", "first is there", "last begins", "last is there"]
    shown: list[str] = []
    while shown[-1:] != ["ImagePullBackOff"]:  # the pull failed, and is waited with
        await asyncio.sleep(0.05)
        status = worker.status()
        assert status["phase"] == "Pending"  # one of them has never run
        shown.append(status["containerStatuses"][1]["state"]["waiting"]["reason"])
    assert shown[0] == "ErrImagePull"
    made.metadata.deletionTimestamp = "2026-01-01T00:00:00Z"
    made.metadata.deletionGracePeriodSeconds = 0
    worker.update(made)
    assert await asyncio.wait_for(forgotten, 10)
    await worker.task


class Processes:
    """A runtime whose containers are processes of this test."""

    def __init__(self, script: str):
        self.script = script
        self.process: subprocess.Popen[bytes] | None = None

    async def container(self, spec: Mapping[str, Any], output: int) -> int:
        reading, writing = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-c", self.script], stdout=writing, stderr=output
        )
        os.close(writing)
        await asyncio.to_thread(os.read, reading, 1)  # its signal handler is in place
        os.close(reading)
        return self.process.pid

    async def wait(self, pid: int) -> Ended:
        assert self.process is not None
        return Ended(await asyncio.to_thread(self.process.wait), 0.0, 0)

    async def exec(self, *_: Any, **__: Any) -> Any:
        raise OSError("no such probe")


_UNTIL_TERMINATED = """
import os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
os.write(1, b"r")
signal.pause()
"""
_DEAF = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.write(1, b"r")
time.sleep(60)
"""


_GREEDY = """
import os, subprocess, sys
os.write(1, b"r")
child = "import time; x = b'x' * 10**8; time.sleep(1.5); raise SystemExit(1)"
sys.exit(subprocess.run([sys.executable, "-c", child]).returncode)
"""


def failing(grace: int) -> dict[str, Any]:
    """A liveness probe that fails at once."""
    return {
        "livenessProbe": {
            "exec": {"command": ["x"]}, "failureThreshold": 1,
            "terminationGracePeriodSeconds": grace,
        }
    }  # fmt: skip


class Probed(Processes):
    """A runtime whose probes answer with these exit codes, the last one for ever."""

    def __init__(self, script: str, **codes: list[int]):
        super().__init__(script)
        self.codes = codes
        self.asked: list[str] = []

    async def exec(self, _: int, argv: list[str], *__: Any, **___: Any) -> Any:
        (name,) = argv
        self.asked.append(name)
        codes = self.codes[name]
        return Ended(codes.pop(0) if len(codes) > 1 else codes[0], 0.0, 0)


async def run(tmp_path: Path, script: str, runtime: Any = None, **spec: Any) -> Container:
    """A container, until it has ended."""
    made = pod(containers=[{"name": "c", "image": "i", "command": ["x"], **spec}])
    runtime = runtime or Processes(script)

    async def pull(reference: str) -> Image:
        return Image(reference, "path", tmp_path)

    async def lookup(kind: str, name: str) -> None:
        return None

    sandbox = Sandbox(
        made, tmp_path, tmp_path / "logs", 1, "10.1.0.2", runtime, pull, lookup, {}, {},
        lambda: None,
    )  # fmt: skip
    container = Container(sandbox, made.spec.containers[0], init=False, restarts=0)
    try:
        await asyncio.wait_for(container.run("Never"), 30)
    finally:
        with contextlib.suppress(ProcessLookupError):
            runtime.process.kill()
    return container


async def test_a_failed_liveness_probe_lets_the_container_shut_down(tmp_path: Path):
    container = await run(tmp_path, _UNTIL_TERMINATED, **failing(grace=30))
    assert container.finished == 3
    assert container.state["terminated"]["message"] == "the liveness probe failed"


async def test_whether_it_is_ready_and_lives_is_asked_once_it_has_started_and_then_at_once(
    tmp_path: Path,
):
    runtime = Probed(_UNTIL_TERMINATED, start=[1, 0], ready=[0], live=[1])

    def probe(name: str) -> dict[str, Any]:
        return {"exec": {"command": [name]}, "periodSeconds": 1, "failureThreshold": 2}

    container = await run(
        tmp_path, _UNTIL_TERMINATED, runtime, startupProbe=probe("start"),
        readinessProbe=probe("ready"), livenessProbe=probe("live"),
    )  # fmt: skip
    assert runtime.asked[:2] == ["start", "start"]
    assert set(runtime.asked[2:4]) == {"ready", "live"}
    assert "start" not in runtime.asked[4:]
    assert container.state["terminated"]["message"] == "the liveness probe failed"


async def test_a_container_that_does_not_listen_is_killed_after_the_grace(tmp_path: Path):
    assert (await run(tmp_path, _DEAF, **failing(grace=1))).finished == -9


@pytest.mark.parametrize(
    ("most", "code", "reason"), [("32Mi", -9, "OOMKilled"), ("1Gi", 1, "Error")]
)
async def test_a_container_that_takes_more_memory_than_its_limit_is_killed(
    tmp_path: Path, most: str, code: int, reason: str
):
    container = await run(tmp_path, _GREEDY, resources={"limits": {"memory": most}})
    assert container.finished == code
    assert container.state["terminated"]["reason"] == reason
