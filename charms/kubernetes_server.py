"""A real API server for tests that need one: etcd and kube-apiserver on free loopback ports."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from localkube.controlplane.pki import Authority
from localkube.host import paths
from localkube.tests.ports import ports

START_SECONDS = 60.0


def programs() -> Path | None:
    """The folder with kube-apiserver and etcd, None where they are not built."""
    folders = [Path(os.environ.get("KUBEBUILDER_ASSETS", "/nonexistent"))]
    folders += sorted((paths.cache() / "builds").glob("kubernetes-*"))
    for folder in folders:
        if all((folder / name).exists() for name in ("kube-apiserver", "etcd")):
            return folder
    return None


@contextmanager
def started(state: Path) -> Iterator[Path]:
    """The kubeconfig of its administrator; `state` is a folder for all that it writes."""
    folder = programs()
    if folder is None:
        text = "kube-apiserver is not built: ./mlops up builds it, or set KUBEBUILDER_ASSETS"
        if os.environ.get("CI"):
            pytest.fail(text)
        pytest.skip(text)
    etcd, peer, port = ports(3)
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


class Client:
    """Calls the API server of a kubeconfig as its administrator."""

    def __init__(self, kubeconfig: Path):
        document = yaml.safe_load(kubeconfig.read_text())
        cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
        self._url = cluster["server"]
        self._context = ssl.create_default_context(cafile=cluster["certificate-authority"])
        self._context.load_cert_chain(user["client-certificate"], user["client-key"])

    def table(self, path: str) -> tuple[int, dict[str, Any]]:
        """A list as `kubectl get` shows it."""
        return self("GET", path, accept="application/json;as=Table;v=v1;g=meta.k8s.io")

    def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        accept: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, dict[str, Any]]:
        """The answer's code and body."""
        request = urllib.request.Request(
            self._url + path,
            None if body is None else json.dumps(body).encode(),
            {"Content-Type": "application/json", "Accept": accept, **(headers or {})},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, context=self._context) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                text = error.read().decode()  # not JSON where a path is not served
                return error.code, json.loads(text) if text.startswith("{") else {"message": text}

    def define(self, definition: dict[str, Any]) -> str:
        """Create a CustomResourceDefinition and wait until it is served; returns its path."""
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        code, answer = self("POST", f"{path}?fieldValidation=Strict", definition)
        assert code == 201, answer
        name, deadline = definition["metadata"]["name"], time.monotonic() + START_SECONDS
        spec = definition["spec"]
        served = f"/apis/{spec['group']}/{spec['versions'][0]['name']}"
        while self("GET", f"{served}/{spec['names']['plural']}")[0] != 200:
            assert time.monotonic() < deadline, self("GET", f"{path}/{name}")
            time.sleep(0.1)
        return f"{path}/{name}"
