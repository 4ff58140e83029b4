"""kubectl and open against a real API server, reached by the engine's door."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from installer import open_application
from installer.pack import ROOT
from localkube.host.errors import EngineError


def _mlops(
    state: Path, *arguments: str, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "installer", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "CHARMED_MLOPS_STATE": str(state)},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
    )


def _service(name: str, **spec: object) -> str:
    ports = {"ports": [{"name": "http", "port": 5000}, {"name": "metrics", "port": 9000}]}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {**ports, **spec},
        }
    )


def test_kubectl_reads_stdin_and_uses_the_model_s_namespace(engine: Path):
    namespace = '{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "mlops"}}'
    assert _mlops(engine, "kubectl", "apply", "-f", "-", stdin=namespace).returncode == 0
    applied = _mlops(engine, "kubectl", "apply", "-f", "-", stdin=_service("web"))
    assert applied.stdout == "service/web created\n", applied.stderr
    found = _mlops(engine, "kubectl", "get", "services", "--all-namespaces", "-o", "name")
    assert "service/web\n" in found.stdout
    assert json.loads(_mlops(engine, "kubectl", "get", "svc", "web", "-o", "json").stdout)[
        "metadata"
    ]["namespace"] == ("mlops")


def test_kubectl_s_exit_code_and_error_are_kept(engine: Path):
    result = _mlops(engine, "kubectl", "get", "pod", "gone")
    assert result.returncode == 1
    assert 'pods "gone" not found' in result.stderr


def test_nothing_of_a_kubeconfig_is_left(engine: Path):
    before = {path.name for path in engine.iterdir()}
    _mlops(engine, "kubectl", "version")
    assert {path.name for path in engine.iterdir()} == before


def test_a_new_node_takes_pods_at_once(engine: Path):
    """Else each start of the engine leaves warnings that no node would take the first pods."""
    node = json.dumps({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "new"}})
    made = _mlops(engine, "kubectl", "create", "-f", "-", "-o", "json", stdin=node)
    assert "taints" not in json.loads(made.stdout)["spec"], made.stderr
    _mlops(engine, "kubectl", "delete", "node", "new")


def test_open_lists_and_names_what_is_wrong(engine: Path):
    listed = _mlops(engine, "open")
    assert "./mlops open web:5000" in listed.stdout, listed.stderr
    gone = _mlops(engine, "open", "gone")
    assert gone.stderr == "ERROR no application gone in mlops: ./mlops open lists them\n"
    port = _mlops(engine, "open", "web:1")
    assert port.stderr == "ERROR web has no port 1: it has 5000, 9000\n"


def test_open_on_a_port_in_use(engine: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = _mlops(engine, "open", "web", "--port", str(port))
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr == (
        f"ERROR cannot listen on 127.0.0.1:{port} (Address already in use): "
        "name another with --port\n"
    )


def test_open_in_the_background_returns_and_stays_until_it_is_stopped(engine: Path):
    first = _mlops(engine, "open", "web", "--detach")
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("web is at http://127.0.0.1:")
    port = int(first.stdout.strip().rpartition(":")[2])
    socket.create_connection(("127.0.0.1", port), timeout=5).close()
    assert _mlops(engine, "open", "web", "--detach").stdout == first.stdout
    stopped = _mlops(engine, "open", "--stop")
    assert stopped.stdout == f"stopped: web at http://127.0.0.1:{port}\n"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_open_in_the_background_on_a_port_in_use(engine: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = _mlops(engine, "open", "web", "--detach", "--port", str(port))
    assert result.returncode == 1
    assert f"127.0.0.1:{port} (Address already in use)" in result.stderr


def test_headless_service_without_a_pod(engine: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CHARMED_MLOPS_STATE", str(engine))
    _mlops(engine, "kubectl", "apply", "-f", "-", stdin=_service("bare", clusterIP="None"))
    with pytest.raises(EngineError, match="bare has no pod that is ready"):
        open_application.main(["bare"])
