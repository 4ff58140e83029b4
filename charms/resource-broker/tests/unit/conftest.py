"""A real API server for tests that need one: etcd and kube-apiserver on free loopback ports."""

from __future__ import annotations

import importlib
import os
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ops import testing

sys.path.insert(0, str(Path(__file__).parent))
from api_objects import objects  # pyright: ignore[reportMissingImports]

from localjuju import paths
from localjuju.controlplane.pki import Authority

START_SECONDS = 60.0
CHARM = Path(__file__).parents[2]
MODULES = (
    "charm",
    "broker",
    "apply",
    "removal",
    "inventory",
    "kube",
    "policy",
    "guard",
    "rights",
    "shapes",
    "watcher",
)


def pytest_configure(config: pytest.Config) -> None:
    """Registers the marker of tests that need built Kubernetes programs."""
    config.addinivalue_line("markers", "engine: needs kube-apiserver and etcd, built once by `up`")


def programs() -> Path | None:
    """The folder with kube-apiserver and etcd, None where they are not built."""
    folders = [Path(os.environ.get("KUBEBUILDER_ASSETS", "/nonexistent"))]
    folders += sorted((paths.cache() / "builds").glob("kubernetes-*"))
    for folder in folders:
        if all((folder / name).exists() for name in ("kube-apiserver", "etcd")):
            return folder
    return None


@pytest.fixture(scope="session")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A kubeconfig of a cluster administrator."""
    folder = programs()
    if folder is None:
        text = "kube-apiserver is not built: ./mlops up builds it, or set KUBEBUILDER_ASSETS"
        if os.environ.get("CI"):
            pytest.fail(text)
        pytest.skip(text)
    state = tmp_path_factory.mktemp("api")
    etcd, peer, port = free_ports(3)
    authority = Authority(state / "pki")
    server = authority.issue("apiserver", "kube-apiserver", hosts=("localhost", "127.0.0.1"))
    admin = authority.issue("admin", "admin", "system:masters")
    key = authority.service_account_key()
    issuer = "https://kubernetes.default.svc.cluster.local"
    commands = {
        "etcd": [
            f"--data-dir={state / 'etcd'}",
            f"--listen-client-urls=http://127.0.0.1:{etcd}",
            f"--advertise-client-urls=http://127.0.0.1:{etcd}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-cluster=default=http://127.0.0.1:{peer}",
            "--unsafe-no-fsync=true",
        ],
        "kube-apiserver": [
            f"--etcd-servers=http://127.0.0.1:{etcd}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={port}",
            "--authorization-mode=RBAC",
            "--allow-privileged=true",
            "--endpoint-reconciler-type=none",
            f"--client-ca-file={authority.pair.certificate}",
            f"--tls-cert-file={server.certificate}",
            f"--tls-private-key-file={server.key}",
            f"--service-account-issuer={issuer}",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            "--disable-admission-plugins=ServiceAccount",
        ],
    }
    running = []
    try:
        for name, arguments in commands.items():
            with (state / f"{name}.log").open("wb") as log:
                running.append(
                    subprocess.Popen(
                        [folder / name, *arguments], stdout=log, stderr=log, cwd=state
                    )
                )
        wait_ready(port, authority.pair.certificate, state / "kube-apiserver.log")
        yield write_kubeconfig(state / "kubeconfig", port, authority.pair.certificate, admin)
    finally:
        for process in reversed(running):
            process.kill()
            process.wait()


def free_ports(count: int) -> list[int]:
    """TCP ports of the loopback that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def wait_ready(port: int, authority: Path, log: Path) -> None:
    """Returns when the API server is ready."""
    context = ssl.create_default_context(cafile=str(authority))
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"https://127.0.0.1:{port}/readyz", context=context).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    pytest.fail(log.read_text()[-2000:])


def write_kubeconfig(file: Path, port: int, authority: Path, admin) -> Path:
    """A kubeconfig file with one context."""
    cluster = {"server": f"https://127.0.0.1:{port}", "certificate-authority": str(authority)}
    user = {"client-certificate": str(admin.certificate), "client-key": str(admin.key)}
    context = {"cluster": "test", "user": "admin"}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "admin", "user": user}],
        "contexts": [{"name": "test", "context": context}],
        "current-context": "test",
    }
    file.write_text(yaml.safe_dump(document))
    return file


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The charm's modules, as only its own dispatch sees them."""
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(CHARM / "src"))
    yield {name: importlib.import_module(name) for name in MODULES}
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def cluster(kubeconfig: Path, modules: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    """A client of the real API server, with namespaces `shop` (the model) and `other`."""
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    client = modules["kube"].Cluster.connect()
    for name in ("shop", "other"):
        ref = modules["kube"].Ref("v1", "Namespace", "", name)
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        client.apply(ref, body, "test")
    yield client
    for item in objects(client):  # what a failed test leaves
        client.drop_finalizers(modules["removal"].reference(item))
        client.delete(modules["removal"].reference(item))
    client._http.close()


@pytest.fixture
def context(modules: dict[str, Any]) -> testing.Context:
    declared = yaml.safe_load((CHARM / "charmcraft.yaml").read_text())
    meta = {key: declared[key] for key in ("name", "provides", "containers", "resources")}
    return testing.Context(
        modules["charm"].ResourceBroker,
        meta=meta,
        config=declared["config"],
        actions=declared["actions"],
        charm_root=CHARM,
    )
