"""One container of a pod: pulled, started, probed, started again as its policy says."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

from localjuju.images import Image
from localjuju.node import environment, identity, logs, memory, volumes
from localjuju.node.logs import ContainerLog
from localjuju.node.probes import Probe
from localjuju.node.runtime import Ended, Runtime
from localkube.host.errors import EngineError
from localkube.host.trees import remove_tree

_FIRST_BACK_OFF = 10.0  # seconds, doubled at each failure up to the largest: as the kubelet
_LARGEST_BACK_OFF = 300.0
_GOOD_RUN_SECONDS = 600.0
_RETRY_SECONDS = 2.0
_SHOWN_SECONDS = 1.0
_TERMINATION_LOG = "termination-log"
_log = logging.getLogger(__name__)


def now() -> str:
    """The time as Kubernetes writes it."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Sandbox:
    """What the containers of one pod share."""

    pod: Any
    folder: Path
    logs: Path
    pid: int
    ip: str
    runtime: Runtime
    pull: Callable[[str], Awaitable[Image]]
    lookup: environment.Lookup
    volumes: Mapping[str, Path]
    files: Mapping[str, str]
    changed: Callable[[], None]
    read_only: frozenset[str] = frozenset()
    """Volumes that nobody may write to."""
    builtin_binds: Mapping[str, Sequence[str]] = field(default_factory=dict)


class Container:
    """A container; `status` is its part of the pod's status."""

    def __init__(self, sandbox: Sandbox, spec: Any, *, init: bool, restarts: int):
        """Args: spec: lightkube's Container; restarts: how often it was started again before."""
        self._sandbox = sandbox
        self._spec = spec
        self._init = init
        self._log: ContainerLog | None = None
        self._environment: dict[str, str] = {}
        self._identity = identity.ROOT
        self._killed_for = ""
        self._ending: asyncio.Task[None] | None = None
        self.name: str = spec.name
        self.pid: int | None = None
        self.tried = asyncio.Event()
        """Whether it was started for the first time, or could not be."""
        self.restarts = restarts
        self.ready = False
        self.started = False
        self.finished: int | None = None
        """The exit code, once the container will not be started again."""
        self.image: Image | None = None
        self.state: dict[str, Any] = {"waiting": {"reason": "ContainerCreating"}}
        self.last_state: dict[str, Any] = {}

    # The container's life --------------------------------------------------------------------

    async def run(self, policy: str) -> None:
        """Runs it until its restart policy lets it rest; sets `finished`.

        Args:
            policy: Always, OnFailure or Never.
        """
        delay = _FIRST_BACK_OFF
        while True:
            began = time.monotonic()
            try:
                end = await self._run_once()
            except (EngineError, environment.ConfigError, OSError, ValueError) as error:
                if isinstance(error, EngineError):
                    # both reasons are shown in turn, so that who watches the pod looks again
                    self._wait("ErrImagePull", str(error))
                    self.tried.set()
                    await asyncio.sleep(_SHOWN_SECONDS)
                    said = f'Back-off pulling image "{self._spec.image}": ErrImagePull: {error}'
                    self._wait("ImagePullBackOff", said)
                    await asyncio.sleep(delay)
                    delay = min(delay * 2, _LARGEST_BACK_OFF)
                    continue
                self._wait(_problem(error), str(error))
                self.tried.set()
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            if policy == "Never" or (policy == "OnFailure" and end.code == 0):
                self.finished = end.code
                self._sandbox.changed()
                return
            if time.monotonic() - began > _GOOD_RUN_SECONDS:
                delay = _FIRST_BACK_OFF
            if self.restarts or end.code != 0:
                message = f"back-off {delay:.0f}s restarting failed container={self.name}"
                self._wait("CrashLoopBackOff", message)
                await asyncio.sleep(delay)
                delay = min(delay * 2, _LARGEST_BACK_OFF)
            self.restarts += 1

    def _wait(self, reason: str, message: str) -> None:
        if "terminated" in self.state:
            self.last_state = self.state
        self.state = {"waiting": {"reason": reason, "message": message}}
        self._sandbox.changed()

    async def _run_once(self) -> Ended:
        """Starts it once and returns how it ended."""
        sandbox, spec = self._sandbox, self._spec
        self.image = await sandbox.pull(spec.image)
        self._environment = await environment.build(
            sandbox.pod, spec, self.image.env, sandbox.lookup, sandbox.ip
        )
        self._identity = identity.of_container(sandbox.pod, spec, self.image)
        folder = sandbox.folder / self.name
        await asyncio.to_thread(remove_tree, folder)
        self._make_termination_log(folder)
        logs.remove_old(sandbox.logs, self.name, self.restarts)
        self._log = ContainerLog(self.log_file)
        request = self._request(folder)
        try:
            pid = await sandbox.runtime.container(request, self._log.writing)
        finally:
            self._log.close_writing()
        self.pid = pid
        self.tried.set()
        self._killed_for = ""
        started = now()
        self.state = {"running": {"startedAt": started}}
        self.started = spec.startupProbe is None
        self.ready = self.started and spec.readinessProbe is None
        sandbox.changed()
        greedy = asyncio.create_task(self._keep_within_memory(pid))
        probing = asyncio.create_task(self._probe())
        hook = asyncio.create_task(self._after_start())
        try:
            end = await sandbox.runtime.wait(pid)
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            raise
        finally:
            oom_killed = greedy.done() and not greedy.cancelled() and greedy.result()
            for task in (greedy, probing, hook):
                task.cancel()
            if self._ending is not None:
                self._ending.cancel()
                self._ending = None
            self.pid = None
            self.ready = self.started = False
        await self._log.finish()
        self.state = {
            "terminated": {
                "exitCode": end.code,
                "reason": _reason(end.code, oom_killed=oom_killed),
                "message": self._killed_for or self._termination_message(folder),
                "startedAt": started,
                "finishedAt": now(),
                "containerID": self._id,
            }
        }
        if self._init and end.code == 0:
            self.ready = True
        sandbox.changed()
        return end

    @property
    def _folder(self) -> str:
        """Where its programs start."""
        return self._spec.workingDir or (self.image.workdir if self.image else "") or "/"

    @property
    def log_file(self) -> Path:
        """Where what it prints is kept."""
        return self._sandbox.logs / f"{self.name}-{self.restarts}.log"

    @property
    def _id(self) -> str:
        return f"localjuju://{self._sandbox.pod.metadata.uid}-{self.name}-{self.restarts}"

    def _make_termination_log(self, folder: Path) -> None:
        """The file of the container's last words, which every user may write to."""
        folder.mkdir(parents=True)
        (folder / _TERMINATION_LOG).touch()
        (folder / _TERMINATION_LOG).chmod(0o666)

    def _termination_message(self, folder: Path) -> str:
        with contextlib.suppress(OSError):
            return (folder / _TERMINATION_LOG).read_text(errors="replace")[:4096]
        return ""

    def _request(self, folder: Path) -> dict[str, Any]:
        assert self.image is not None
        spec, image = self._spec, self.image
        known = self._environment
        command = [environment.expand(word, known) for word in spec.command or []]
        arguments = [environment.expand(word, known) for word in spec.args or []]
        argv = [
            *(command or image.entrypoint),
            *(arguments if arguments or command else image.command),
        ]
        if not argv:
            raise environment.ConfigError(f"no command specified for image {spec.image}")
        security = spec.securityContext
        binds = [*image.binds, *self._sandbox.builtin_binds.get(argv[0], ())]
        return {
            "sandbox": self._sandbox.pid,
            "share_pids": bool(self._sandbox.pod.spec.shareProcessNamespace),
            "folder": str(folder),
            "image": str(image.rootfs),
            "binds": binds,
            "mounts": [
                *self._mounts(),
                {
                    "source": str(folder / _TERMINATION_LOG),
                    "target": spec.terminationMessagePath or "/dev/termination-log",
                    "read_only": False,
                },
            ],
            "writable": list(image.writable),
            "owner": [image.uid, image.gid],
            "files": dict(self._sandbox.files),
            "read_only": bool(security and security.readOnlyRootFilesystem),
            "argv": argv,
            "env": known,
            "cwd": self._folder,
            "identity": astuple(self._identity),
        }

    def _mounts(self) -> list[dict[str, Any]]:
        found = []
        for mount in self._spec.volumeMounts or []:
            source = self._sandbox.volumes[mount.name]
            below = mount.subPath or environment.expand(mount.subPathExpr or "", self._environment)
            if below:
                source = volumes.below(source, below)
            found.append(
                {
                    "source": str(source),
                    "target": mount.mountPath,
                    "read_only": bool(mount.readOnly) or mount.name in self._sandbox.read_only,
                }
            )
        return found

    # What happens while it runs --------------------------------------------------------------

    async def exec(self, argv: Sequence[str], timeout: float | None = None) -> int:
        """Runs a program in it with its own environment; the exit code.

        Raises:
            OSError: the container does not run.
        """
        if self.pid is None:
            raise OSError(f"container {self.name} does not run")
        result = await self._sandbox.runtime.exec(
            self.pid, argv, self._environment, self._folder,
            identity=self._identity, timeout=timeout,
        )  # fmt: skip
        return result.code

    def exec_settings(self) -> tuple[int, dict[str, str], str, identity.Identity]:
        """Process id, environment, folder and user for another program in it.

        Raises:
            OSError: the container does not run.
        """
        if self.pid is None:
            raise OSError(f"container {self.name} does not run")
        return self.pid, self._environment, self._folder, self._identity

    async def _keep_within_memory(self, pid: int) -> bool:
        """Kills it when it uses more than its limit; whether it did."""
        most = memory.limit(self._spec)
        if most is None:
            return False
        await memory.exceeded(pid, most)
        return True

    async def _after_start(self) -> None:
        lifecycle = self._spec.lifecycle
        if lifecycle and lifecycle.postStart and lifecycle.postStart.exec:
            code = await self.exec(lifecycle.postStart.exec.command)
            if code != 0:
                self._kill(f"the postStart hook ended with {code}")

    async def before_stop(self) -> None:
        """Runs its preStop hook; what that says does not matter."""
        lifecycle = self._spec.lifecycle
        hook = lifecycle.preStop if lifecycle else None
        with contextlib.suppress(OSError):
            if hook and hook.exec:
                await self.exec(hook.exec.command)
            elif hook and hook.sleep:
                await asyncio.sleep(hook.sleep.seconds)

    def _kill(self, reason: str, grace: int | None = None) -> None:
        """Has it stopped as the kubelet does: preStop, SIGTERM, and SIGKILL after the grace.

        Args:
            reason: shown in the container's status.
            grace: seconds; the probe's own, None for the pod's.
        """
        if self.pid is None or self._ending is not None:
            return
        _log.info("container %s stopped: %s", self.name, reason)
        self._killed_for = reason
        if grace is None:
            grace = self._sandbox.pod.spec.terminationGracePeriodSeconds
        self._ending = asyncio.create_task(self._stop(self.pid, 30 if grace is None else grace))

    async def _stop(self, pid: int, grace: float) -> None:
        begin = time.monotonic()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.before_stop(), grace)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        # Cancelled when the container has ended: see `_run_once`.
        await asyncio.sleep(max(0.0, grace - (time.monotonic() - begin)))
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    async def _probe(self) -> None:
        spec = self._spec
        ports = {port.name: port.containerPort for port in spec.ports or [] if port.name}

        def probe(wanted: Any) -> Probe:
            return Probe(wanted, self._sandbox.ip, ports, self.exec)

        def own_grace(wanted: Any) -> int | None:
            return wanted.terminationGracePeriodSeconds

        if spec.startupProbe is not None:

            def start_changed(good: bool) -> None:
                if good:
                    self.started = True
                    self.ready = spec.readinessProbe is None
                    self._sandbox.changed()
                else:
                    self._kill("the startup probe failed", own_grace(spec.startupProbe))

            await probe(spec.startupProbe).run(start_changed, once=True)

        def ready_changed(good: bool) -> None:
            self.ready = good
            self._sandbox.changed()

        def alive_changed(good: bool) -> None:
            if not good:
                self._kill("the liveness probe failed", own_grace(spec.livenessProbe))

        running = [
            probe(wanted).run(changed, eager=wanted is spec.readinessProbe)
            for wanted, changed in (
                (spec.readinessProbe, ready_changed),
                (spec.livenessProbe, alive_changed),
            )
            if wanted is not None
        ]
        await asyncio.gather(*running)

    def status(self) -> dict[str, Any]:
        """Its part of the pod's status."""
        return {
            "name": self.name,
            "image": self._spec.image,
            "imageID": f"{self.image.kind}://{self.image.reference}" if self.image else "",
            "containerID": self._id if self.pid is not None else "",
            "ready": self.ready,
            "started": self.started,
            "restartCount": self.restarts,
            "state": _complete(self.state),
            "lastState": _complete(self.last_state),
        }


def _reason(code: int, *, oom_killed: bool) -> str:
    """Why a container ended, in the kubelet's words."""
    return "OOMKilled" if oom_killed else "Error" if code else "Completed"


def _complete(state: dict[str, Any]) -> dict[str, Any]:
    """A state with the two other kinds named as absent: a patch would keep them."""
    return {kind: state.get(kind) for kind in ("waiting", "running", "terminated")}


def _problem(error: Exception) -> str:
    """The reason to show for what keeps a container from starting."""
    is_config = isinstance(error, environment.ConfigError)
    return "CreateContainerConfigError" if is_config else "RunContainerError"
