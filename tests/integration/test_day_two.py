"""Day two on a running stack: backups, rotations, inventory, scale, refresh; nothing is lost.

The tests of this file run in order on one model.
"""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import jubilant
import pytest
from reach import Reach

from charmed_mlops.errors import CommandFailed
from charmed_mlops.interfaces.s3 import Bucket
from charmed_mlops.objects import Objects

BUNDLE = Path(__file__).parents[2] / "bundle" / "core.yaml"
SETTLE_SECONDS = 900.0


def settle(juju: jubilant.Juju) -> jubilant.Status:
    """Returns when every unit is active and idle; fails at the first error status."""
    return juju.wait(
        lambda status: jubilant.all_active(status) and jubilant.all_agents_idle(status),
        error=jubilant.any_error,
        timeout=SETTLE_SECONDS,
    )


@pytest.fixture(scope="module")
def stack(juju: jubilant.Juju, charms: Path) -> jubilant.Juju:
    """The core bundle, deployed and settled."""
    juju.deploy(BUNDLE, trust=True)
    settle(juju)
    return juju


class Tracking:
    """MLflow's REST API, as far as these tests use it."""

    def __init__(self, reach: Reach, namespace: str):
        self._reach = reach
        self._namespace = namespace

    def call(self, path: str, body: dict[str, object]) -> dict:
        """POSTs to /api/2.0/mlflow/PATH. Raises urllib.error.URLError."""
        with self._reach.forward(self._namespace, "mlflow", 5000) as url:
            request = urllib.request.Request(
                f"{url}/api/2.0/mlflow/{path}",
                json.dumps(body).encode(),
                {"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=60) as response:
                return json.load(response)

    def add(self, name: str) -> None:
        """Creates an experiment."""
        self.call("experiments/create", {"name": name})

    def names(self) -> set[str]:
        """The experiments there are."""
        found = self.call("experiments/search", {"max_results": 100})
        return {experiment["name"] for experiment in found["experiments"]}


@pytest.fixture(scope="module")
def tracking(stack: jubilant.Juju, reach: Reach) -> Tracking:
    """MLflow of the stack."""
    return Tracking(reach, stack.show_model().short_name)


def backups(stack: jubilant.Juju) -> list[dict[str, str]]:
    """What the action lists, oldest first."""
    found = stack.run("mariadb/leader", "list-backups").results.get("backups", {})
    return [each for _, each in sorted(found.items())]


def test_a_restored_backup_holds_what_was_there_when_it_was_made(
    stack: jubilant.Juju, tracking: Tracking
):
    tracking.add("before")
    made = stack.run("mariadb/leader", "create-backup", wait=300).results
    assert made["place"] == "bucket"
    tracking.add("after")
    assert {"before", "after"} <= tracking.names()
    (line,) = (each for each in backups(stack) if each["backup"] == made["backup"])
    assert line["place"] == "bucket"

    with pytest.raises(jubilant.TaskError, match="confirm=true"):
        stack.run("mariadb/leader", "restore", {"backup": made["backup"]})
    stack.run("mariadb/leader", "restore", {"backup": made["backup"], "confirm": True}, wait=300)

    settle(stack)
    assert "before" in tracking.names()
    assert "after" not in tracking.names()


def test_old_backups_go_and_those_of_the_bucket_outlive_the_relation(
    stack: jubilant.Juju, tracking: Tracking
):
    made = stack.run("mariadb/leader", "create-backup", {"keep": 1}, wait=300).results
    assert [each["backup"] for each in backups(stack)] == [made["backup"]]

    stack.cli("remove-relation", "mariadb:s3", "object-store:s3")
    stack.wait(lambda status: "s3" not in status.apps["mariadb"].relations, timeout=60)
    settle(stack)
    kept = stack.run("mariadb/leader", "create-backup", wait=300).results
    assert kept["place"] == "storage"
    assert made["backup"] not in [each["backup"] for each in backups(stack)]

    stack.integrate("mariadb:s3", "object-store:s3")
    stack.wait(lambda status: "s3" in status.apps["mariadb"].relations, timeout=60)
    settle(stack)
    assert [each["place"] for each in backups(stack)] == ["bucket", "storage"]
    stack.run("mariadb/leader", "restore", {"backup": kept["backup"], "confirm": True}, wait=300)
    settle(stack)
    assert "before" in tracking.names()


def test_nobody_but_mariadb_reads_its_backups(stack: jubilant.Juju, reach: Reach):
    """kserve-controller may read what others stored for it; a dump is not for it."""
    namespace = stack.show_model().short_name
    backup = backups(stack)[0]["backup"]
    answers = {}
    for application in ("mariadb", "kserve-controller"):
        keys = stack.run(
            "object-store/leader", "get-credentials", {"application": application}
        ).results
        with reach.forward(namespace, "object-store", 7070) as url:
            bucket = Bucket(
                url, f"{namespace}-mariadb", keys["region"], keys["access-key"], keys["secret-key"]
            )
            try:
                with Objects(bucket, "backups/mariadb").get(f"{backup}.json") as answer:
                    answers[application] = answer.status
            except CommandFailed as error:
                answers[application] = error.code
    assert answers == {"mariadb": 200, "kserve-controller": 403}


def test_a_rotated_password_and_key_reach_mlflow(stack: jubilant.Juju, tracking: Tracking):
    relation = relation_id(stack, "mlflow/0", "database")
    user = f"relation-{relation}"
    old = stack.run("mariadb/leader", "get-credentials", {"username": user}).results
    stack.run("mariadb/leader", "rotate-password", {"username": user})
    new = stack.run("mariadb/leader", "get-credentials", {"username": user}).results
    assert old["password"] != new["password"]
    stack.run("object-store/leader", "rotate-keys", {"application": "mlflow"})
    settle(stack)
    tracking.add("rotated")
    assert {"before", "rotated"} <= tracking.names()


def relation_id(juju: jubilant.Juju, unit: str, endpoint: str) -> int:
    """The id of a unit's relation."""
    shown = json.loads(juju.cli("show-unit", unit, "--format", "json"))[unit]
    return next(
        relation["relation-id"]
        for relation in shown["relation-info"]
        if relation["endpoint"] == endpoint
    )


def test_the_store_tells_its_buckets_and_what_they_take(stack: jubilant.Juju):
    stack.run("object-store/leader", "create-bucket", {"bucket": "extra-data"})
    listed = stack.run("object-store/leader", "list-buckets").results["buckets"].values()
    assert "extra-data" in [each["name"] for each in listed]
    assert "mlflow" in [each["owner"] for each in listed]
    usage = stack.run("object-store/leader", "usage").results
    assert int(usage["used-bytes"]) > 0
    assert int(usage["free-bytes"]) > 0


def test_the_broker_knows_what_it_applied_and_has_no_leftovers(stack: jubilant.Juju):
    inventory = stack.run("resource-broker/leader", "inventory").results
    applied: dict[str, list[str]] = {}
    for each in inventory["objects"].values():
        applied.setdefault(each["application"], []).append(each["object"])
    assert set(applied) == {"kserve-controller", "mariadb", "mlflow", "object-store"}
    namespace = stack.show_model().short_name
    assert applied["mariadb"] == [f"NetworkPolicy/mariadb in {namespace}"]
    assert int(inventory["count"]) == sum(map(len, applied.values()))
    assert len(applied["kserve-controller"]) > 20
    assert stack.run("resource-broker/leader", "leftovers").results["count"] == "0"


def test_mlflow_scales_and_every_unit_answers(stack: jubilant.Juju, tracking: Tracking):
    stack.cli("scale-application", "mlflow", "3")
    stack.wait(lambda status: len(status.apps["mlflow"].units) == 3, timeout=60)
    settle(stack)
    for _ in range(6):
        assert "before" in tracking.names()
    stack.cli("scale-application", "mlflow", "1")
    stack.wait(lambda status: len(status.apps["mlflow"].units) == 1, timeout=SETTLE_SECONDS)
    settle(stack)
    assert "before" in tracking.names()


def test_a_refresh_keeps_what_is_stored(stack: jubilant.Juju, tracking: Tracking, charms: Path):
    for name in ("mariadb", "object-store", "mlflow"):
        stack.refresh(name, path=charms / f"{name}.charm")
    settle(stack)
    assert {"before", "rotated"} <= tracking.names()
