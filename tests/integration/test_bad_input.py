"""What a user gets wrong is told in one line, and put right by the command that the line names."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import jubilant
import pytest
from reach import Reach

SETTLE_SECONDS = 600.0


@pytest.fixture(scope="module")
def juju(charms: Path) -> Iterator[jubilant.Juju]:
    """A model with a database that works, and two applications that lack all their relations."""
    name = f"bad-input-{secrets.token_hex(3)}"
    juju = jubilant.Juju()
    juju.add_model(name)
    for charm, image in (
        ("mariadb", "docker.io/library/mariadb:10.11.19"),
        ("mlflow", "ghcr.io/mlflow/mlflow:v3.17.2-full"),
        ("kserve-controller", "docker.io/kserve/kserve-controller:v0.16.0"),
    ):
        juju.deploy(charms / f"{charm}.charm", charm, resources={"oci-image": image})
    yield juju
    juju.destroy_model(name, destroy_storage=True, force=True)


def wait(juju: jubilant.Juju, application: str, status: str, message: str = "") -> str:
    """Returns the line of the application's unit when its status is this and the text is in it."""

    def there(found: jubilant.Status) -> bool:
        unit = found.apps[application].units.get(f"{application}/0")
        if unit is None or unit.juju_status.current != "idle":
            return False
        workload = unit.workload_status
        return workload.current == status and message in workload.message

    found = juju.wait(there, error=jubilant.any_error, timeout=SETTLE_SECONDS)
    return found.apps[application].units[f"{application}/0"].workload_status.message


def test_a_value_out_of_range_blocks_until_another_is_set(juju: jubilant.Juju):
    wait(juju, "mariadb", "active")
    juju.config("mariadb", {"max-connections": 1})
    line = wait(juju, "mariadb", "blocked")
    assert line == "config max-connections=1: must be from 10 to 10000"
    juju.config("mariadb", {"max-connections": 300})
    wait(juju, "mariadb", "active")


def test_a_value_that_is_none_of_the_choices_blocks(juju: jubilant.Juju):
    juju.config("mlflow", {"log-level": "loud"})
    line = wait(juju, "mlflow", "blocked", "log-level")
    assert line == "config log-level=loud: must be one of debug, info, warning, error"
    juju.config("mlflow", reset="log-level")
    wait(juju, "mlflow", "blocked", "relation")


@pytest.mark.parametrize(
    ("application", "endpoint"), [("mlflow", "database"), ("kserve-controller", "manifests")]
)
def test_a_missing_relation_is_named(juju: jubilant.Juju, application: str, endpoint: str):
    line = wait(juju, application, "blocked", "relation")
    assert f"relation {endpoint}" in line
    assert f"juju integrate {application}:{endpoint} " in line
    assert "\n" not in line


def test_a_relation_that_is_made_leads_to_the_next_one(juju: jubilant.Juju):
    juju.integrate("mlflow:database", "mariadb:database")
    line = wait(juju, "mlflow", "blocked", "relation object-store")
    assert "juju integrate mlflow:object-store " in line


@pytest.mark.localjuju  # elsewhere the words are Juju's own
@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("deploy ./none.yaml", "none.yaml"),
        ("deploy ./none.charm", "none.charm"),
        ("config mariadb max-connections=many", "max-connections"),
        ("config mariadb max-connection=10", "max-connection"),
        ("integrate mlflow:nothing mariadb", "nothing"),
        ("integrate mlflow kserve-controller", "no relations found"),
        ("run mariadb/0 nothing", "nothing"),
        ("run mariadb/7 get-credentials", "mariadb/7"),
    ],
)
def test_a_refused_command_says_why_in_one_line(juju: jubilant.Juju, command: str, said: str):
    with pytest.raises(jubilant.CLIError) as refused:
        juju.cli(*command.split())
    assert refused.value.returncode != 0
    lines = refused.value.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("ERROR ")
    assert said in lines[0]


def test_a_bad_bundle_deploys_nothing(juju: jubilant.Juju, tmp_path: Path):
    file = tmp_path / "bundle.yaml"
    file.write_text("applications:\n  lost:\n    charm: ./lost.charm\n    scale: 1\n")
    with pytest.raises(jubilant.CLIError) as refused:
        juju.cli("deploy", str(file))
    assert "lost.charm" in refused.value.stderr
    assert "lost" not in juju.status().apps


@pytest.mark.localjuju
def test_a_client_that_wants_its_first_list_as_a_stream_is_told_at_once_that_there_is_none(
    reach: Reach,
):
    # let in, it would fail and try again for ever: the engine's etcd cannot do it
    query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=1"
    with pytest.raises(Exception, match="returned non-zero") as refused:
        reach.kubectl("get", "--raw", f"/api/v1/pods?{query}&allowWatchBookmarks=true")
    assert "sendInitialEvents" in getattr(refused.value, "stderr", "")
