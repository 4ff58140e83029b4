"""Chooses what a unit does next, in the order Juju's uniter does.

The order is that of `NextOp` in Juju's internal/worker/uniter/resolver.go; `choose` reads a `View`
and changes nothing.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass

from localjuju.agent.hooks import Hook
from localjuju.agent.view import RelationView, View
from localjuju.model import clock, storage


@dataclass(frozen=True)
class Adopt:
    """A pod that is new to the unit: put the charm into it."""


@dataclass(frozen=True)
class Bury:
    """Everything the unit had to run has run: remove it."""


@dataclass(frozen=True)
class Skip:
    """The user gave up a failed hook: go on as if it had run."""

    hook: Hook


@dataclass(frozen=True)
class Wait:
    """Nothing to do now, or before `until`."""

    until: datetime.datetime | None = None
    idle: bool = False


Step = Hook | Adopt | Bury | Skip | Wait


def choose(view: View) -> Step:
    state, pod = view.state, view.pod
    if state.removed:
        return Bury()
    if pod is None or not pod.charm_running:
        return Wait()
    if pod.terminating:
        ours = pod.uid == state.pod
        if ours and state.started and not state.stopped and not state.error:
            return Hook("stop")
        return Wait()
    if pod.uid != state.pod:
        # A new pod that is not of the latest refresh waits: the StatefulSet replaces it.
        outdated = pod.modified != view.application["modified"] and not view.dying
        return _wait(view) if outdated else Adopt()
    if state.error:
        return _in_error(view)
    if state.pending:
        return _pending(view, Hook.from_json(state.pending))
    if state.upgrade:
        return Hook("upgrade-charm")
    return next(_due(view), None) or _wait(view)


def _pending(view: View, hook: Hook) -> Step:
    if view.state.again is None:
        return hook
    at = clock.parse(view.state.again["at"])
    return hook if view.now >= at else Wait(until=at)


def _in_error(view: View) -> Step:
    state = view.state
    assert state.error is not None
    failed = Hook.from_json(state.error["hook"])
    if state.resolved == "skip":
        return Skip(failed)
    if state.resolved == "retry":
        return failed
    if action := next(_actions(view), None):
        return action
    if not view.retry:
        return Wait()
    at = clock.parse(state.error["retry_at"])
    return failed if view.now >= at else Wait(until=at)


def _due(view: View) -> Iterator[Hook | Bury]:
    """Everything that could run now, the first one first.

    What another hook queued comes next, whatever else is due, also while the unit goes: `start`
    after the first `config-changed`, and that after `upgrade-charm`.
    """
    state = view.state
    for kind in state.queued:
        yield Hook(kind)
    if state.installed:
        if not view.dying:
            yield from _created(view)
            yield from _leadership(view)
        if not state.stopped:
            yield from _workload(view)
            if not view.dying:
                yield from view.secret_hooks
            yield from _actions(view)
            yield from _storage(view)
    if view.dying:
        yield from _teardown(view)
        return
    if not state.installed:
        yield Hook("install")
        return
    if state.config_hash != view.config_hash:
        yield Hook("config-changed")
    for relation in view.relations:
        yield from _relation(view, relation)
    if state.started and view.update_at and view.now >= view.update_at:
        yield Hook("update-status")


def _created(view: View) -> Iterator[Hook]:
    for relation in view.relations:
        if not relation.dying and not view.state.relation(relation.id).created:
            yield _hook("relation-created", relation)


def _leadership(view: View) -> Iterator[Hook]:
    if view.leader and not view.state.leader:
        yield Hook("leader-elected")
    elif not view.leader and view.state.leader is not False:
        yield Hook("leader-settings-changed")  # followers, up to Juju 3.6


def _workload(view: View) -> Iterator[Hook]:
    for container in sorted(view.charm.containers):
        boot = view.boots.get(container, "")
        if boot and boot != view.state.boots.get(container):
            yield Hook("pebble-ready", container=container, boot=boot)
    for event in view.events:
        if event.notice_time > view.state.notices.get(event.container, ""):
            yield event


def _actions(view: View) -> Iterator[Hook]:
    for task in view.tasks:
        yield Hook("action", task=task["id"], action=task["name"])


def _storage(view: View) -> Iterator[Hook]:
    for row in view.storage:
        if not view.dying and not row["attached"] and not storage.pending(row):
            yield Hook("storage-attached", storage=row["id"])
        elif view.dying and row["attached"]:
            yield Hook("storage-detaching", storage=row["id"])


def _teardown(view: View) -> Iterator[Hook | Bury]:
    for relation in view.relations:
        yield from _relation(view, relation)
    if not view.state.stopped:
        yield Hook("stop")
    yield Hook("remove")


def _relation(view: View, relation: RelationView) -> Iterator[Hook]:
    """Pending changed; departed; broken; application changed; joined; changed."""
    state = view.state.relations.get(str(relation.id))
    if state is None or not state.created:
        return
    if state.changed:  # whatever became of that unit since it joined
        yield _unit_hook("relation-changed", relation, state.changed)
    leaving = view.dying or relation.dying
    for unit in sorted(state.joined, key=_number):
        if leaving or unit not in relation.members:
            departing = view.unit["name"] if view.dying else unit
            yield _hook("relation-departed", relation, remote_unit=unit, departing=departing)
    if leaving:
        if not relation.peer:
            yield _hook("relation-broken", relation)
        return
    if relation.application_version > state.application_version:
        yield _hook("relation-changed", relation, version=relation.application_version)
    for unit in relation.members:
        if unit not in state.joined:
            yield _unit_hook("relation-joined", relation, unit)
    for unit, version in relation.members.items():
        if version > state.joined.get(unit, 0):
            yield _unit_hook("relation-changed", relation, unit)


def _number(unit: str) -> tuple[str, int]:
    application, _, number = unit.rpartition("/")
    return application, int(number)


def _unit_hook(kind: str, relation: RelationView, unit: str) -> Hook:
    return _hook(kind, relation, remote_unit=unit, version=relation.members.get(unit, 0))


def _hook(
    kind: str, relation: RelationView, *, remote_unit: str = "", departing: str = "",
    version: int = 0,
) -> Hook:  # fmt: skip
    return Hook(
        kind, relation=relation.id, endpoint=relation.endpoint, remote_app=relation.remote_app,
        remote_unit=remote_unit, departing=departing, version=version,
    )  # fmt: skip


def _wait(view: View) -> Wait:
    times = [view.update_at] if view.update_at and view.state.started else []
    if view.next_secret:
        times.append(clock.parse(view.next_secret))
    return Wait(until=min(times, default=None), idle=view.state.installed)
