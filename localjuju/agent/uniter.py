"""One unit's agent: choose, do, wait until something changed."""

from __future__ import annotations

import asyncio
import logging

from localjuju.agent import effects
from localjuju.agent.hookrunner import HookRunner, save
from localjuju.agent.hooks import Hook
from localjuju.agent.hub import Tree
from localjuju.agent.pebble import PebbleWatch
from localjuju.agent.resolver import Adopt, Bury, Skip, Step, Wait, choose
from localjuju.agent.services import Services, agent_folder
from localjuju.agent.view import View, load
from localjuju.model import applications, clock, relations, statuses, tasks
from localjuju.model.changes import Changes

_log = logging.getLogger(__name__)
_FIRST_SECONDS, _LAST_SECONDS = 0.5, 30.0
_SHOWN_AFTER = 5  # tries, until what the engine cannot do is an error of the unit


class Uniter:
    """Woken by `wake()`; ends when its unit is gone from the model."""

    def __init__(self, services: Services, runner: HookRunner, model: str, unit: str):
        self._services, self._runner = services, runner
        self.model, self.unit = model, unit
        self.pod = ""  # whose agent is waited for, or works
        self._changes = Changes()
        self._boots: dict[str, str] = {}
        self._events: list[Hook] = []
        self._watches: dict[str, PebbleWatch] = {}
        self._watched_pod = ""

    def wake(self) -> None:
        self._changes.tell()

    async def run(self) -> None:
        tasks.end_interrupted(self._services.db, self.model, self.unit)
        tries = 0
        try:
            while True:
                seen = self._changes.count
                try:
                    view = load(self._services.db, self._services.cluster, self.model, self.unit,
                                self._boots, self._events)  # fmt: skip
                    if view is None:
                        return
                    await self._watch_pebbles(view)
                    self._drop_stale(view)
                    await self._do(view, choose(view), seen)
                    tries = 0
                except Exception as error:
                    _log.exception("agent of %s", self.unit)
                    tries += 1
                    if tries >= _SHOWN_AFTER:
                        self._show_error(error)
                    await asyncio.sleep(min(_FIRST_SECONDS * 2 ** (tries - 1), _LAST_SECONDS))
        finally:
            await self._watch_none()

    def _show_error(self, error: Exception) -> None:
        message = f"the engine failed: {type(error).__name__}: {error}; see engine.log"
        try:
            statuses.set_agent(self._services.db, self.model, self.unit, "error",
                               " ".join(message.split()))  # fmt: skip
        except Exception:
            _log.exception("status of %s", self.unit)

    async def _do(self, view: View, step: Step, seen: int) -> None:
        if isinstance(step, Hook | Adopt) and not self._reached(view):
            await self._wait(view, Wait(), seen)
        elif isinstance(step, Hook) and not await self._has_charm(view):
            await self._adopt(view)  # the pod is the same, what was in it is not
        elif isinstance(step, Hook):
            await self._runner.run(self.model, view, step)
            told = view.state.notices
            self._events = [e for e in self._events if e.notice_time > told.get(e.container, "")]
        elif isinstance(step, Adopt):
            await self._adopt(view)
        elif isinstance(step, Bury):
            with self._services.db.transaction():
                applications.bury_unit(self._services.db, self.model, self.unit)
        elif isinstance(step, Skip):
            self._skip(view, step.hook)
        else:
            await self._wait(view, step, seen)

    async def _wait(self, view: View, step: Wait, seen: int) -> None:
        if step.idle and view.unit["agent_status"] != "idle":
            statuses.set_agent(self._services.db, self.model, self.unit, "idle")
        elif view.unit["agent_status"] == "error" and not view.state.error:
            statuses.set_agent(self._services.db, self.model, self.unit, "allocating")
        self._show_problem(view)
        seconds = None
        if step.until is not None:
            seconds = max(0.05, (step.until - clock.now()).total_seconds())
        await self._changes.after(seen, seconds)

    def _show_problem(self, view: View) -> None:
        """A pod that cannot start says why, as Juju's status does."""
        if view.pod and view.pod.problem and not view.state.installed:
            statuses.set_unit(self._services.db, self.model, self.unit, "waiting",
                              view.pod.problem)  # fmt: skip

    def _drop_stale(self, view: View) -> None:
        """Forgets relations that were removed by force, and hooks that were for them."""
        db, state = self._services.db, view.state
        for number in [n for n in state.relations if not relations.get(db, self.model, int(n))]:
            del state.relations[number]
        for name in ("pending", "error"):
            entry = getattr(state, name)
            hook = entry["hook"] if entry and name == "error" else entry
            number = (hook or {}).get("relation")
            if number is not None and relations.get(db, self.model, number) is None:
                setattr(state, name, None)
                state.again = None

    def _reached(self, view: View) -> bool:
        """Whether the agent in the pod has called; `wake` is called when it does."""
        self.pod = view.pod.uid if view.pod else ""
        return self._services.hub.connected(self.pod)

    def _charm_folder(self) -> str:
        return f"{agent_folder(self.unit)}/charm"

    async def _has_charm(self, view: View) -> bool:
        """Whether the charm is in the pod still."""
        try:
            return await self._services.hub.holds(
                view.state.pod, self._charm_folder(), view.state.charm
            )
        except OSError:
            return True  # what runs in the pod meets the same, and tells of it

    async def _adopt(self, view: View) -> None:
        """Puts the charm into a new pod. What the unit kept in the old one is lost, as on Juju.

        Where the charm's folder has gone, Juju puts the charm there as an upgrade, so that
        `upgrade-charm` follows for the same charm too. Source: checkCharmInstallUpgrade in Juju's
        internal/worker/uniter/resolver/loop.go.
        """
        assert view.pod is not None
        state, application = view.state, view.application
        digest = view.charm.sha256
        modified = state.modified if view.pod.uid == state.pod else application["modified"]
        charm = self._services.charms.tree(digest)
        try:
            await self._services.hub.install(
                view.pod.uid, Tree({".": charm}, self._charm_folder(), digest)
            )
        except OSError:
            if self._services.hub.connected(view.pod.uid):
                raise
            return  # it is waited for
        changed = (digest, modified) != (state.charm, state.modified)
        state.upgrade = state.installed
        if changed:  # the hook that failed was another charm's
            state.error = state.pending = None
        state.again = None
        if state.error:  # it may have failed for want of the old pod
            state.error |= {"tries": 0, "retry_at": clock.text()}
        state.pod, state.charm, state.modified = view.pod.uid, digest, modified
        state.started = state.stopped = False
        state.queued, state.config_hash = [], ""
        state.boots, state.notices = {}, {}
        with self._services.db.transaction():
            save(self._services, self.model, self.unit, state)

    def _skip(self, view: View, hook: Hook) -> None:
        state = view.state
        with self._services.db.transaction():
            effects.after(self._services.db, self.model, self.unit, hook, state, view.config_hash)
            state.error, state.again, state.resolved = None, None, ""
            save(self._services, self.model, self.unit, state)

    # Pebble ----------------------------------------------------------------------------------

    async def _watch_pebbles(self, view: View) -> None:
        pod = view.pod
        uid = pod.uid if pod and pod.charm_running and not pod.terminating else ""
        if uid == self._watched_pod and set(self._watches) == set(
            view.charm.containers if uid else ()
        ):
            return
        await self._watch_none()
        if not uid:
            return
        self._watched_pod = uid
        for container in view.charm.containers:
            told = view.state.notices.get(container, "") if view.state.pod == uid else ""
            self._watches[container] = PebbleWatch(
                self._services.hub, uid, container, told, self._on_boot, self._on_event
            )

    async def _watch_none(self) -> None:
        for watch in self._watches.values():
            await watch.stop()
        self._watches, self._boots, self._events, self._watched_pod = {}, {}, [], ""

    def _on_boot(self, container: str, boot: str) -> None:
        self._boots[container] = boot
        self.wake()

    def _on_event(self, event: Hook) -> None:
        self._events.append(event)
        self.wake()
