"""Services, by kube-proxy in a cluster of its own: who answers, and whom it sees asking."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from localjuju.controlplane import ensure_programs
from localjuju.progress import Progress

_INSIDE = Path(__file__).with_name("cluster_inside.py")
_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


def _host() -> list[str]:
    """Interfaces, routes and the setting that the node changes in its own network."""
    links = sorted(path.name for path in Path("/sys/class/net").iterdir())
    return [*links, Path("/proc/net/route").read_text(), _FORWARDING.read_text()]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the functions of `services_inside` saw."""
    if os.geteuid() != 0:
        pytest.skip("the node runs as root only so far")
    state = tmp_path_factory.mktemp("state")
    before = _host()
    done = subprocess.run(
        [sys.executable, _INSIDE, ensure_programs(Progress()), state, "services_inside"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert _host() == before, "the host's own network was changed"
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def answers(seen: dict[str, Any]) -> dict[str, str]:
    """What the askers were answered, addresses replaced by whose they are."""
    found = seen["services"]
    assert isinstance(found, dict), found
    owners = {address: owner for owner, address in found.pop("addresses").items()}
    replaced = {}
    for name, said in found.items():
        who, _, address = said.partition(" ")
        replaced[name] = f"{who} {owners[address]}" if address else said
    return replaced


@pytest.mark.parametrize("asked", ["tcp", "another port", "udp", "by name", "headless", "pod"])
def test_a_service_keeps_the_client_s_address(answers: dict[str, str], asked: str):
    assert answers[asked] == "web client"


def test_a_pod_reaches_itself_through_its_service(answers: dict[str, str]):
    assert answers["itself"].startswith("web ")


@pytest.mark.parametrize("asked", ["node port", "balancer"])
def test_a_service_answers_outside_its_cluster_address(answers: dict[str, str], asked: str):
    assert answers[asked].startswith("web ")


@pytest.mark.parametrize("how", ["", ", by name", ", udp", ", node port"])
def test_the_node_s_own_programs_reach_services(answers: dict[str, str], how: str):
    assert answers[f"from the node{how}"] == "web node"


def test_a_service_without_a_pod_refuses(answers: dict[str, str]):
    assert answers["nobody"] == "ConnectionRefusedError"


def test_there_is_no_way_out(answers: dict[str, str]):
    assert answers["out"] == "OSError"
