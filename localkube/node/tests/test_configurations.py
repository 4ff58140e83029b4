"""What the node's programs are told."""

from __future__ import annotations

import re
from pathlib import Path

from localkube.controlplane.plane import NODE_IP
from localkube.node import configurations

STATE = Path("/some/state")


def test_kubelet_evicts_nothing_and_asks_for_no_right_that_a_sandbox_lacks():
    told = configurations.kubelet(STATE, Path("/ca"), Path("/crt"), Path("/key"))
    assert isinstance(told["evictionHard"], dict)
    assert set(told["evictionHard"].values()) == {"0%"}
    assert told["oomScoreAdj"] == 0
    assert told["failCgroupV1"] is False
    assert told["cgroupDriver"] == "cgroupfs"


def test_kubelet_answers_only_who_may_ask():
    told = configurations.kubelet(STATE, Path("/ca"), Path("/crt"), Path("/key"))
    assert told["authentication"] == {
        "anonymous": {"enabled": False},
        "webhook": {"enabled": True},
        "x509": {"clientCAFile": "/ca"},
    }
    assert told["authorization"] == {"mode": "Webhook"}


def test_every_folder_that_is_named_lies_in_the_state_folder_or_the_private_run():
    written = configurations.containerd(STATE, Path("/plugins"))
    named = re.findall(r'"(/[^"]*)"', written)
    assert len(named) == 7
    for path in named:
        assert path.startswith(("/some/state/", "/run/containerd/")) or path == "/plugins"


def test_a_path_with_a_quote_stays_one_string_of_toml():
    written = configurations.containerd(Path('/odd"state'), Path("/plugins"))
    assert 'root = "/odd\\"state/containerd"' in written


def test_the_node_is_each_pods_next_hop():
    ptp, portmap = configurations.network(STATE)["plugins"]  # type: ignore[misc]
    assert ptp["ipam"]["ranges"] == [[{"subnet": "10.1.0.0/16", "gateway": NODE_IP}]]
    assert ptp["ipMasq"] is False  # a client's address is kept
    assert portmap["type"] == "portmap"
