"""Services, by kube-proxy in a cluster of its own: who answers, and whom it sees asking."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(scope="module")
def answers(in_a_cluster: Callable[[str], dict[str, Any]]) -> dict[str, str]:
    """What the askers were answered, addresses replaced by whose they are."""
    found = in_a_cluster("services_inside")["services"]
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
