"""A cluster in namespaces of its own, as the tests start, ask and end it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from localjuju import builds, debian, netfilter, paths
from localjuju.progress import Progress
from localkube import images, outer
from localkube.configurations import SOCKET
from localkube.programs import NodePrograms

_READY_SECONDS = 180.0
_POLL_SECONDS = 0.1
_SETTINGS = (
    "vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes", "net/ipv4/ip_forward",
)  # fmt: skip
_FOLDERS = ("/run", "/opt", "/etc", "/var/lib", "/var/log", "/sys/class/net")


IMAGE = "example.org/busybox:1"
_TOOLS = (
    "sh", "sleep", "echo", "id", "cat", "nc", "touch", "nslookup", "sed", "httpd", "stat",
    "ls", "mkdir",
)  # fmt: skip


def make_image(file: Path) -> None:
    """Writes an image with a shell and its usual tools, of which the host has none."""

    def unpack(target: Path) -> None:
        (target / "root").mkdir()
        with Progress().step("busybox") as step:
            debian.unpack(("busybox-static",), target / "root", step)

    folder = builds.make_once(paths.cache() / "builds" / "busybox-static", unpack)
    images.write(
        file,
        IMAGE,
        {"bin/busybox": folder / "root" / "bin" / "busybox"},
        {f"bin/{name}": "busybox" for name in _TOOLS},
    )


def pod(
    name: str, command: str = "exec sleep 3600", labels: dict[str, str] | None = None, **spec: Any
) -> dict[str, Any]:
    """A pod whose one container runs a shell's command; `spec` is added to what the pod has."""
    container = {
        "name": "main",
        "image": IMAGE,
        "imagePullPolicy": "Never",
        "command": ["/bin/sh", "-c", command],
        **spec.pop("container", {}),
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [container], **spec},
    }


def with_a_pod(programs: NodePrograms, image: Path, state: Path) -> Cluster:
    """A cluster that has the image, and a pod `one` that runs it."""
    found = Cluster(programs, state)
    try:
        found.import_image(image)
        wait_until(lambda: "default" in found.kubectl("get", "serviceaccounts", "-oname"), 30)
        container = {
            "securityContext": {"runAsUser": 1234, "readOnlyRootFilesystem": True},
            "resources": {"limits": {"memory": "32Mi"}},
        }
        found.run(pod("one", "echo hello; exec sleep 3600", container=container))
    except BaseException:
        found.end(signal.SIGTERM)
        raise
    return found


class Cluster:
    """One running cluster."""

    def __init__(self, programs: NodePrograms, state: Path):
        """Starts it; returns when it is ready."""
        self._programs = programs
        self.state = state
        (state / outer.READY).unlink(missing_ok=True)
        self.process = subprocess.Popen([sys.executable, "-m", "localkube", str(state)])
        try:
            wait_until(self._is_ready, _READY_SECONDS)
        except BaseException:
            self.process.terminate()
            self.process.wait()
            raise

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, "it ended while it started"
        return (self.state / outer.READY).exists()

    def kubectl(self, *arguments: str, given: Any = None) -> str:
        """Runs kubectl in the cluster's network; what it printed."""
        return self._inside(
            self._programs.kubernetes / "kubectl",
            f"--kubeconfig={self.state / 'kubeconfig'}",
            *arguments,
            given="" if given is None else json.dumps(given),
        )

    def create(self, *objects: dict[str, Any]) -> None:
        """Makes objects."""
        self.kubectl(
            "create", "-f", "-", given={"apiVersion": "v1", "kind": "List", "items": objects}
        )

    def run(self, *pods: dict[str, Any]) -> None:
        """Makes pods; returns when they are ready."""
        self.create(*pods)
        names = [f"pod/{one['metadata']['name']}" for one in pods]
        self.kubectl("wait", "--for=condition=Ready", *names, "--timeout=90s")

    def shell(self, pod: str, command: str) -> str:
        """Runs a shell's command in a pod; what it printed."""
        return self.kubectl("exec", pod, "--", "sh", "-c", command)

    def import_image(self, file: Path) -> None:
        """Gives containerd an image."""
        ctr = self._programs.containerd / "usr" / "bin" / "ctr"
        options = (f"--address={SOCKET}", "--namespace=k8s.io")
        with file.open("rb") as tar:
            self._inside(ctr, *options, "images", "import", "-", opened=tar)

    def _inside(
        self, program: Path, *arguments: str, given: str | None = None, opened: Any = None
    ) -> str:
        (pid,) = children(self.process.pid)
        done = subprocess.run(
            ["nsenter", f"--target={pid}", "--net", "--mount", program, *arguments],
            input=given, stdin=opened, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def answers(self, *arguments: str) -> bool:
        """Whether kubectl succeeds."""
        try:
            self.kubectl(*arguments)
        except AssertionError:
            return False
        return True

    def pid(self, program: str) -> int | None:
        """A program's process id on the host; None where it does not run."""
        for pid in processes(self.state):
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/exe").readlink().name == program:
                    return pid
        return None

    def end(self, number: int) -> int:
        """Signals the outer process; its exit code, once no process of the cluster is left."""
        pids = [*children(self.process.pid), *processes(self.state)]
        assert len(pids) > 8
        self.process.send_signal(number)
        code = self.process.wait(60)
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 30)
        return code


def children(pid: int) -> list[int]:
    """The processes that a process started."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def processes(state: Path) -> Iterator[int]:
    """The processes in the control groups of a cluster."""
    for folder in outer.groups(state).folders():
        for place, _, _ in os.walk(folder):
            yield from map(int, Path(place, "cgroup.procs").read_text().split())


def host() -> dict[str, Any]:
    """What a cluster could change on the host: mounts, settings, folders, interfaces, filters."""
    nft = netfilter.folder() / "root" / "usr" / "sbin" / "nft"
    filters = subprocess.run(
        [nft, "list", "ruleset"], env=netfilter.environment(), capture_output=True, check=True
    )
    return {
        "mounts": Path("/proc/self/mountinfo").read_text(),
        "settings": [Path("/proc/sys", name).read_text() for name in _SETTINGS],
        "folders": [sorted(entry.name for entry in Path(name).iterdir()) for name in _FOLDERS],
        "routes": Path("/proc/net/route").read_text(),
        "filters": filters.stdout,
    }


def wait_until(seen: Any, seconds: float) -> None:
    """Returns when `seen()` is true; fails after some seconds."""
    deadline = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < deadline, f"not seen in {seconds:.0f} s"
        time.sleep(_POLL_SECONDS)
