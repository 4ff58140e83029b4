"""Runs the control plane's programs and starts again what ends."""

from __future__ import annotations

import asyncio
import ssl
import time
from pathlib import Path

import yaml

from localkube.controlplane import audit
from localkube.controlplane.pki import Authority, Pair
from localkube.host.errors import EngineError
from localkube.host.supervision import Programs

NODE_IP = "10.1.0.1"
SERVICE_RANGE = "10.152.183.0/24"
KUBERNETES_SERVICE_IP = "10.152.183.1"
_PORT = 6443
_ETCD_PORT = 2379
_ANSWER_SECONDS = 5.0
# It needs etcd 3.5.13, and PyPI has 3.5.1. Where it is on, a client that uses it is let in, fails,
# and waits up to 40 s before it lists again; where it is off, the client is told so at once and
# watches as before.
_FEATURE_GATES = "WatchList=false"


class ControlPlane:
    """etcd, kube-apiserver, kube-controller-manager and kube-scheduler as child processes.

    Certificates are in `state/pki`, etcd's data in `state/etcd`, logs in `state/log`.
    """

    def __init__(self, programs: Path, state: Path, node_ip: str = NODE_IP):
        """Prepares; starts nothing.

        Args:
            programs: the folder with the programs; see `ensure_programs`.
            state: the engine's state folder.
            node_ip: the address that pods reach the API server at.
        """
        self._programs = Programs(programs, state / "log")
        self._state = state
        self._node_ip = node_ip
        self.kubeconfig = state / "kubeconfig"

    async def start(self) -> None:
        """Starts all programs; each waits by itself for those it needs."""
        for name, arguments in self._commands(Authority(self._state / "pki")).items():
            self._programs.start(name, arguments)

    async def wait_ready(self, timeout: float) -> None:
        """Returns when the API server says that it is ready.

        Raises:
            EngineError: not within `timeout` seconds; names the log.
        """
        context = ssl.create_default_context(cafile=str(self._state / "pki" / "ca.crt"))
        admin = self._state / "pki" / "admin"
        context.load_cert_chain(f"{admin}.crt", f"{admin}.key")
        deadline = time.monotonic() + timeout
        while not await _ready(context):
            if time.monotonic() > deadline:
                log = self._state / "log" / "kube-apiserver.log"
                raise EngineError(
                    f"the Kubernetes API server was not ready in {timeout:.0f} s; see {log}"
                )
            await asyncio.sleep(0.1)

    async def stop(self) -> None:
        """Stops all programs, etcd last, so that nothing is written after it has gone."""
        await self._programs.stop()

    def pid(self, name: str) -> int:
        """The process id of a program, such as `kube-apiserver`; for tests of faults."""
        return self._programs.pid(name)

    def _commands(self, authority: Authority) -> dict[str, list[str]]:
        """Each program's arguments, in the order of starting."""
        server = authority.issue(
            "apiserver",
            "kube-apiserver",
            hosts=(
                "kubernetes", "kubernetes.default", "kubernetes.default.svc",
                "kubernetes.default.svc.cluster.local", "localhost", "127.0.0.1",
                self._node_ip, KUBERNETES_SERVICE_IP,
            ),
        )  # fmt: skip
        kubelet = authority.issue("kubelet-client", "kube-apiserver-kubelet", "system:masters")
        admin = authority.issue("admin", "admin", "system:masters")
        _write_kubeconfig(self.kubeconfig, authority.pair.certificate, admin)
        signing_key = authority.service_account_key()
        etcd = f"http://127.0.0.1:{_ETCD_PORT}"
        return {
            "etcd": [
                f"--data-dir={self._state / 'etcd'}",
                f"--listen-client-urls={etcd}",
                f"--advertise-client-urls={etcd}",
                "--listen-peer-urls=http://127.0.0.1:2380",
                "--initial-advertise-peer-urls=http://127.0.0.1:2380",
                "--initial-cluster=default=http://127.0.0.1:2380",
                "--auto-compaction-retention=1h",
                "--log-level=warn",
            ],
            "kube-apiserver": [
                f"--etcd-servers={etcd}",
                "--bind-address=0.0.0.0",
                f"--secure-port={_PORT}",
                f"--advertise-address={self._node_ip}",
                f"--service-cluster-ip-range={SERVICE_RANGE}",
                "--authorization-mode=RBAC",
                # It taints a new node until the controller manager has seen it ready, so that the
                # first pods of every start would have warnings of the scheduler. This node is
                # registered when it is ready.
                "--disable-admission-plugins=TaintNodesByCondition",
                "--allow-privileged=true",
                "--enable-aggregator-routing=true",
                f"--client-ca-file={authority.pair.certificate}",
                f"--tls-cert-file={server.certificate}",
                f"--tls-private-key-file={server.key}",
                f"--kubelet-client-certificate={kubelet.certificate}",
                f"--kubelet-client-key={kubelet.key}",
                "--kubelet-preferred-address-types=InternalIP",
                "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
                f"--service-account-key-file={signing_key}",
                f"--service-account-signing-key-file={signing_key}",
                f"--feature-gates={_FEATURE_GATES}",
                "--profiling=false",
                "--v=1",
                *audit.arguments(self._state),
            ],
            "kube-controller-manager": [
                f"--kubeconfig={self.kubeconfig}",
                f"--root-ca-file={authority.pair.certificate}",
                f"--service-account-private-key-file={signing_key}",
                f"--cluster-signing-cert-file={authority.pair.certificate}",
                f"--cluster-signing-key-file={authority.pair.key}",
                "--use-service-account-credentials=true",
                "--leader-elect=false",
                "--controllers=*,-nodeipam,-node-route-controller,-service-lb-controller",
                "--bind-address=127.0.0.1",
                "--v=1",
            ],
            "kube-scheduler": [
                f"--kubeconfig={self.kubeconfig}",
                "--leader-elect=false",
                "--bind-address=127.0.0.1",
                "--v=1",
            ],
        }


async def _ready(context: ssl.SSLContext) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", _PORT, ssl=context)
    except OSError:
        return False
    try:
        writer.write(b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n")
        return b" 200 " in await asyncio.wait_for(reader.readline(), _ANSWER_SECONDS)
    except (OSError, asyncio.TimeoutError):
        return False
    finally:
        writer.close()


def _write_kubeconfig(file: Path, authority: Path, admin: Pair) -> None:
    cluster = {"server": f"https://127.0.0.1:{_PORT}", "certificate-authority": str(authority)}
    user = {"client-certificate": str(admin.certificate), "client-key": str(admin.key)}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "localkube", "cluster": cluster}],
        "users": [{"name": "admin", "user": user}],
        "contexts": [{"name": "localkube", "context": {"cluster": "localkube", "user": "admin"}}],
        "current-context": "localkube",
    }
    file.write_text(yaml.safe_dump(document))
    file.chmod(0o600)
