"""A bench for agents without Kubernetes: pods are folders, dispatch is a process on this machine.

Hook commands are the real ones; Pebble is the engine's own. Needs root, for mount namespaces.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import shutil
import subprocess
import sys
import time
import uuid
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from localjuju.agent.commands import COMMANDS, REFUSED
from localjuju.model import ports
from localjuju.model.controller import ModelController
from localjuju.model.substrate import ApplicationSpec, Pod

MODEL = "bench"
CPU_SECONDS = 0.25  # what every program in a pod is said to have used
_REPOSITORY = Path(__file__).resolve().parents[3]
_ENTER = r"""
set -e
new=$1 state=$2 data=$3 directory=$4
shift 4
mount -t tmpfs tmpfs "$new"
for path in /*; do
  name=${path#/}
  case $name in var|run|charm|proc) continue;; esac
  if [ -L "$path" ]; then ln -s "$(readlink "$path")" "$new/$name"
  elif [ -d "$path" ]; then mkdir "$new/$name"; mount --rbind "$path" "$new/$name"; fi
done
account=$new/var/run/secrets/kubernetes.io/serviceaccount
mkdir -p "$account"
echo token-of-the-pod > "$account/token"
echo certificate > "$account/ca.crt"
mkdir -p "$new/proc" "$new/var/lib/juju" "$new/run/juju" "$new/charm/containers"
mount --bind "$data/var/lib/juju" "$new/var/lib/juju"
mount --bind "$data/charm/containers" "$new/charm/containers"
mount --bind "$state/agent" "$new/run/juju"
mount -t proc proc "$new/proc"
chroot "$new" /bin/sh -c 'cd "$1"; shift; exec "$@"' sh "$directory" "$@"
exit $?
"""
# A process namespace: whatever a program started ends with it, and it ends with the tests.
_OWN_PROCESSES = ["setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child"]


@dataclass
class Result:
    code: int
    stdout: bytes = b""
    stderr: bytes = b""
    cpu_seconds: float = 0.0


class LocalNode:
    """Plays Kubernetes and the node: a pod lives as long as its folder."""

    def __init__(self, state: Path, tools: Path):
        self._state, self._tools = state, tools
        self._pods: dict[tuple[str, str], Pod] = {}
        self._pebbles: dict[tuple[str, str], list[subprocess.Popen[bytes]]] = {}
        self._listeners: list[Callable[[str], None]] = []
        self.specs: dict[tuple[str, str], ApplicationSpec] = {}
        self._running: dict[asyncio.subprocess.Process, tuple[str, str]] = {}
        self.broken: Exception | None = None  # what running a program in a pod ends with
        self.dispatches = 0

    # Cluster ---------------------------------------------------------------------------------

    def on_change(self, listener: Callable[[str], None]) -> None:
        self._listeners.append(listener)

    def pod(self, model: str, name: str) -> Pod | None:
        return self._pods.get((model, name))

    def address(self, model: str, application: str) -> str:
        return "10.152.183.77" if (model, application) in self.specs else ""

    async def start(self) -> None: ...

    async def stop(self) -> None:
        for model, name in list(self._pebbles):
            self._stop_pebbles(model, name)

    async def add_model(self, model: str, uuid: str) -> None: ...

    async def remove_model(self, model: str) -> None:
        assert not [name for where, name in self._pods if where == model]

    async def apply(self, spec: ApplicationSpec) -> None:
        self.specs[spec.model, spec.name] = spec
        names = [f"{spec.name}-{number}" for number in range(spec.scale)]
        for model, name in self._of(spec.model, spec.name):
            if name not in names:
                self._remove(model, name)
        for name in names:
            if (spec.model, name) not in self._pods:
                self._add(spec, name)
        self._tell(spec.model)

    async def remove(self, model: str, application: str, destroy_storage: bool) -> None:
        for where, name in self._of(model, application):
            self._remove(where, name)
        self.specs.pop((model, application), None)

    async def remove_claim(self, model: str, name: str) -> None: ...

    async def storage_classes(self) -> dict[str, str]:
        return {}

    def _of(self, model: str, application: str) -> list[tuple[str, str]]:
        return [
            (where, name)
            for where, name in self._pods
            if where == model and name.rpartition("-")[0] == application
        ]

    async def replace_pod(self, model: str, name: str, uid: str) -> None:
        if self._pods[model, name].uid == uid:
            self.churn(name, model)

    def churn(self, name: str, model: str = MODEL) -> None:
        """The pod goes and comes again, its folder empty."""
        spec = self.specs[model, name.rpartition("-")[0]]
        self._remove(model, name)
        self._add(spec, name)
        self._tell(model)

    def terminate(self, name: str) -> None:
        """The pod is told to go, and still runs."""
        pod = self._pods[MODEL, name]
        self._pods[MODEL, name] = dataclasses.replace(pod, terminating=True)
        self._tell(MODEL)

    def _add(self, spec: ApplicationSpec, name: str) -> None:
        uid = str(uuid.uuid4())
        data = self.volume_path(spec.model, name, "charm-data")
        (data / "var/lib/juju").mkdir(parents=True)
        (data / "charm/containers").mkdir(parents=True)
        self._pebbles[spec.model, name] = [
            self._pebble(data, container) for container in spec.charm.containers
        ]
        self._pods[spec.model, name] = Pod(uid, "127.0.0.1", spec.modified, True, ready=True)

    def _pebble(self, data: Path, container: str) -> subprocess.Popen[bytes]:
        folder = data / "charm/containers" / container
        folder.mkdir(parents=True)
        environment = {
            **os.environ, "PYTHONPATH": str(_REPOSITORY), "PEBBLE": str(folder / "pebble"),
            "PEBBLE_SOCKET": "pebble.socket",  # a unix socket's path has 107 bytes at most
        }  # fmt: skip
        return subprocess.Popen(
            [
                *_OWN_PROCESSES,
                "--mount-proc",
                sys.executable,
                "-m",
                "localjuju.pebble",
                "run",
                "--create-dirs",
                "--hold",
            ],
            env=environment,
            cwd=folder,
        )

    def restart_pebble(self, name: str, container: str) -> None:
        self._stop_pebbles(MODEL, name)
        data = self.volume_path(MODEL, name, "charm-data")
        shutil.rmtree(data / "charm/containers" / container)
        self._pebbles[MODEL, name] = [self._pebble(data, container)]

    def _remove(self, model: str, name: str) -> None:
        del self._pods[model, name]
        for process in [p for p, pod in self._running.items() if pod == (model, name)]:
            process.kill()
        self._stop_pebbles(model, name)
        shutil.rmtree(self._folder(model, name))
        self._tell(model)

    def _stop_pebbles(self, model: str, name: str) -> None:
        for process in self._pebbles.pop((model, name), []):
            process.kill()
            process.wait()

    def _tell(self, model: str) -> None:
        for listener in self._listeners:
            listener(model)

    # Node ------------------------------------------------------------------------------------

    def _folder(self, namespace: str, pod: str) -> Path:
        return self._state / "pods" / namespace / pod

    def volume_path(self, namespace: str, pod: str, volume: str) -> Path:
        return self._folder(namespace, pod) / volume

    async def exec(
        self, namespace: str, pod: str, container: str, argv: Sequence[str], *,
        env: Mapping[str, str] | None = None, cwd: str | None = None,
        stdin: bytes | None = None, on_line: Callable[[str, str], None] | None = None,
    ) -> Result:  # fmt: skip
        assert container == "charm"
        self.dispatches += env is not None
        env = {"PATH": os.environ["PATH"]} if env is None else env
        if self.broken:
            raise self.broken
        root = self._state / "root"
        root.mkdir(exist_ok=True)
        environment = {**env, "PATH": f"{self._tools}:{env['PATH']}"}
        data = self.volume_path(namespace, pod, "charm-data")
        process = await asyncio.create_subprocess_exec(
            *_OWN_PROCESSES, "--mount", "--propagation", "private", "sh", "-c", _ENTER, "sh",
            root, self._state, data, cwd or "/", *argv, env=environment,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        self._running[process] = namespace, pod
        try:
            assert process.stdin is not None
            process.stdin.write(stdin or b"")
            process.stdin.close()
            if on_line is None:
                assert process.stdout is not None
                assert process.stderr is not None
                streams = await asyncio.gather(process.stdout.read(), process.stderr.read())
                return Result(await process.wait(), *streams)
            await asyncio.gather(*(
                self._lines(reader, stream, on_line)
                for stream, reader in (("stdout", process.stdout), ("stderr", process.stderr))
            ))  # fmt: skip
            return Result(await process.wait(), cpu_seconds=CPU_SECONDS)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            del self._running[process]

    async def _lines(self, reader: Any, stream: str, on_line: Any) -> None:
        async for line in reader:
            on_line(stream, line.decode())


def build_tools(folder: Path) -> Path:
    """The hook commands, built from localjuju/inpod; needs Go."""
    folder.mkdir(parents=True, exist_ok=True)
    binary = folder / "inpod"
    subprocess.run(
        ["go", "build", "-o", binary, "."], cwd=_REPOSITORY / "localjuju/inpod", check=True,
        env={**os.environ, "CGO_ENABLED": "0"},
    )  # fmt: skip
    for name in [*COMMANDS, *REFUSED]:
        (folder / name).symlink_to(binary)
    return folder


def pack(
    folder: Path, name: str, *, script: str = "", python: str = "", options: Any = None,
    actions: Any = None, **metadata: Any,
) -> Path:  # fmt: skip
    """A charm whose dispatch is a shell `script`, or a Python program with ops at hand."""
    documents = {
        "metadata.yaml": {"name": name, "summary": "", "description": "", **metadata},
        "config.yaml": {"options": options or {}},
        "actions.yaml": actions or {},
        "manifest.yaml": {"bases": [{"name": "ubuntu", "channel": "24.04"}]},
    }
    dispatch = f"#!/bin/sh\nset -e\n{script}\n"
    if python:
        packages = Path(yaml.__file__).parents[1]
        dispatch += f"PYTHONPATH={packages} exec {sys.executable} src/charm.py\n"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{uuid.uuid4().hex[:6]}.charm"
    with zipfile.ZipFile(path, "w") as archive:
        for filename, document in documents.items():
            archive.writestr(filename, yaml.safe_dump(document))
        info = zipfile.ZipInfo("dispatch")
        info.external_attr = 0o755 << 16
        archive.writestr(info, dispatch)
        if python:
            archive.writestr("src/charm.py", python)
    return path


class Bench:
    """An engine's model with its agents, and the record that charms write."""

    def __init__(self, state: Path, tools: Path):
        self.state, self._tools = state, tools
        self.node = LocalNode(state, tools)
        self.controller = ModelController(state, state / "none", self.node, self.node)
        self.record = state / "record"

    @property
    def api(self) -> Any:
        return self.controller.api

    async def start(self) -> None:
        await self.controller.start()

    async def stop(self) -> None:
        await self.controller.stop()
        await self.node.stop()

    async def restart(self) -> None:
        """As after kill -9: agents end at once, what ran in pods ends, pods come again."""
        pods, specs = self.node._pods, self.node.specs
        await self.controller.stop()
        self.node._listeners.clear()
        self.node._pods, self.node.specs = pods, specs
        self.controller = ModelController(self.state, self.state / "none", self.node, self.node)
        await self.controller.start()

    def charm(self, name: str, script: str = "", **more: Any) -> Path:
        """A charm that records every dispatch, then runs `script`."""
        record = (
            f'echo "$JUJU_UNIT_NAME ${{JUJU_DISPATCH_PATH#*/}}'
            "${JUJU_REMOTE_UNIT:+ from $JUJU_REMOTE_UNIT}"
            f'${{JUJU_DEPARTING_UNIT:+ departing $JUJU_DEPARTING_UNIT}}" >> {self.record}\n'
        )
        return pack(self.state / "packed", name, script=record + script, **more)

    async def deploy(self, charm: Path, application: str = "", **more: Any) -> None:
        if not self.api.models():
            await self.api.add_model(MODEL)
        await self.api.deploy(MODEL, str(charm), application, **more)

    def hooks(self, unit: str = "") -> list[str]:
        """What was dispatched, in order; of one unit, without its name."""
        lines = self.record.read_text().splitlines() if self.record.exists() else []
        if not unit:
            return lines
        return [line.partition(" ")[2] for line in lines if line.split(" ")[0] == unit]

    def forget(self) -> None:
        self.record.unlink(missing_ok=True)

    def unit(self, name: str) -> dict[str, Any]:
        row = self.controller.db.one("SELECT * FROM units WHERE name = ?", name)
        assert row is not None, f"{name} is gone"
        return row

    def ports(self, name: str) -> list[str]:
        """What a unit has open."""
        return ports.plain(ports.of(self.unit(name)))

    async def until(self, done: Callable[[], Any], seconds: float = 60) -> Any:
        """Waits until `done()` is true; what it is, is returned."""
        deadline = time.monotonic() + seconds
        while not (value := done()):
            assert time.monotonic() < deadline, (
                f"not so after {seconds} s; hooks: {self.hooks()}; "
                f"{[(u['name'], u['agent_status'], u['message']) for u in self._units()]}"
            )
            await asyncio.sleep(0.02)
        return value

    def _units(self) -> list[dict[str, Any]]:
        return self.controller.db.all("SELECT * FROM units")

    async def idle(self, seconds: float = 60) -> None:
        """Waits until every unit has run all it has to run."""

        def still() -> bool:
            units = self._units()
            return all(
                unit["agent_status"] == "idle" and not unit["agent"]["queued"]
                and unit["agent"]["started"] and unit["life"] == "alive" for unit in units
            )  # fmt: skip

        quiet = 0
        while quiet < 3:
            await self.until(still, seconds)
            await asyncio.sleep(0.03)
            quiet = quiet + 1 if still() else 0

    async def task(self, unit: str, action: str, **params: Any) -> dict[str, Any]:
        number = self.api.run(MODEL, unit, action, params)["task"]
        return await self.finished(number)

    async def finished(self, number: str) -> dict[str, Any]:
        ends = ("completed", "failed", "aborted", "cancelled")
        await self.until(lambda: self.api.task(MODEL, number)["status"] in ends)
        return self.api.task(MODEL, number)
