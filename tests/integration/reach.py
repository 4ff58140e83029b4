"""How a test reaches what runs in the cluster: through the engine's door, or by kubectl."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from installer.down import remove_engine
from installer.forward import Forwarder
from localjuju.engine import lifecycle
from localkube.controlplane.audit import FILE as AUDIT_FILE
from localkube.host import paths, system

_CLUSTER_KINDS = (
    "customresourcedefinitions",
    "clusterroles",
    "clusterrolebindings",
    "mutatingwebhookconfigurations",
    "validatingwebhookconfigurations",
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
    "namespaces",
    "persistentvolumes",
)
_ENSURE = (sys.executable, "-m", "localjuju.images", "ensure")


class Reach(ABC):
    """Access to the cluster that holds the model."""

    @abstractmethod
    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Runs kubectl as the cluster's administrator and returns what it printed.

        Raises:
            subprocess.CalledProcessError: kubectl failed; stderr tells why.
        """

    def prepared(self) -> None:
        """Returns when every image is there that tests need; a real cluster pulls its own."""
        return

    @abstractmethod
    def forward(
        self, namespace: str, service: str, port: int
    ) -> contextlib.AbstractContextManager[str]:
        """A URL on this host's loopback that leads to a Service's port while the context lasts."""


class ClusterReach(Reach):
    """A real cluster, by the kubectl on PATH."""

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return _run(["kubectl", *arguments], stdin)

    @contextlib.contextmanager
    def forward(self, namespace: str, service: str, port: int) -> Iterator[str]:
        process = subprocess.Popen(
            ["kubectl", "-n", namespace, "port-forward", f"service/{service}", f":{port}"],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            match = re.search(r"127\.0\.0\.1:(\d+)", process.stdout.readline())
            assert match, f"kubectl does not forward to {service}:{port}"
            yield f"http://127.0.0.1:{match[1]}"
        finally:
            process.terminate()
            process.wait()


class EngineReach(Reach):
    """The local engine, whose state is in `paths.state()`."""

    def __init__(self) -> None:
        self.state = paths.state()
        self._others: tuple[subprocess.Popen[bytes], Path] | None = None

    def prepare(self, images: Iterable[str]) -> None:
        """Makes images that are not in the cache yet, so that no test has to wait for one."""
        _run([*_ENSURE, *sorted(images)], None, hours=1.0)

    @contextlib.contextmanager
    def preparing(self, folder: Path) -> Iterator[None]:
        """Makes all other images while the context lasts; `prepared` waits for them.

        They take what the tests leave of the processors: builds stay in the background.

        Args:
            folder: for what the command prints.
        """
        with (folder / "ensure.log").open("w+b") as said:
            command = [*_ENSURE, "--all"]
            end = partial(system.die_with_parent, os.getpid())
            process = subprocess.Popen(command, stdout=said, stderr=said, preexec_fn=end)
            self._others = process, folder / "ensure.log"
            try:
                yield
            finally:
                process.terminate()
                process.wait()

    def prepared(self) -> None:
        if self._others is None:
            return
        process, log = self._others
        code = process.wait(timeout=3600)
        assert code == 0, log.read_text()

    def start(self) -> None:
        """Starts the engine and returns when its API answers; it ends with this process."""
        owner = f"--owner-pid={os.getpid()}"
        _run([sys.executable, "-m", "localjuju.engine", "start", owner], None, hours=1.0)

    def stop(self) -> None:
        """Stops it; what is deployed stays on disk."""
        _run([sys.executable, "-m", "localjuju.engine", "stop"], None)

    def kill(self) -> None:
        """Ends the engine as a power cut does."""
        lifecycle.kill()

    @property
    def audit_log(self) -> Path:
        """What service accounts asked the API server for; see `audit`."""
        return self.state / "log" / AUDIT_FILE

    def pid(self) -> int:
        """The id of the engine's outer process."""
        number = lifecycle.pid()
        assert number is not None, "no engine runs"
        return number

    def erase(self) -> None:
        """Stops what an earlier run left running, and removes what it kept."""
        remove_engine()

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return _run([sys.executable, "-m", "installer", "kubectl", *arguments], stdin)

    @contextlib.contextmanager
    def forward(self, namespace: str, service: str, port: int) -> Iterator[str]:
        address = f"{service}.{namespace}.svc.cluster.local:{port}"
        with Forwarder(address) as forwarder:
            yield f"http://127.0.0.1:{forwarder.port}"


def cluster_objects(reach: Reach) -> set[str]:
    """Every cluster-scoped object of the kinds that charms and Juju make, as `kind/name`."""
    return set(reach.kubectl("get", ",".join(_CLUSTER_KINDS), "-o", "name").split())


def _run(command: list[str], stdin: str | None, *, hours: float = 1 / 6) -> str:
    done = subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=hours * 3600,
        # a run that is killed leaves no builds behind
        preexec_fn=partial(system.die_with_parent, os.getpid()),
    )
    if done.returncode != 0:
        raise CommandError(done.returncode, command, done.stdout, done.stderr)
    return done.stdout


class CommandError(subprocess.CalledProcessError):
    """A command that failed; its text has what the command said, so that a report has it too."""

    def __str__(self) -> str:
        return f"{super().__str__()}\n{self.stderr}"
