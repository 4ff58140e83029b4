"""What the node's programs are told."""

from __future__ import annotations

import json
from pathlib import Path

from localkube.controlplane.plane import NODE_IP
from localkube.host import mapped
from localkube.node import names
from localkube.node.network import PODS

NODE = "localkube"
PAUSE_IMAGE = "localkube.internal/pause:1"
SOCKET = Path("/run/containerd/containerd.sock")  # of the mount namespace's own /run
_PODS_AT_MOST = 500
_PRESSURES = (
    "memory.available", "nodefs.available", "nodefs.inodesFree", "imagefs.available",
    "imagefs.inodesFree",
)  # fmt: skip


def kubelet(
    state: Path, authority: Path, certificate: Path, key: Path, *, bounded: bool = True
) -> dict[str, object]:
    """A KubeletConfiguration.

    Args:
        state: the node's folder.
        authority: the certificate of who signs clients.
        certificate: kubelet's own, as a server.
        key: of that certificate.
        bounded: whether pods are to have control groups.
    """
    unbounded = {"cgroupsPerQOS": False, "enforceNodeAllocatable": []}
    # What the kernel refuses to a namespace's root is then no reason to end.
    plain = {"featureGates": {"KubeletInUserNamespace": True}}
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_IP,
        "tlsCertFile": str(certificate),
        "tlsPrivateKeyFile": str(key),
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(authority)},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "clusterDNS": [names.ADDRESS],
        "clusterDomain": names.DOMAIN,
        "resolvConf": str(state / "pods-resolv.conf"),
        "podLogsDir": str(state / "pods"),
        "volumePluginDir": str(state / "volume-plugins"),
        "maxPods": _PODS_AT_MOST,
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        # It is the host's memory and disk, of which others take: nothing is evicted for that.
        "evictionHard": dict.fromkeys(_PRESSURES, "0%"),
        "serializeImagePulls": False,  # one may be made for minutes, others are there already
        "registryPullQPS": 0,  # no limit: the registry is this node's own
        "imageGCHighThresholdPercent": 100,  # never
        "oomScoreAdj": 0,  # a lower one needs CAP_SYS_RESOURCE
        **({} if bounded else unbounded),
        **(plain if mapped.is_inside() else {}),
    }  # fmt: skip


def network(state: Path) -> dict[str, object]:
    """A CNI network: the node is each pod's next hop, so that all it sends meets kube-proxy."""
    return {
        "cniVersion": "1.0.0",
        "name": NODE,
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": False,
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(state / "addresses"),
                    "ranges": [[{"subnet": str(PODS), "gateway": NODE_IP}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def containerd(
    state: Path, plugins: Path, snapshotter: str = "overlayfs", *, bounded: bool = True
) -> str:
    """containerd's configuration, TOML of version 2.

    Args:
        state: the node's folder.
        plugins: the folder with the CNI plugins.
        snapshotter: how trees of images are kept; see `snapshots`.
        bounded: whether containers are to have control groups.
    """
    # A basic string of TOML has the escapes of one of JSON.
    root, temp, opt, bin_dir, conf_dir, registries, image, socket = (
        json.dumps(str(value))
        for value in (
            state / "containerd", state / "tmp", state / "containerd-opt", plugins, state / "cni",
            state / "registries", PAUSE_IMAGE, SOCKET,
        )
    )  # fmt: skip
    return f"""version = 2
root = {root}
temp = {temp}
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
]
[grpc]
address = {socket}
[plugins."io.containerd.internal.v1.opt"]
path = {opt}
[plugins."io.containerd.grpc.v1.cri"]
disable_apparmor = true
disable_cgroup = {json.dumps(not bounded)}
restrict_oom_score_adj = true
sandbox_image = {image}
[plugins."io.containerd.grpc.v1.cri".containerd]
discard_unpacked_layers = true
snapshotter = "{snapshotter}"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = {bin_dir}
conf_dir = {conf_dir}
[plugins."io.containerd.grpc.v1.cri".registry]
config_path = {registries}
"""
