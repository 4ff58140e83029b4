"""What `Workload.run` writes: files and their modes, several services, checks, log targets."""

from __future__ import annotations

import dataclasses
import json
from typing import Literal

import ops
import pytest
from ops import testing

from charmed_mlops import Blocked, File, Http, ServiceCharm, Tcp
from charmed_mlops.checks import duration
from charmed_mlops.errors import Waiting

META = {
    "name": "tea",
    "containers": {"tea": {"resource": "image"}, "milk": {"resource": "image"}},
    "resources": {"image": {"type": "oci-image"}},
    "requires": {"logging": {"interface": "loki_push_api"}},
}
OPTIONS = {
    "files": {"type": "string", "default": "one two"},
    "mode": {"type": "int", "default": 0o600},
    "reason": {"type": "string", "default": ""},
    "wrong": {"type": "boolean", "default": False},
}


MODEL = testing.Model("shop", uuid="9f2c6e2f-6c2b-4a4e-8f2e-0f7d1e6a2b3c")


class Tea(ServiceCharm):
    """Two containers; the first has two services."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container="tea")
        self.milk = self.add_workload("milk")
        self.kettle = self.add_workload("tea", service="kettle")

    def reconcile(self) -> None:
        if self.config["wrong"]:
            raise Blocked("config wrong=true")
        mode = int(self.config["mode"])
        files = {f"/tmp/{name}": File("x", mode) for name in str(self.config["files"]).split()}
        self.workload.run(
            "/bin/tea",
            files,
            Http(80),
            alive=Tcp(80),
            kill_delay=60,
            restart_on=str(self.config["reason"]),
        )
        self.kettle.run("/bin/kettle")
        self.milk.run("/bin/milk", check=Tcp(81))


@pytest.fixture
def context() -> testing.Context[Tea]:
    return testing.Context(Tea, meta=META, config={"options": OPTIONS})


def run(context, before: testing.State | None = None, **changes) -> testing.State:
    given: dict = {"leader": True, "model": MODEL}
    containers = before.containers if before else ()
    given["containers"] = containers or [
        testing.Container(name, can_connect=True) for name in ("tea", "milk")
    ]
    return context.run(context.on.config_changed(), testing.State(**{**given, **changes}))


def services(out: testing.State, container: str = "tea") -> dict[str, ops.pebble.Service]:
    return out.get_container(container).plan.services


def test_each_service_has_its_layer_and_each_container_its_services(context):
    out = run(context)
    assert out.unit_status == testing.ActiveStatus()
    assert sorted(services(out)) == ["kettle", "tea"]
    assert sorted(services(out, "milk")) == ["milk"]
    statuses = out.get_container("tea").service_statuses
    assert set(statuses.values()) == {ops.pebble.ServiceStatus.ACTIVE}


@pytest.mark.parametrize("container", ["tea", "milk"])
def test_the_charm_waits_while_any_container_is_not_there(context, container):
    containers = [
        testing.Container(name, can_connect=name != container) for name in ("tea", "milk")
    ]
    out = run(context, containers=containers)
    assert out.unit_status == testing.WaitingStatus(f"waiting for container {container}")


def test_a_service_that_hangs_is_restarted_by_pebble(context):
    out = run(context)
    assert services(out)["tea"].on_check_failure == {"tea-alive": "restart"}
    check = out.get_container("tea").plan.checks["tea-alive"]
    # no level: the kubelet would end the container as well
    assert check.level == ops.pebble.CheckLevel.UNSET
    assert check.threshold == 4


@pytest.mark.parametrize(
    "seconds, text", [(0.5, "500ms"), (10, "10s"), (60, "1m0s"), (90, "1m30s"), (3600, "1h0m0s")]
)
def test_durations_are_as_go_prints_them(seconds, text):
    assert duration(seconds) == text


def test_a_second_run_writes_nothing_and_restarts_nothing(context):
    first = run(context)
    second = run(context, first)
    for name in ("tea", "milk"):
        assert second.get_container(name).layers == first.get_container(name).layers


def test_a_signal_goes_to_a_service_that_runs_and_to_no_other(context, monkeypatch):
    sent = []
    monkeypatch.setattr(ops.Container, "send_signal", lambda _, *given: sent.append(given))
    state = testing.State(
        model=MODEL,
        containers=[testing.Container(name, can_connect=True) for name in ("tea", "milk")],
    )
    with context(context.on.config_changed(), state) as manager:
        manager.charm.milk.signal("SIGHUP")  # nothing runs yet, which is no error
        assert sent == []
        manager.run()
        manager.charm.milk.signal("SIGHUP")
        assert sent == [("SIGHUP", "milk")]
        manager.charm.milk.stop()
        manager.charm.milk.signal("SIGHUP")
    assert len(sent) == 1


def test_a_service_that_ends_in_the_moment_of_a_signal_fails_no_hook(context, monkeypatch):
    def gone(*_):
        raise ops.pebble.APIError({}, 400, "Bad Request", "service not running")

    monkeypatch.setattr(ops.Container, "send_signal", gone)
    with context(context.on.config_changed(), run(context)) as manager:
        manager.charm.workload.signal("SIGHUP")
        manager.run()


def test_a_file_that_is_no_longer_declared_is_removed_and_the_service_restarts(context):
    first = run(context)
    root = first.get_container("tea").get_filesystem(context)
    assert (root / "tmp/two").exists()
    second = run(context, first, config={"files": "one"})
    root = second.get_container("tea").get_filesystem(context)
    assert (root / "tmp/one").exists()
    assert not (root / "tmp/two").exists()
    assert services(second)["tea"].environment != services(first)["tea"].environment


def test_a_changed_mode_is_applied(context):
    first = run(context)
    second = run(context, first, config={"mode": 0o640})
    root = second.get_container("tea").get_filesystem(context)
    assert (root / "tmp/one").stat().st_mode & 0o777 == 0o640


def test_a_reason_to_restart_changes_that_service_alone(context):
    first = run(context)
    second = run(context, first, config={"reason": "new certificate"})
    assert services(second)["tea"] != services(first)["tea"]
    assert services(second)["kettle"] == services(first)["kettle"]


def test_logs_go_to_every_related_loki_and_stop_when_it_is_gone(context):
    # as loki-k8s writes it: patch 30 of loki_push_api v1
    data = {
        "endpoint": json.dumps({"url": "http://loki:3100/loki/api/v1/push"}),
        "public_address": "loki-0.loki-endpoints.cos.svc.cluster.local",
    }
    promtail = {"promtail_binary_zip_url": json.dumps({"amd64": {"filename": "promtail"}})}
    loki = testing.Relation(
        "logging", remote_app_name="loki", remote_app_data=promtail, remote_units_data={0: data}
    )
    first = run(context, relations=[loki])
    (target,) = first.get_container("milk").plan.log_targets.values()
    assert target.location == "http://loki:3100/loki/api/v1/push"
    assert target.services == ["all"]
    assert target.labels["juju_application"] == "tea"
    again = run(context, first, relations=[loki])
    assert again.get_container("milk").layers == first.get_container("milk").layers
    gone = run(context, first)
    (target,) = gone.get_container("milk").plan.log_targets.values()
    assert target.services == []
    again = run(context, gone)
    assert again.get_container("milk").layers == gone.get_container("milk").layers


def loki(name: str) -> testing.Relation:
    endpoint = json.dumps({"url": f"http://{name}:3100/loki/api/v1/push"})
    units: dict = {0: {"endpoint": endpoint}}
    return testing.Relation("logging", remote_app_name=name, remote_units_data=units)


def test_units_behind_one_ingress_get_each_line_once(context):
    # as opentelemetry-collector-k8s writes it behind traefik
    endpoint = json.dumps({"url": "http://10.64.140.43:3500/loki/api/v1/push"})
    units: dict = {number: {"endpoint": endpoint} for number in range(3)}
    collector = testing.Relation("logging", remote_app_name="otelcol", remote_units_data=units)
    out = run(context, relations=[collector])
    (target,) = out.get_container("tea").plan.log_targets.values()
    assert target.services == ["all"]
    again = run(context, out, relations=[collector])
    assert again.get_container("tea").layers == out.get_container("tea").layers


def test_logs_follow_loki_while_the_charm_waits_for_somebody(context):
    first = run(context, relations=[loki("old")])
    out = run(context, first, relations=[loki("new")], config={"wrong": True})
    assert isinstance(out.unit_status, testing.BlockedStatus)
    for name in ("tea", "milk"):
        targets = out.get_container(name).plan.log_targets.values()
        served = {target.location for target in targets if target.services}
        assert served == {"http://new:3100/loki/api/v1/push"}
    assert services(out) == services(first)
    again = run(context, out, relations=out.relations, config={"wrong": True})
    assert again.get_container("tea").layers == out.get_container("tea").layers


def test_a_charm_that_has_not_started_its_program_forwards_nothing(context):
    out = run(context, relations=[loki("new")], config={"wrong": True})
    assert not out.get_container("tea").layers


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"url": 3}',
        '{"url": null}',
        '{"url": "file:///etc/passwd"}',
        '{"url": "http://"}',
        '{"url": "http://:3100/loki/api/v1/push"}',  # a host that has no name yet
        '{"url": "http://loki:99999/loki/api/v1/push"}',
        '{"url": "http://[::1/loki/api/v1/push"}',
        '{"url": "http://lo ki:3100/loki/api/v1/push"}',
        '{"url": "http://loki:3100/\\n"}',
        '{"url": "http://loki\\ud800:3100/"}',
        "[" * 100_000,
    ],
)
def test_a_loki_that_says_nothing_usable_is_passed_over(context, text):
    data = {0: {"endpoint": text}}
    loki = testing.Relation("logging", remote_app_name="loki", remote_units_data=data)
    out = run(context, relations=[loki])
    assert out.unit_status == testing.ActiveStatus()
    assert not out.get_container("tea").plan.log_targets


def test_a_start_check_that_has_succeeded_once_is_done_though_it_fails_again(context):
    first = run(context)
    tea = first.get_container("tea")
    start = testing.CheckInfo(
        "tea-start",
        status=ops.pebble.CheckStatus.DOWN,
        threshold=1,
        failures=2,
        startup=ops.pebble.CheckStartup.DISABLED,
    )
    others = {info for info in tea.check_infos if info.name != "tea-start"}
    busy = dataclasses.replace(tea, check_infos={start} | others)
    before = dataclasses.replace(first, containers=[busy, first.get_container("milk")])
    failed = context.run(context.on.pebble_check_failed(busy, start), before)
    assert failed.unit_status == testing.WaitingStatus("waiting for tea to answer")
    out = context.run(context.on.pebble_check_recovered(busy, start), before)
    assert out.unit_status == testing.ActiveStatus()
    infos = {info.name: info for info in out.get_container("tea").check_infos}
    assert infos["tea-start"].status == ops.pebble.CheckStatus.INACTIVE


def test_a_unit_that_waits_is_woken_once_by_a_start_check_that_has_recovered(context, monkeypatch):
    first = run(context)
    tea = first.get_container("tea")
    start = testing.CheckInfo(
        "tea-start", threshold=1, successes=1, startup=ops.pebble.CheckStartup.DISABLED
    )
    others = {info for info in tea.check_infos if info.name != "tea-start"}
    answers = dataclasses.replace(tea, check_infos={start} | others)
    before = dataclasses.replace(first, containers=[answers, first.get_container("milk")])

    def wait(charm: Tea):
        raise Waiting("waiting for water")

    monkeypatch.setattr(Tea, "reconcile", wait)
    out = context.run(context.on.pebble_check_recovered(answers, start), before)
    assert out.unit_status == testing.WaitingStatus("waiting for water")
    infos = {info.name: info for info in out.get_container("tea").check_infos}
    assert infos["tea-start"].status == ops.pebble.CheckStatus.INACTIVE


def test_a_service_that_is_restarted_has_not_answered_yet(context):
    first = run(context)
    tea = first.get_container("tea")
    start = testing.CheckInfo(
        "tea-start",
        status=ops.pebble.CheckStatus.DOWN,
        threshold=1,
        failures=2,
        startup=ops.pebble.CheckStartup.DISABLED,
    )
    others = {info for info in tea.check_infos if info.name != "tea-start"}
    stopped = dataclasses.replace(
        tea,
        check_infos={start} | others,
        service_statuses={**tea.service_statuses, "tea": ops.pebble.ServiceStatus.INACTIVE},
    )
    before = dataclasses.replace(first, containers=[stopped, first.get_container("milk")])
    out = context.run(context.on.pebble_check_recovered(stopped, start), before)
    infos = {info.name: info for info in out.get_container("tea").check_infos}
    assert infos["tea-start"].status != ops.pebble.CheckStatus.INACTIVE


@pytest.mark.parametrize("lasting, message", [("up", ""), ("down", "waiting for tea to answer")])
def test_a_machine_too_slow_for_the_start_check_is_not_waited_for_for_ever(
    context, lasting: Literal["up", "down"], message
):
    first = run(context)
    tea = first.get_container("tea")
    checks = {
        testing.CheckInfo(
            "tea-start",
            status=ops.pebble.CheckStatus.DOWN,
            threshold=1,
            failures=60,
            startup=ops.pebble.CheckStartup.DISABLED,
        ),
        testing.CheckInfo(
            "tea",
            level=ops.pebble.CheckLevel.READY,
            status=ops.pebble.CheckStatus(lasting),
            failures=0 if lasting == "up" else 3,
        ),
    }
    slow = testing.Container(
        "tea",
        can_connect=True,
        layers=tea.layers,
        service_statuses=tea.service_statuses,
        check_infos=checks
        | {info for info in tea.check_infos if info.name not in ("tea", "tea-start")},
    )
    out = run(context, containers=[slow, first.get_container("milk")])
    assert out.unit_status.message == message
