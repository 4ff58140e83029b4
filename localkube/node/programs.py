"""The node's programs: from public Go modules and from Debian, made once, nothing is installed."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from localkube.building import builds, debian, golang, netfilter
from localkube.controlplane.programs import (
    KUBERNETES_VERSION,
    TOOLS,
    build,
    ensure_programs,
    folder,
)
from localkube.host import paths
from localkube.host.progress import Progress

# kubelet 1.35 is the last that takes containerd 1.x. Other systems have another version, which
# was not tried.
_CONTAINERD = {"debian-12": "1.6.20"}
_PLUGINS_VERSION = "v1.9.1"
_PLUGINS = f"github.com/containernetworking/plugins@{_PLUGINS_VERSION}"
_PLUGINS_SUM = "h1:8oU6WsIsU3bpnNZuvHp74a6cE1MJwbj2P7s4/yTUNlA="
_PLUGINS_USED = ("main/ptp", "main/loopback", "ipam/host-local", "meta/portmap")
_ROUTER_VERSION = "v2.1.0"
_ROUTER = f"github.com/cloudnativelabs/kube-router/v2@{_ROUTER_VERSION}"
_ROUTER_SUM = "h1:xWsptKtmZ44L+NjwFKoFAFlVdxCz8fka9A/eYJe95Ok="
_KUBERNETES = f"k8s.io/kubernetes@{KUBERNETES_VERSION}"
_KUBERNETES_SUM = "h1:o/8dBC/pHVpYoGV4OAIytAlNPZbdYVTXJHoYvXC4qzM="
# What kubelet alone imports. They are not in the control plane's go.sum, by which its builds are
# kept.
_KUBELET_SUMS = Path(__file__).with_name("tools") / "kubelet.sum"
_COREDNS_VERSION = "v1.14.7"
_COREDNS_MODULE = Path(__file__).with_name("tools") / "coredns"
_PAUSE_SOURCE = Path("build", "pause", "linux", "pause.c")
_PAUSE_MODULE = Path(__file__).with_name("tools") / "pause"


@dataclass(frozen=True)
class NodePrograms:
    """Where the programs are."""

    kubernetes: Path
    """A folder with etcd, kube-apiserver, kube-proxy and so on."""

    kubelet: Path
    """A folder with kubelet."""

    containerd: Path
    """The root of Debian's files of containerd and runc."""

    plugins: Path
    """A folder with the CNI plugins."""

    coredns: Path
    """A folder with CoreDNS."""

    kube_router: Path
    """A folder with kube-router."""

    pause: Path
    """The static program that keeps a pod's namespaces."""

    def environment(self) -> dict[str, str]:
        """How containerd finds runc and its shim, and all find the packet filter's programs."""
        found = netfilter.environment()
        own = [str(self.containerd / "usr" / part) for part in ("bin", "sbin")]
        return {**found, "PATH": os.pathsep.join([*own, found["PATH"]])}


def ensure(progress: Progress) -> NodePrograms:
    """Makes what is not there yet, and the packet filter's programs; minutes the first time.

    Raises:
        EngineError: a download or a build failed; names the log.
    """
    kept = paths.cache() / "builds"
    release = debian.release()
    wanted = _CONTAINERD.get(release, "")

    def kubelet(target: Path) -> None:
        with progress.step(f"Building kubelet {KUBERNETES_VERSION}"):
            module = target / "module"
            shutil.copytree(TOOLS, module)
            with (module / "go.sum").open("ab") as sums:
                sums.write(_KUBELET_SUMS.read_bytes())
            build("kubelet", target, module)
            shutil.rmtree(module)

    def containerd(target: Path) -> None:
        (target / "root").mkdir()
        with progress.step(f"containerd {wanted or f'of {release}'}") as step:
            debian.unpack(("containerd", "runc"), target / "root", step, version=wanted)

    def plugins(target: Path) -> None:
        with progress.step(f"Building CNI plugins {_PLUGINS_VERSION}"):
            module = golang.download(_PLUGINS, _PLUGINS_SUM, "cni-plugins")
            packages = [f"./plugins/{name}" for name in _PLUGINS_USED]
            golang.build(module, packages, target, "cni-plugins")

    def coredns(target: Path) -> None:
        with progress.step(f"Building CoreDNS {_COREDNS_VERSION}"):
            golang.build(_COREDNS_MODULE, ["."], target, "coredns")

    def kube_router(target: Path) -> None:
        with progress.step(f"Building kube-router {_ROUTER_VERSION}"):
            module = golang.download(_ROUTER, _ROUTER_SUM, "kube-router")
            golang.build(module, ["./cmd/kube-router"], target, "kube-router")

    netfilter.ensure(progress)
    return NodePrograms(
        kubernetes=ensure_programs(progress),
        kubelet=builds.make_once(folder("kubelet"), kubelet),
        containerd=builds.make_once(
            kept / "-".join(filter(None, ("containerd", wanted, release))), containerd
        )
        / "root",
        plugins=builds.make_once(kept / f"cni-plugins-{_PLUGINS_VERSION}", plugins),
        coredns=builds.make_once(kept / _coredns_name(), coredns),
        kube_router=builds.make_once(kept / f"kube-router-{_ROUTER_VERSION}", kube_router),
        pause=builds.make_once(kept / f"pause-{KUBERNETES_VERSION}", _pause) / "pause",
    )


def _coredns_name() -> str:
    files = sorted(_COREDNS_MODULE.iterdir())
    lock = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]
    return f"coredns-{_COREDNS_VERSION}-{lock}"


def _pause(target: Path) -> None:
    """Kubernetes' own pause.c where there is a C compiler, else the same in Go."""
    if shutil.which("cc"):
        source = golang.download(_KUBERNETES, _KUBERNETES_SUM, "pause") / _PAUSE_SOURCE
        version = f"-DVERSION={KUBERNETES_VERSION}"
        builds.run(["cc", "-Os", "-static", version, "-o", target / "pause", source], "pause")
    else:
        golang.build(_PAUSE_MODULE, ["."], target, "pause")
