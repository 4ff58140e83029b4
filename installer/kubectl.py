"""`./mlops kubectl …`: kubectl on the cluster in use, in the model's namespace."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from installer import target
from installer.forward import Forwarder, connect
from localkube.controlplane.programs import ensure_programs
from localkube.host import paths
from localkube.host.errors import EngineError
from localkube.host.progress import Progress


def main(arguments: list[str]) -> int:
    """Runs kubectl; returns its exit code."""
    chosen = target.current()
    if not chosen.has_engine:
        program = _on_path()
        os.execv(program, [program, *arguments])
    with kubeconfig(chosen.model) as file:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # kubectl's own to handle
        try:
            return subprocess.run(
                [_program(), *arguments],
                env={**os.environ, "KUBECONFIG": str(file)},
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            ).returncode
        finally:
            signal.signal(signal.SIGINT, before)


def output(*arguments: str, on: target.Target | None = None) -> str:
    """What kubectl prints on the cluster in use, or on another.

    Raises:
        EngineError: it failed; the line is its own last one.
    """
    chosen = on or target.current()
    with contextlib.ExitStack() as stack:
        environment = dict(os.environ)
        program = _on_path() if not chosen.has_engine else _program()
        if chosen.has_engine:
            environment["KUBECONFIG"] = str(stack.enter_context(kubeconfig(chosen.model)))
        result = subprocess.run(
            [program, *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
    if result.returncode:
        said = result.stderr.strip().splitlines()
        raise EngineError(f"kubectl: {said[-1] if said else result.returncode}")
    return result.stdout


def engine_runs() -> bool:
    """Whether the local engine's API server can be reached."""
    try:
        with kubeconfig(target.MODEL):
            return True
    except EngineError:
        return False


def flattened() -> str:
    """The kubeconfig of the engine's API server as it is reached from inside, without files.

    Raises:
        EngineError: no engine runs.
    """
    file = paths.state() / "kubeconfig"
    if not file.exists():
        raise EngineError("no engine runs here: ./mlops up starts one")
    command = [_program(), "config", "view", "--raw", "--flatten", "--kubeconfig", str(file)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@contextlib.contextmanager
def kubeconfig(namespace: str) -> Iterator[Path]:
    """A kubeconfig that reaches the engine's API server while the context lasts.

    Raises:
        EngineError: no engine runs.
    """
    try:
        document = yaml.safe_load((paths.state() / "kubeconfig").read_text())
        cluster = document["clusters"][0]["cluster"]
        address = urlsplit(cluster["server"])
    except FileNotFoundError:
        raise EngineError("no engine runs here: ./mlops up starts one") from None
    inside = f"{address.hostname}:{address.port}"
    connect(inside).close()
    with Forwarder(inside) as forwarder, tempfile.TemporaryDirectory(dir=paths.state()) as folder:
        cluster["server"] = f"https://127.0.0.1:{forwarder.port}"
        cluster["tls-server-name"] = address.hostname
        for context in document["contexts"]:
            context["context"].setdefault("namespace", namespace)
        file = Path(folder) / "kubeconfig"
        file.touch(0o600)
        file.write_text(yaml.safe_dump(document))
        yield file


def _program() -> str:
    """The kubectl built with the engine's API server; there already where the engine runs."""
    return str(ensure_programs(Progress()) / "kubectl")


def _on_path() -> str:
    program = shutil.which("kubectl")
    if program is None:
        raise EngineError("kubectl is not on the PATH: snap install kubectl --classic")
    return program
