"""What a committed hook changes in its unit's agent state, apart from what the charm asked for."""

from __future__ import annotations

from localjuju.agent.hooks import Hook
from localjuju.agent.state import AgentState
from localjuju.model import clock, relations, secrets, statuses
from localjuju.model.db import Database


def before(db: Database, model: str, unit: str, hook: Hook, state: AgentState,
           addresses: dict[str, str]) -> None:  # fmt: skip
    """What must be so when the hook starts: being in the relation, Juju's own status."""
    if hook.kind == "relation-created" and hook.relation is not None:
        relations.enter(db, model, hook.relation, unit, addresses)
    if not state.status_set and hook.kind == "install":
        statuses.set_unit(db, model, unit, "maintenance", "installing charm software")
    elif hook.kind == "stop":
        statuses.set_unit(db, model, unit, "maintenance", "stopping charm software")
    elif hook.kind == "remove":
        statuses.set_unit(db, model, unit, "maintenance", "cleaning up prior to charm deletion")


def after(db: Database, model: str, unit: str, hook: Hook, state: AgentState,
          config_hash: str) -> None:  # fmt: skip
    """In the transaction that commits the hook."""
    kind = hook.kind
    if kind in state.queued:
        state.queued.remove(kind)
    if kind == "install":
        state.installed = True
    elif kind == "start":
        state.started = True
        state.updated = clock.text()
        if not state.status_set:
            statuses.set_unit(db, model, unit, "unknown", "")
    elif kind == "stop":
        state.started, state.stopped = False, True
    elif kind == "remove":
        state.removed = True
        statuses.set_unit(db, model, unit, "terminated", "")
    elif kind == "upgrade-charm":
        state.upgrade = False
        state.queued = ["config-changed"]
    elif kind == "config-changed":
        state.config_hash = config_hash
        if not state.started and "start" not in state.queued:
            state.queued.append("start")
    elif kind == "leader-elected":
        state.leader = True
    elif kind == "leader-settings-changed":
        state.leader = False
    elif kind == "update-status":
        state.updated = clock.text()
    elif kind == "pebble-ready":
        state.boots[hook.container] = hook.boot
    elif kind.startswith("storage-"):
        db.run("UPDATE storage SET attached = ? WHERE model = ? AND id = ?",
               int(kind == "storage-attached"), model, hook.storage)  # fmt: skip
    elif kind.startswith("relation-"):
        _relation(db, model, unit, hook, state)
    elif kind.startswith("secret-"):
        _secret(db, model, unit, hook)
    if hook.notice_time:
        state.notices[hook.container] = hook.notice_time


def _relation(db: Database, model: str, unit: str, hook: Hook, state: AgentState) -> None:
    assert hook.relation is not None
    progress = state.relation(hook.relation)
    if hook.kind == "relation-created":
        progress.created = True
    elif hook.kind == "relation-joined":
        progress.joined[hook.remote_unit] = 0
        progress.changed = hook.remote_unit
    elif hook.kind == "relation-changed" and hook.remote_unit:
        progress.joined[hook.remote_unit] = hook.version
        progress.changed = ""
    elif hook.kind == "relation-changed":
        progress.application_version = hook.version
    elif hook.kind == "relation-departed":
        progress.joined.pop(hook.remote_unit, None)
    elif hook.kind == "relation-broken":
        state.relations.pop(str(hook.relation))
        relations.leave(db, model, hook.relation, unit)
        relations.prune(db, model)


def _secret(db: Database, model: str, unit: str, hook: Hook) -> None:
    if hook.kind == "secret-changed":
        for name in (unit, *secrets.names_elsewhere(db, model, unit)):
            db.run("UPDATE secret_consumers SET told = max(told, ?) WHERE secret = ? AND unit = ?",
                   hook.revision, hook.secret, name)  # fmt: skip
    elif hook.kind == "secret-rotate":
        row = db.one("SELECT rotate FROM secrets WHERE id = ?", hook.secret)
        if row:
            db.run("UPDATE secrets SET next_rotate = ? WHERE id = ?",
                   secrets.next_rotation(row["rotate"]), hook.secret)  # fmt: skip
    else:
        column = "expired_told" if hook.kind == "secret-expired" else "remove_told"
        db.run(f"UPDATE secret_revisions SET {column} = 1 WHERE secret = ? AND revision = ?",
               hook.secret, hook.revision)  # fmt: skip
