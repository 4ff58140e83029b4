"""Clients in the cluster are given a Service that leads only to units that serve."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator

import ops
import pytest
from ops import testing

from charmed_mlops.testing import ROOT, Charm, broker, loaded, relation

LABEL = "charmed-mlops.io/serving"
PODS = "/api/v1/namespaces/shop/pods"
OF_JUJU, OF_SERVING = (
    f"{name}.shop.svc.cluster.local" for name in ("kfp-viz", "kfp-viz--serving")
)
EVERY = {"app.kubernetes.io/name": "kfp-viz"}
THOSE_THAT_SERVE = {**EVERY, LABEL: "true"}
CLIENT = relation("visualization", "kfp-api")
BROKER = broker()


@pytest.fixture
def charm() -> Iterator[Charm]:
    """One that has a port, a broker and clients, and little else."""
    with loaded(ROOT / "charms" / "kfp-viz") as found:
        yield found


@pytest.fixture(autouse=True)
def pods(api):
    for number in range(2):
        api.add(PODS, {"metadata": {"name": f"kfp-viz-{number}"}})


def selector(charm: Charm, out: testing.State) -> dict[str, str]:
    return charm.manifest(out, "Service", "kfp-viz--serving")["spec"]["selector"]


def host(charm: Charm, out: testing.State) -> str:
    return charm.published(out, "visualization").get("host", "")


def labels(api, unit: int = 0) -> dict[str, str]:
    return api.get(PODS, f"kfp-viz-{unit}")["metadata"].get("labels", {})


def requested(out: testing.State) -> str:
    """What the broker is asked for, as it is written."""
    return out.get_relation(BROKER.id).local_app_data["hash"]


def refreshed(charm: Charm, out: testing.State, number: int = 0) -> testing.State:
    """The state in which a unit's new pod begins: its files are new."""
    return dataclasses.replace(
        out, containers=charm.containers(), stored_states=set(), planned_units=number + 1
    )


def from_before(charm: Charm, out: testing.State) -> testing.State:
    """The state that a revision without the Service left."""
    asked = out.get_relation(BROKER.id)
    told = {key: value for key, value in asked.local_app_data.items() if key != "serving"}
    old = {"inputs": json.dumps("old"), "hash": json.dumps("old")}
    client = out.get_relation(CLIENT.id)
    was = {**client.local_app_data, "host": OF_JUJU}
    others = [each for each in out.relations if each.id not in (BROKER.id, CLIENT.id)]
    return dataclasses.replace(
        refreshed(charm, out),
        relations=[
            *others,
            dataclasses.replace(asked, local_app_data={**told, **old}),
            dataclasses.replace(client, local_app_data=was),
        ],
    )


def test_the_service_has_the_ports_that_are_open(charm):
    out = charm.settled(BROKER, CLIENT)
    spec = charm.manifest(out, "Service", "kfp-viz--serving")["spec"]
    assert [each["port"] for each in spec["ports"]] == [each.port for each in out.opened_ports]


def test_a_first_deploy_asks_once_and_gives_one_address(charm, api):
    first = charm.run(CLIENT, BROKER)
    assert selector(charm, first) == THOSE_THAT_SERVE
    assert not host(charm, first)  # the Service is not there yet
    assert not labels(api)
    out = charm.applied(first)
    assert out.unit_status == testing.ActiveStatus()
    assert labels(api) == {LABEL: "true"}
    assert host(charm, out) == OF_SERVING
    assert requested(out) == requested(first)


def held(out: testing.State) -> bool:
    """Whether a check keeps the pod from being Ready."""
    check = out.get_container("kfp-viz").plan.checks.get("kfp-viz-aside")
    return check is not None and check.level is ops.pebble.CheckLevel.READY


def test_a_new_pod_that_waits_keeps_others_from_being_replaced_for_some_minutes_only(charm, api):
    """What it waits for may be the leader's, whose pod is replaced last."""
    serves = charm.settled(BROKER, CLIENT)
    unanswered = dataclasses.replace(serves.get_relation(BROKER.id), remote_app_data={})
    before = dataclasses.replace(refreshed(charm, serves, 1), leader=False, relations=[unanswered])
    context = charm.context(1)
    out = context.run(context.on.start(), before)
    assert (out.unit_status.name, held(out)) == ("waiting", True)
    out = context.run(context.on.update_status(), out)
    assert (out.unit_status.name, held(out)) == ("waiting", False)
    out = context.run(context.on.config_changed(), out)
    assert (out.unit_status.name, held(out)) == ("waiting", False)
    assert not labels(api, 1)  # the Service does not lead there


def test_a_pod_is_labelled_once(charm, api):
    out = charm.settled(BROKER, CLIENT)
    calls = list(api.calls)
    charm.again(out)
    assert api.calls == calls


def test_a_pod_is_not_labelled_before_its_program_answers(charm, api):
    out = charm.settled(BROKER, CLIENT)
    labels(api).clear()
    container = out.get_container("kfp-viz")
    start = testing.CheckInfo(
        "kfp-viz-start",
        status=ops.pebble.CheckStatus.DOWN,
        threshold=1,
        failures=1,
        startup=ops.pebble.CheckStartup.DISABLED,
    )
    others = {info for info in container.check_infos if info.name != start.name}
    silent = dataclasses.replace(container, check_infos={start} | others)
    new = dataclasses.replace(out, containers=[silent], stored_states=set())
    context = charm.context()
    waits = context.run(context.on.pebble_check_failed(silent, start), new)
    assert waits.unit_status == testing.WaitingStatus("waiting for kfp-viz to answer")
    assert not labels(api)
    context.run(context.on.pebble_check_recovered(silent, start), waits)
    assert labels(api) == {LABEL: "true"}


def test_a_new_pod_of_the_leader_changes_neither_the_service_nor_the_address(charm):
    before = charm.settled(BROKER, CLIENT)
    out = charm.again(refreshed(charm, before), event="upgrade_charm")
    assert (requested(out), host(charm, out)) == (requested(before), OF_SERVING)


def test_a_follower_s_pod_is_labelled_when_it_serves(charm, api):
    out = charm.settled(BROKER, CLIENT)
    context = charm.context(1)
    state = dataclasses.replace(refreshed(charm, out, 1), leader=False)
    after = context.run(context.on.start(), state)
    assert after.unit_status == testing.ActiveStatus()
    assert labels(api, 1) == {LABEL: "true"}


def test_a_follower_that_may_not_label_its_pod_says_that_it_gets_no_requests(charm, api):
    out = charm.settled(BROKER, CLIENT)
    api.forbidden.add(f"{PODS}/kfp-viz-1")
    context = charm.context(1)
    state = dataclasses.replace(refreshed(charm, out, 1), leader=False)
    after = context.run(context.on.start(), state)
    assert after.unit_status == testing.WaitingStatus(
        "waiting to label the pod: the Kubernetes API answers 403 to PATCH "
        f"{PODS}/kfp-viz-1: no right"
    )
    api.forbidden.clear()
    assert context.run(context.on.update_status(), after).unit_status == testing.ActiveStatus()


def test_where_no_pod_may_be_labelled_the_service_leads_to_every_pod(charm, api):
    api.forbidden.add(f"{PODS}/kfp-viz-0")
    out = charm.applied(charm.settled(BROKER, CLIENT))
    assert out.unit_status == testing.ActiveStatus()
    assert (selector(charm, out), host(charm, out)) == (EVERY, OF_SERVING)
    api.forbidden.clear()
    assert selector(charm, charm.again(out)) == THOSE_THAT_SERVE


def test_after_a_refresh_pods_of_before_are_led_to_until_the_leader_s_is_labelled(charm, api):
    old = from_before(charm, charm.settled(BROKER, CLIENT))
    first = charm.again(old, event="upgrade_charm")
    assert selector(charm, first) == EVERY
    assert host(charm, first) == OF_JUJU  # the Service is not there yet
    second = charm.applied(first)
    assert host(charm, second) == OF_SERVING
    assert selector(charm, second) == THOSE_THAT_SERVE
    assert charm.applied(second).unit_status == testing.ActiveStatus()


def test_when_the_broker_goes_clients_are_given_juju_s_name_again(charm):
    out = charm.settled(BROKER, CLIENT)
    left = [each for each in out.relations if each.id != BROKER.id]
    without = charm.again(dataclasses.replace(out, relations=left))
    assert without.unit_status.name == "blocked"
    assert host(charm, without) == OF_JUJU
    back = charm.applied(charm.again(dataclasses.replace(without, relations=[*left, BROKER])))
    assert host(charm, back) == OF_SERVING


def test_an_application_that_ends_leaves_what_it_published(charm):
    out = charm.settled(BROKER, CLIENT)
    context = charm.context()
    ending = dataclasses.replace(out, planned_units=0)
    after = context.run(context.on.relation_broken(out.get_relation(BROKER.id)), ending)
    assert host(charm, after) == OF_SERVING


def test_an_application_can_do_without_a_broker():
    with loaded(ROOT / "charms" / "mlmd") as mlmd:
        out = mlmd.settled(relation("metadata", "kfp-api"))
        assert mlmd.published(out, "metadata")["host"] == "mlmd.shop.svc.cluster.local"
        out = mlmd.settled(relation("metadata", "kfp-api"), broker())
        assert mlmd.published(out, "metadata")["host"] == "mlmd--serving.shop.svc.cluster.local"


def test_what_somebody_has_to_put_right_does_not_keep_a_unit_that_serves_from_requests(api):
    with loaded(ROOT / "charms" / "gateway") as gateway:
        api.add(PODS, {"metadata": {"name": "gateway-0"}})
        route = {"name": "tea", "prefix": "/tea/", "host": "{somewhere}.shop", "port": 80}
        out = gateway.settled(relation("routes", "tea", version="1", routes=json.dumps([route])))
        assert out.unit_status.name == "blocked"
        assert api.get(PODS, "gateway-0")["metadata"]["labels"] == {LABEL: "true"}
