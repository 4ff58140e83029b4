"""The base class and the workload, by state transitions."""

from __future__ import annotations

import subprocess
import sys

import ops
import pytest
from ops import testing

from charmed_mlops import ActionFailed, File, Http, ServiceCharm, Waiting

META = {
    "name": "tea",
    "containers": {"tea": {"resource": "image"}},
    "resources": {"image": {"type": "oci-image"}},
    "peers": {"peers": {"interface": "peers"}},
}
CONFIG = {
    "options": {
        "log-level": {"type": "string", "default": "info"},
        "workers": {"type": "int", "default": 1},
    }
}
ACTIONS = {"brew": {"params": {"kind": {"type": "string"}}, "additionalProperties": False}}


class Tea(ServiceCharm):
    """A service whose one input is its config."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container="tea")

    def reconcile(self) -> None:
        level = self.choice("log-level", "debug", "info")
        workers = self.number("workers", 1, 8)
        secret = self.app_secret("leaf", lambda: {"key": "green"})
        if level == "debug" and workers == 8:
            raise Waiting("waiting for water")
        self.workload.run(
            command=f"/bin/tea --workers={workers}",
            files={"/etc/tea": f"{level}\n", "/etc/leaf": File(secret["key"], mode=0o600)},
            check=Http(8080, "/healthz"),
            environment={"LEVEL": level},
            version="1.0",
        )
        self.set_ports(8080)

    def action_brew(self, params: dict[str, str]) -> dict[str, str]:
        if params.get("kind") != "green":
            raise ActionFailed("kind must be green")
        return {"kind": params["kind"]}


@pytest.fixture
def context() -> testing.Context[Tea]:
    return testing.Context(Tea, meta=META, config=CONFIG, actions=ACTIONS)


def state(container: testing.Container | None = None, **kwargs) -> testing.State:
    container = container or testing.Container("tea", can_connect=True)
    return testing.State(leader=kwargs.pop("leader", True), containers=[container], **kwargs)


def checks(
    container: testing.Container,
    start: ops.pebble.CheckStatus,
    lasting="up",
    successes=0,
    answered=0,
):
    infos = {
        testing.CheckInfo(
            "tea-start",
            status=start,
            threshold=1,
            successes=successes,
            failures=int(start == ops.pebble.CheckStatus.DOWN),
            startup=ops.pebble.CheckStartup.DISABLED,
        ),
        testing.CheckInfo(
            "tea",
            level=ops.pebble.CheckLevel.READY,
            status=ops.pebble.CheckStatus(lasting),
            successes=answered,
            failures=3 if lasting == "down" else 0,
        ),
    }
    return testing.Container(
        "tea",
        can_connect=True,
        layers=container.layers,
        service_statuses=container.service_statuses,
        check_infos=infos,
    )


def test_waits_for_the_container(context):
    container = testing.Container("tea", can_connect=False)
    out = context.run(context.on.config_changed(), state(container))
    assert out.unit_status == testing.WaitingStatus("waiting for container tea")


def test_runs_the_service_with_its_files(context):
    container = testing.Container("tea", can_connect=True)
    out = context.run(context.on.pebble_ready(container), state(container))
    result = out.get_container("tea")
    assert out.unit_status == testing.ActiveStatus()
    assert out.opened_ports == {testing.TCPPort(8080)}
    assert out.workload_version == "1.0"
    root = result.get_filesystem(context)
    assert (root / "etc/tea").read_text() == "info\n"
    assert (root / "etc/leaf").stat().st_mode & 0o777 == 0o600
    service = result.plan.services["tea"]
    assert service.command == "/bin/tea --workers=1"
    assert service.environment["LEVEL"] == "info"
    assert result.plan.checks["tea"].http == {"url": "http://localhost:8080/healthz"}
    assert result.service_statuses["tea"] == ops.pebble.ServiceStatus.ACTIVE


def test_a_second_run_changes_nothing_and_a_changed_file_changes_the_layer(context):
    first = context.run(context.on.config_changed(), state())
    second = context.run(context.on.config_changed(), first)
    plan = first.get_container("tea").plan
    assert second.get_container("tea").plan == plan
    assert second.get_container("tea").layers == first.get_container("tea").layers
    third = context.run(
        context.on.update_status(),
        testing.State(
            leader=True,
            containers=second.containers,
            secrets=[
                testing.Secret({"key": "black"}, label="leaf", owner="app"),
            ],
        ),
    )
    changed = third.get_container("tea").plan.services["tea"].environment
    before = plan.services["tea"].environment
    assert changed["CHARMED_MLOPS_FILES"] != before["CHARMED_MLOPS_FILES"]


@pytest.mark.parametrize(
    "start, lasting, successes, message",
    [
        ("down", "up", 0, "waiting for tea to answer"),
        ("inactive", "down", 0, "tea does not answer its health check"),
        ("up", "up", 1, ""),
    ],
)
def test_status_follows_the_checks(context, start, lasting, successes, message):
    first = context.run(context.on.config_changed(), state())
    container = checks(
        first.get_container("tea"), ops.pebble.CheckStatus(start), lasting, successes
    )
    again = testing.State(leader=True, containers=[container], secrets=first.secrets)
    out = context.run(context.on.update_status(), again)
    assert out.unit_status.message == message
    assert out.unit_status.name == ("waiting" if message else "active")
    infos = {info.name: info for info in out.get_container("tea").check_infos}
    if start == "up":  # it has done its work
        assert infos["tea-start"].status == ops.pebble.CheckStatus.INACTIVE


def test_a_restart_is_told_while_it_lasts(context):
    first = context.run(context.on.config_changed(), state())
    config: dict[str, str | int] = {"workers": 2}
    again = testing.State(
        leader=True, containers=first.containers, secrets=first.secrets, config=config
    )
    out = context.run(context.on.config_changed(), again)
    assert context.unit_status_history[-1] == testing.MaintenanceStatus("restarting tea")
    # Pebble has found that it does not answer, and wakes the charm
    box = checks(out.get_container("tea"), ops.pebble.CheckStatus.DOWN, answered=7)
    waits = testing.State(leader=True, containers=[box], secrets=out.secrets, config=config)
    out = context.run(context.on.pebble_check_failed(box, box.get_check_info("tea-start")), waits)
    assert out.unit_status == testing.MaintenanceStatus("restarting tea")


def test_a_first_start_is_no_restart(context):
    context.run(context.on.config_changed(), state())
    assert testing.MaintenanceStatus("restarting tea") not in context.unit_status_history


@pytest.mark.parametrize(
    "config, status",
    [
        (
            {"log-level": "loud"},
            testing.BlockedStatus("config log-level=loud: must be one of debug, info"),
        ),
        (
            {"workers": 9},
            testing.BlockedStatus(
                "config workers=9: must be from 1 to 8: juju config tea --reset workers"
            ),
        ),
        ({"log-level": "debug", "workers": 8}, testing.WaitingStatus("waiting for water")),
    ],
)
def test_reasons_become_statuses(context, config, status):
    out = context.run(context.on.config_changed(), state(config=config))
    assert out.unit_status == status


def test_a_follower_waits_for_the_leaders_secret(context):
    out = context.run(context.on.config_changed(), state(leader=False))
    assert out.unit_status == testing.WaitingStatus("waiting for the leader to create secret leaf")


def test_actions(context):
    context.run(context.on.action("brew", params={"kind": "green"}), state())
    assert context.action_results == {"kind": "green"}
    with pytest.raises(testing.ActionFailed, match="kind must be green"):
        context.run(context.on.action("brew", params={"kind": "black"}), state())


def test_importing_the_library_is_cheap():
    code = (
        "import sys, charmed_mlops\n"
        "LATER = ('jinja2', 'lightkube', 'cryptography', 'pydantic')\n"
        "print([m for m in ('ops', *LATER) if m in sys.modules])\n"
        "from charmed_mlops import ClusterResources, Quantity, ServiceCharm\n"
        "print([m for m in LATER if m in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": "lib"}, capture_output=True, text=True
    )
    assert out.stdout == "[]\n[]\n", out.stderr
