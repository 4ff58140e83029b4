"""A bench for agents without Kubernetes: a pod is a folder and a process of this machine.

The charm container's agent, the hook commands and Pebble are the real ones. Needs root, for mount
namespaces.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
import uuid
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from localjuju.agent.commands import COMMANDS, REFUSED
from localjuju.agent.hooks import Hook
from localjuju.inpod.tests.program import build
from localjuju.model import ports
from localjuju.model.changes import end
from localjuju.model.controller import ModelController
from localjuju.model.substrate import ApplicationSpec, Claim, Incoming, Pod, Tell
from localjuju.streams import BLOCK, STDERR, STDOUT
from localkube.host.system import kill_group

MODEL = "bench"
_REPOSITORY = Path(__file__).resolve().parents[3]
_ENTER = r"""
set -e
new=$1 state=$2 data=$3 tools=$4 token=$5
shift 5
mount -t tmpfs tmpfs "$new"
for path in /*; do
  name=${path#/}
  case $name in var|run|charm|proc) continue;; esac
  if [ -L "$path" ]; then ln -s "$(readlink "$path")" "$new/$name"
  elif [ -d "$path" ]; then mkdir "$new/$name"; mount --rbind "$path" "$new/$name"; fi
done
account=$new/var/run/secrets/kubernetes.io/serviceaccount
mkdir -p "$account"
echo "$token" > "$account/token"
echo certificate > "$account/ca.crt"
mkdir -p "$new/proc" "$new/var/lib/juju" "$new/run/juju" "$new/charm/containers"
mount --bind "$data/var/lib/juju" "$new/var/lib/juju"
mount --bind "$data/charm/containers" "$new/charm/containers"
mount --bind "$state/agent" "$new/run/juju"
mount -t proc proc "$new/proc"
# A folder of the PATH that hooks have.
mount --bind "$tools" "$new/usr/local/sbin"
exec chroot "$new" "$@"
"""
# A process namespace: whatever a program started ends with it, and it ends with the tests.
_OWN_PROCESSES = ["setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child"]


class LocalNode:
    """Plays Kubernetes and the node: a pod lives as long as its folder."""

    def __init__(self, state: Path, tools: Path):
        self._state, self._tools = state, tools
        self._pods: dict[tuple[str, str], Pod] = {}
        self._pebbles: dict[tuple[str, str], list[subprocess.Popen[bytes]]] = {}
        self._listeners: list[Callable[[str, str], None]] = []
        self.specs: dict[tuple[str, str], ApplicationSpec] = {}
        self._broken: dict[str, asyncio.Task[None]] = {}
        self._rolling: dict[tuple[str, str], asyncio.Task[None]] = {}
        self.ready = asyncio.Event()  # whether pods that come in place of others are ready
        self.ready.set()
        self._agents: dict[tuple[str, str], tuple[subprocess.Popen[bytes], int]] = {}

    # Cluster ---------------------------------------------------------------------------------

    def on_change(self, listener: Callable[[str, str], None]) -> None:
        self._listeners.append(listener)

    def pod(self, model: str, name: str) -> Pod | None:
        return self._pods.get((model, name))

    def address(self, model: str, application: str) -> str:
        return "10.152.183.77" if (model, application) in self.specs else ""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def stop_rolling(self) -> None:
        """Pods of before a refresh stay: the engine is about to go, whom they ask first."""
        await end(self._rolling.values())

    async def end(self) -> None:
        """Pods outlive the engine, not the bench."""
        await end(self._broken.values())
        for model, name in list(self._pebbles):
            self._stop_pebbles(model, name)
            self.stop_agent(name, model)

    async def add_model(self, model: str, uuid: str) -> None: ...

    async def remove_model(self, model: str, uuid: str) -> None:
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
        self._tell(spec.model, spec.name)
        if self._outdated(spec) and (spec.model, spec.name) not in self._rolling:
            rolling = asyncio.create_task(self._roll(spec.model, spec.name))
            self._rolling[spec.model, spec.name] = rolling
            rolling.add_done_callback(lambda _: self._rolling.pop((spec.model, spec.name), None))

    async def remove(self, model: str, uuid: str, application: str, destroy_storage: bool) -> None:
        for where, name in self._of(model, application):
            self._remove(where, name)
        self.specs.pop((model, application), None)

    async def remove_claim(self, model: str, name: str) -> None: ...

    async def storage_classes(self) -> dict[str, str]:
        return {}

    async def add_storage_class(
        self, model: str, name: str, provisioner: str, parameters: Mapping[str, str]
    ) -> None: ...

    async def claims(self, model: str) -> dict[str, Claim]:
        return {}

    def _of(self, model: str, application: str) -> list[tuple[str, str]]:
        return [
            (where, name)
            for where, name in self._pods
            if where == model and name.rpartition("-")[0] == application
        ]

    async def _roll(self, model: str, application: str) -> None:
        """RollingUpdate: pods of older revisions go one by one, the highest number first.

        Each is told to go, and goes when its agent says so; the next, when the new one is ready.
        """
        while outdated := self._outdated(self.specs.get((model, application))):
            self.terminate(outdated, model)
            await self.ask("container-agent", self._pods[model, outdated].uid)
            self.churn(outdated, model)
            await self.ready.wait()

    def _outdated(self, spec: ApplicationSpec | None) -> str:
        """The pod that is replaced next; "" for none."""
        if spec is None:
            return ""
        names = [f"{spec.name}-{number}" for number in reversed(range(spec.scale))]
        pods = {name: self._pods[spec.model, name] for name in names}
        return next((name for name in names if pods[name].modified != spec.modified), "")

    def churn(self, name: str, model: str = MODEL) -> None:
        """The pod goes and comes again, its folder empty."""
        spec = self.specs[model, name.rpartition("-")[0]]
        self._remove(model, name)
        self._add(spec, name)
        self._tell(model, spec.name)

    def terminate(self, name: str, model: str = MODEL) -> None:
        """The pod is told to go, and still runs."""
        pod = self._pods[model, name]
        self._pods[model, name] = dataclasses.replace(pod, terminating=True)
        self._tell(model, name.rpartition("-")[0])

    def _add(self, spec: ApplicationSpec, name: str) -> None:
        uid = str(uuid.uuid4())
        data = self.volume_path(spec.model, name, "charm-data")
        (data / "var/lib/juju").mkdir(parents=True)
        (data / "charm/containers").mkdir(parents=True)
        self._pebbles[spec.model, name] = [
            self._pebble(data, container) for container in spec.charm.containers
        ]
        self._pods[spec.model, name] = Pod(uid, "127.0.0.1", spec.modified, True, ready=True)
        self.start_agent(name, spec.model)

    def start_agent(self, name: str, model: str = MODEL) -> None:
        """The charm container's first process."""
        command = self._in_pod(model, name, [str(self._tools / "containeragent"), "unit"])
        environment = {"PATH": os.environ["PATH"], "POD_UID": self._pods[model, name].uid}
        # Whatever runs in the pod inherits it: its end is the end of them all.
        living, inherited = os.pipe()
        agent = subprocess.Popen(
            command, env=environment, pass_fds=[inherited], start_new_session=True
        )
        os.close(inherited)
        self._agents[model, name] = agent, living

    def _in_pod(self, model: str, name: str, argv: Sequence[str]) -> list[str]:
        """What runs a program with the files that the charm container has."""
        root = self._state / "root"
        root.mkdir(exist_ok=True)
        data = self.volume_path(model, name, "charm-data")
        arguments = [root, self._state, data, self._tools, token_of(name)]
        return [
            *_OWN_PROCESSES, "--mount", "--propagation", "private", "sh", "-c", _ENTER, "sh",
            *(str(argument) for argument in arguments), *argv,
        ]  # fmt: skip

    def stop_agent(self, name: str, model: str = MODEL) -> None:
        """It ends, and so does what it ran."""
        if (model, name) not in self._agents:
            return
        agent, living = self._agents.pop((model, name))
        _kill(agent)
        os.read(living, 1)
        os.close(living)

    def _pebble(self, data: Path, container: str) -> subprocess.Popen[bytes]:
        folder = data / "charm/containers" / container
        folder.mkdir(parents=True)
        environment = {
            **os.environ, "PEBBLE": str(folder / "pebble"),
            "PEBBLE_SOCKET": "pebble.socket",  # a unix socket's path has 107 bytes at most
        }  # fmt: skip
        return subprocess.Popen(
            [*_OWN_PROCESSES, "--mount-proc", self._tools / "pebble", "run", "--create-dirs",
             "--hold"],
            env=environment, cwd=folder, start_new_session=True,
        )  # fmt: skip

    def restart_pebble(self, name: str, container: str) -> None:
        self._stop_pebbles(MODEL, name)
        data = self.volume_path(MODEL, name, "charm-data")
        shutil.rmtree(data / "charm/containers" / container)
        self._pebbles[MODEL, name] = [self._pebble(data, container)]

    def _remove(self, model: str, name: str) -> None:
        del self._pods[model, name]
        self.stop_agent(name, model)
        self._stop_pebbles(model, name)
        shutil.rmtree(self._folder(model, name))
        self._tell(model, name.rpartition("-")[0])

    def _stop_pebbles(self, model: str, name: str) -> None:
        for process in self._pebbles.pop((model, name), []):
            _kill(process)

    def _tell(self, model: str, application: str) -> None:
        for listener in self._listeners:
            listener(model, application)

    # What is in a pod ------------------------------------------------------------------------

    def _folder(self, namespace: str, pod: str) -> Path:
        return self._state / "pods" / namespace / pod

    def volume_path(self, namespace: str, pod: str, volume: str) -> Path:
        """Where the charm container's volume is."""
        return self._folder(namespace, pod) / volume

    async def break_agent(self, name: str) -> None:
        """In place of the agent comes one that closes every stream."""
        self.stop_agent(name)
        self._broken[name] = asyncio.create_task(self._close_streams(name))

    async def mend_agent(self, name: str) -> None:
        await end([self._broken.pop(name)])
        self.start_agent(name)

    async def _close_streams(self, name: str) -> None:
        reader, writer = await self.call(self._pods[MODEL, name].uid, token_of(name))
        try:
            assert json.loads(await reader.readline()) == {"ok": True}
            while line := await reader.readline():
                _, stream = await asyncio.open_unix_connection(self._socket)
                stream.write(line)
                stream.close()
        finally:
            writer.write_eof()
            await reader.read()  # the engine has seen it
            writer.close()

    async def call(
        self, pod: str, given: str
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Calls the engine as an agent does."""
        reader, writer = await asyncio.open_unix_connection(self._socket)
        writer.write(json.dumps({"agent": {"pod": pod, "token": given}}).encode() + b"\n")
        return reader, writer

    async def ask(self, *argv: str) -> dict[str, Any]:
        """What the engine answers to somebody who is in no hook."""
        reader, writer = await asyncio.open_unix_connection(self._socket)
        try:
            writer.write(json.dumps({"context": "guess", "argv": argv}).encode() + b"\n")
            return json.loads(await reader.readline())
        finally:  # also where a test ends before a pod that is told to go has gone
            writer.close()

    @property
    def _socket(self) -> Path:
        return self._state / "agent/agent.sock"

    async def pod_of(self, token: str) -> str:
        uids = (pod.uid for (_, name), pod in self._pods.items() if token_of(name) == token)
        return next(uids, "")

    async def exec(
        self, model: str, pod: str, container: str, argv: Sequence[str], incoming: Incoming,
        tell: Tell, *, terminal: bool = False,
    ) -> int:  # fmt: skip
        assert container == "charm"
        assert not terminal, "only a real node has them"
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *self._in_pod(model, pod, argv), stdin=pipe, stdout=pipe, stderr=pipe
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        sender = asyncio.create_task(_feed(process.stdin, incoming))
        try:
            await asyncio.gather(
                _show(STDOUT, process.stdout, tell), _show(STDERR, process.stderr, tell)
            )
            return await process.wait()
        finally:
            await end([sender])


def _kill(leader: subprocess.Popen[bytes]) -> None:
    """Ends the leader of a session and what it started.

    `unshare` has its child end with it from a moment after the start of that child on. Their
    group has both at any moment.
    """
    kill_group(leader.pid)
    leader.wait()


async def _feed(stdin: asyncio.StreamWriter, incoming: Incoming) -> None:
    with contextlib.suppress(OSError):  # it has ended, or the client has
        async for _, data in incoming:
            if not data:
                stdin.close()
                return
            stdin.write(data)
            await stdin.drain()


async def _show(channel: int, stream: asyncio.StreamReader, tell: Tell) -> None:
    while data := await stream.read(BLOCK):
        await tell(channel, data)


def token_of(pod: str) -> str:
    """What a pod's ServiceAccount has, in place of a signed token."""
    return f"token-of-{pod}"


def build_tools(folder: Path) -> Path:
    """The programs that a pod has, built from localjuju/inpod; needs Go."""
    folder.mkdir(parents=True, exist_ok=True)
    binary = build(folder / "inpod")
    for name in [*COMMANDS, *REFUSED, "containeragent", "pebble"]:
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
        self.dispatches = 0
        self.controller = self._controller()
        self.record = state / "record"

    def _controller(self) -> ModelController:
        made = ModelController(self.state, self.state / "none", self.node)
        faults = made.runner.faults

        async def count(point: str, unit: str, hook: Hook) -> None:
            self.dispatches += point == "before"
            await faults(point, unit, hook)

        made.runner.fault = count
        return made

    @property
    def api(self) -> Any:
        return self.controller.api

    async def start(self) -> None:
        await self.controller.start()

    async def stop(self) -> None:
        await self.node.stop_rolling()
        await self.controller.stop()
        await self.node.end()

    async def restart(self) -> None:
        """As after kill -9: agents end at once, and so do hooks; pods stay."""
        pods, specs = self.node._pods, self.node.specs
        await self.controller.stop()
        self.node._listeners.clear()
        self.node._pods, self.node.specs = pods, specs
        self.controller = self._controller()
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
