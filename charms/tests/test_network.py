"""Who reaches each application besides the related ones: a change of this table is a decision."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from charmed_mlops.testing import ROOT, Charm, broker, loaded, merged

WEBHOOKS = {
    "admission-webhook": {4443},
    "katib-controller": {8443},
    "knative-serving": {8443},
    "kserve-controller": {9443},
    "pvcviewer-controller": {9443},
    "spark-operator": {9443},
    "trainer": {9443, 9444},
    "training-operator": {9443},
}
ANYONE = {"gateway": {8080, 8443}, **WEBHOOKS}
USERS = {
    "katib-db-manager": {6789},
    "kfp-api": {8887},
    "kourier": {8082},
    "mlflow": {5000},
    "mlmd": {8080},
}
# Their own tests play the program that they talk to: charms/NAME/tests/unit.
PLAYED = {"mariadb", "object-store"}


def asks_the_broker(folder: Path) -> bool:
    return any(
        spec["interface"] == "cluster_resources"
        for spec in (merged(folder).get("requires") or {}).values()
    )


FOLDERS = sorted(path.parent for path in (ROOT / "charms").glob("*/charmcraft.yaml"))
ASKING = [each for each in FOLDERS if asks_the_broker(each)]
SETTLING = [each for each in ASKING if each.name not in PLAYED]


@pytest.fixture(params=SETTLING, ids=[each.name for each in SETTLING])
def charm(request: pytest.FixtureRequest) -> Iterator[Charm]:
    with loaded(request.param) as loaded_charm:
        yield loaded_charm


def ports(rules: list[dict[str, Any]]) -> set[int]:
    return {port["port"] for rule in rules for port in rule["ports"]}


def test_every_application_but_the_broker_can_have_a_policy():
    assert {each.name for each in FOLDERS} - {each.name for each in ASKING} == {"resource-broker"}


def test_just_the_named_ports_are_open_to_others(charm: Charm):
    out = charm.settled(broker())
    rules = charm.manifest(out, "NetworkPolicy", charm.name)["spec"]["ingress"]
    open_to_all = [rule for rule in rules if "from" not in rule]
    assert ports(open_to_all) == ANYONE.get(charm.name, set())
    users = [rule for rule in rules if "from" in rule and "ports" in rule]
    assert ports(users) == USERS.get(charm.name, set())
