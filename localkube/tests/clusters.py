"""A cluster in namespaces of its own, as the tests start, ask and end it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from localkube import outer
from localkube.building import builds, debian, netfilter
from localkube.host import paths
from localkube.host.errors import EngineError
from localkube.host.processes import descendants
from localkube.host.progress import Progress
from localkube.images.image import Image
from localkube.images.layers import Layer
from localkube.node.limits import VARIABLE
from localkube.node.programs import NodePrograms

_READY_SECONDS = 180.0
_POLL_SECONDS = 0.1
_SETTINGS = (
    "vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes", "net/ipv4/ip_forward",
)  # fmt: skip
_FOLDERS = ("/run", "/opt", "/etc", "/var/lib", "/var/log", "/sys/class/net")

OUTSIDE = "192.0.2.1"
"""Where a network that stands in for the host's has its servers; RFC 5737 keeps it from use."""

IMAGE = "example.org/busybox:1"
TWO_LAYERS = ("docker.io/library/two:1", "quay.io/team/two:1")
BROKEN = "example.org/broken:1"
_TOOLS = (
    "sh", "sleep", "echo", "id", "cat", "nc", "touch", "nslookup", "sed", "httpd", "stat",
    "ls", "mkdir", "wget",
)  # fmt: skip


def find(reference: str) -> Image | None:
    """The images of the tests, of which one cannot be made."""
    if reference == BROKEN:
        raise EngineError("its download failed")
    if reference == IMAGE:
        return Image([_shell()], environment={"PATH": "/bin"})
    if reference in TWO_LAYERS:
        return Image(
            [_shell(), _words()],
            user="1234:170",  # the kubelet hands on the user alone
            entrypoint=["/bin/sh", "-c"],
            command=["cat hello; echo $(id -u) $(id -g) $WORD; exec sleep 3600"],
            environment={"PATH": "/bin", "WORD": "word"},
            folder="/words",
        )
    return None


def _shell() -> Layer:
    """A shell and its usual tools."""

    def make(target: Path) -> None:
        (target / "unpacked").mkdir()
        with Progress().step("busybox") as step:
            debian.unpack(("busybox-static",), target / "unpacked", step)
        (target / "root" / "bin").mkdir(parents=True)
        (target / "unpacked" / "bin" / "busybox").rename(target / "root" / "bin" / "busybox")
        for name in _TOOLS:
            (target / "root" / "bin" / name).symlink_to("busybox")

    name = f"busybox-{len(_TOOLS)}-tools"
    return Layer(name, builds.make_once(paths.cache() / "builds" / name, make) / "root")


def _words() -> Layer:
    def make(target: Path) -> None:
        (target / "hello").write_text("hello\n")
        (target / "hello").chmod(0o640)

    name = "localkube-tests-words"
    folder = builds.make_once(paths.cache() / "builds" / name, make)
    return Layer(name, folder, "words", {"hello": (1234, 170)})


def pod(
    name: str, command: str = "exec sleep 3600", labels: dict[str, str] | None = None, **spec: Any
) -> dict[str, Any]:
    """A pod whose one container runs a shell's command; `spec` is added to what the pod has."""
    container = {
        "name": "main",
        "image": IMAGE,
        "command": ["/bin/sh", "-c", command],
        **spec.pop("container", {}),
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [container], **spec},
    }


def with_a_pod(programs: NodePrograms, state: Path, *options: str) -> Cluster:
    """A cluster with a pod `one`; `options` are for `python -m localkube`."""
    found = Cluster(programs, state, *options)
    try:
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
    """One running cluster; pods may have host paths in its folder `shared`."""

    def __init__(
        self, programs: NodePrograms, state: Path, *options: str, within: Sequence[str] = ()
    ):
        """Starts it; returns when it is ready.

        Args:
            programs: the node's.
            state: its folder.
            options: for `python -m localkube`.
            within: a command that runs another one, such as `nsenter …`.
        """
        self.programs = programs
        self.state = state
        self.shared = state.with_name(f"{state.name}-shared")
        (state / outer.READY).unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [
                *within, sys.executable, "-m", "localkube", f"--images={__name__}:find", *options,
                str(state),
            ],
            env={**os.environ, VARIABLE: str(self.shared)},
        )  # fmt: skip
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
        pid = self.child("python")
        program = self.programs.kubernetes / "kubectl"
        done = subprocess.run(
            [
                "nsenter", f"--target={pid}", "--net", "--mount", program,
                f"--kubeconfig={self.state / 'kubeconfig'}", *arguments,
            ],
            input="" if given is None else json.dumps(given),
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

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

    def output(self, pod: dict[str, Any]) -> str:
        """Runs a pod to its end; what it printed."""
        pod["spec"]["restartPolicy"] = "Never"
        self.create(pod)
        name = f"pod/{pod['metadata']['name']}"
        phase = ("get", name, "-ojsonpath={.status.phase}")
        wait_until(lambda: self.kubectl(*phase) in ("Succeeded", "Failed"), 90)
        return self.kubectl("logs", name)

    def shell(self, pod: str, command: str) -> str:
        """Runs a shell's command in a pod; what it printed."""
        return self.kubectl("exec", pod, "--", "sh", "-c", command)

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

    def child(self, program: str) -> int:
        """The process id of the outer process's child of this name."""
        (pid,) = [
            pid
            for pid in children(self.process.pid)
            if Path(f"/proc/{pid}/comm").read_text().startswith(program)
        ]
        return pid

    def end(self, number: int) -> int:
        """Signals the outer process; its exit code, once no process of the cluster is left."""
        pids = {*descendants(self.process.pid), *processes(self.state)}
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


@contextlib.contextmanager
def other_network(servers: str, folder: Path) -> Iterator[list[str]]:
    """A network of its own that stands in for the host's: nothing of the real one is reached.

    Args:
        servers: a shell's commands that start servers in it, one a line; `$1` is the folder.
        folder: what they serve; it has a file `hello`.

    Yields:
        What runs a command in it.
    """
    (folder / "hello").write_text("hello from outside")
    script = f"""
ip link set lo up
ip address add {OUTSIDE}/32 dev lo
{servers}
echo ready
wait
"""
    process = subprocess.Popen(
        ["unshare", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", script, "sh", folder],
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"ready\n"
        yield ["nsenter", f"--target={process.pid}", "--net"]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
