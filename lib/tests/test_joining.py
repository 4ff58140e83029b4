"""A unit joins others: no traffic before it serves. It leaves: it serves until it is gone."""

from __future__ import annotations

import dataclasses
import typing

import ops
import pytest
from ops import testing

from charmed_mlops import Http, ServiceCharm, Waiting

META = {
    "name": "tea",
    "containers": {"tea": {"resource": "image"}},
    "resources": {"image": {"type": "oci-image"}},
    "requires": {"water": {"interface": "service_address"}},
    "peers": {"others": {"interface": "tea_peers"}},
}
OTHERS = testing.PeerRelation("others", peers_data={0: {}})
WATER = testing.Relation("water", remote_app_name="water")
READY, UNSET = ops.pebble.CheckLevel.READY, ops.pebble.CheckLevel.UNSET


class Tea(ServiceCharm):
    """Needs water."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container="tea")

    def reconcile(self) -> None:
        if not self.model.relations["water"]:
            raise Waiting("waiting for water")
        self.workload.run("/bin/tea", check=Http(80))


@pytest.fixture
def context() -> testing.Context[Tea]:
    return testing.Context(Tea, meta=META, unit_id=1)


def state(*relations: testing.RelationBase, units: int = 3) -> testing.State:
    containers = [testing.Container("tea", can_connect=True)]
    return testing.State(relations=relations, containers=containers, planned_units=units)


def held(out: testing.State) -> bool:
    """Whether a check keeps the pod from getting traffic."""
    checks = out.get_container("tea").plan.checks
    return any(
        checks[name].level is READY for name in ("tea-aside", "tea-leaving") if name in checks
    )


def test_a_unit_beside_others_is_held_back_until_it_serves(context):
    out = context.run(context.on.config_changed(), state())
    assert held(out)
    out = context.run(context.on.config_changed(), dataclasses.replace(out, relations=[WATER]))
    assert out.unit_status == testing.ActiveStatus()
    assert not held(out)
    assert out.get_container("tea").plan.checks["tea"].level is READY


def test_one_that_starts_in_its_first_hook_is_held_back_before_it_starts():
    """As one that is refreshed does: Kubernetes is to wait for it."""
    checks = {}
    for units in (1, 3):
        context = testing.Context(Tea, meta=META, unit_id=0)
        out = context.run(context.on.upgrade_charm(), state(WATER, units=units))
        assert out.unit_status == testing.ActiveStatus()
        checks[units] = out.get_container("tea").plan.checks
    assert "tea-aside" not in checks[1]
    assert checks[3]["tea-aside"].level is UNSET  # and was let in when it served


def test_one_that_serves_is_not_held_back_when_something_goes_missing(context):
    out = context.run(context.on.config_changed(), state(WATER))
    assert out.unit_status == testing.ActiveStatus()
    out = context.run(context.on.config_changed(), dataclasses.replace(out, relations=[]))
    assert out.unit_status.name == "waiting"
    assert not held(out)


def test_a_unit_that_stands_aside_is_asked_no_oftener_for_it(context, monkeypatch):
    monkeypatch.setattr(Tea, "reconcile", lambda self: self.require_single_unit("use more tea"))
    out = context.run(context.on.config_changed(), state())
    assert held(out)
    check = out.get_container("tea").plan.checks["tea-aside"]
    assert check.period == "1m0s"
    again = context.run(context.on.config_changed(), out)
    assert again.get_container("tea").layers == out.get_container("tea").layers


def test_a_unit_that_is_alone_is_not_held_back():
    alone = testing.Context(Tea, meta=META, unit_id=0)
    assert not held(alone.run(alone.on.config_changed(), state(units=1)))


def test_a_new_unit_does_not_start_while_it_learns_of_its_relations(context):
    before = state(WATER)
    for event in (context.on.install(), context.on.relation_created(WATER)):
        out = context.run(event, before)
        assert out.unit_status == testing.WaitingStatus("waiting for the unit's relations")
        assert not out.get_container("tea").plan.services
    out = context.run(context.on.start(), before)
    assert out.get_container("tea").plan.services


def test_a_unit_that_runs_goes_on_when_a_relation_is_made(context):
    out = context.run(context.on.start(), state(WATER))
    out = context.run(context.on.relation_created(WATER), out)
    assert out.unit_status == testing.ActiveStatus()


@pytest.mark.parametrize(
    ("planned", "command", "status"),
    [
        pytest.param(1, "/bin/tea", "active", id="it is scaled away: it serves to its end"),
        pytest.param(2, "/bin/tea --cold", "waiting", id="the relation ends: it follows"),
        pytest.param(0, "/bin/tea --cold", "waiting", id="the application ends: it follows"),
    ],
)
def test_a_unit_keeps_its_program_as_it_is_only_when_its_relations_end_with_it(
    context, monkeypatch, planned, command, status
):
    def reconcile(self: Tea) -> None:
        water = self.model.get_relation("water")
        there = water is not None and water.active
        self.workload.run("/bin/tea" if there else "/bin/tea --cold", check=Http(80))
        if not there:
            raise Waiting("waiting for water")

    monkeypatch.setattr(Tea, "reconcile", reconcile)
    serves = context.run(context.on.config_changed(), state(WATER))
    leaving = dataclasses.replace(serves, planned_units=planned)
    out = context.run(context.on.relation_broken(WATER), leaving)
    assert out.get_container("tea").plan.services["tea"].command == command
    assert out.unit_status.name == status


def leaves(context: testing.Context[Tea]) -> typing.Any:
    """The first event of a unit that is scaled away."""
    return context.on.relation_departed(OTHERS, remote_unit=0, departing_unit=1)


def test_a_unit_that_is_scaled_away_gets_no_new_requests_and_stays_so(context):
    serves = context.run(context.on.config_changed(), state(WATER, OTHERS))
    out = context.run(leaves(context), dataclasses.replace(serves, planned_units=1))
    assert held(out)
    assert out.get_container("tea").plan.services == serves.get_container("tea").plan.services
    # such a check fails, of course, and tells the charm
    again = context.run(context.on.update_status(), out)
    assert held(again)


def test_a_unit_whose_lower_neighbour_starts_after_it_is_not_one_that_leaves(context):
    """Juju knows of a unit from when its pod starts."""
    out = context.run(context.on.start(), state(WATER, OTHERS, units=1))
    assert out.unit_status == testing.ActiveStatus()
    assert not held(out)
    elsewhere = context.on.relation_departed(WATER, remote_unit=0, departing_unit=0)
    assert not held(context.run(elsewhere, out))


def test_the_first_unit_never_leaves_while_others_stay(context):
    first = testing.Context(Tea, meta=META, unit_id=0)
    out = first.run(first.on.relation_departed(WATER), state(WATER, units=1))
    assert not held(out)
