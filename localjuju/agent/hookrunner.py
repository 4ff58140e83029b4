"""The one place where a hook starts and where it is committed."""

from __future__ import annotations

import datetime
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from localjuju.agent import effects, environment
from localjuju.agent.context import ActionResult, CommandError, Context
from localjuju.agent.faults import Faults, HookFault
from localjuju.agent.hooks import Hook
from localjuju.agent.resources import resource_file
from localjuju.agent.services import Services, agent_folder
from localjuju.agent.state import AgentState
from localjuju.agent.statistics import Statistics
from localjuju.agent.view import View, pod_name
from localjuju.model import clock, statuses, tasks
from localjuju.model.errors import ModelError

# Called with (point, unit, hook) at each of `faults.POINTS`; may raise HookFault.
Fault = Callable[[str, str, Hook], Awaitable[None]]
_RETRY_SECONDS, _RETRY_MAX_SECONDS = 5.0, 300.0
_OPERATION = "juju.worker.uniter.operation"
_KILLED = (-9, -15, 137, 143)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Patience:
    """When an interrupted hook is run again, twice as late each time, and when it failed."""

    first_seconds: float
    tries: int

    def seconds(self, tries: int) -> float:
        """Until the next try."""
        return min(self.first_seconds * 2 ** (tries - 1), _RETRY_MAX_SECONDS)


# That a container has ended is learnt a little later than its agent is gone: no error, then.
_NO_POD = Patience(0.5, 5)
# Somebody killed the program, e.g. the kernel for want of memory: running it at once would
# only make that worse. The third time in a minute is no accident.
_KILL = Patience(_RETRY_SECONDS, 3)
# A mistake of the engine's own.
_FAULTY = Patience(_RETRY_SECONDS, 3)


class Interrupted(Exception):  # noqa: N818  (it is no error)
    """The dispatch did not come to its end: the hook is still to be run."""

    def __init__(self, message: str, patience: Patience):
        super().__init__(message)
        self.patience = patience


class HookRunner:
    """Runs hooks and actions of any unit."""

    def __init__(self, services: Services):
        self._services = services
        self.faults = Faults()
        self.fault: Fault = self.faults
        self.statistics = Statistics()

    async def run(self, model: str, view: View, hook: Hook) -> None:
        """Runs one hook and commits it, or records that it failed or is to be run again."""
        if hook.kind == "action":
            await self._action(model, view, hook)
        else:
            await self._hook(model, view, hook)

    async def _hook(self, model: str, view: View, hook: Hook) -> None:
        db, unit, state = self._services.db, view.unit["name"], view.state
        context = self._context(model, view, hook)
        with db.transaction():
            state.pending, state.resolved = hook.to_json(), ""
            effects.before(db, model, unit, hook, state, context.addresses())
            if hook.kind != "update-status":
                statuses.set_agent(db, model, unit, "executing", f"running {hook.title} hook")
            save(self._services, model, unit, state)
        try:
            await self._fault("before", unit, hook)
            code = await self._dispatch(model, context, ["./dispatch"])
            await self._fault("dispatched", unit, hook)
        except HookFault:
            code = 1
        except Interrupted as interrupted:
            self._put_off(model, unit, state, hook, interrupted)
            return
        if code == 0:
            try:
                with db.transaction():
                    context.flush()
                    effects.after(db, model, unit, hook, state, view.config_hash)
                    state.pending = state.again = state.error = None
                    save(self._services, model, unit, state, keep_resolved=True)
            except (CommandError, ModelError) as error:
                context.write_log("ERROR", "juju.worker.uniter", f"cannot commit: {error}")
                code = 1
                state = view.state = AgentState.from_json(context.row["agent"])
        if code:
            self._failed(model, unit, state, hook, f"exit status {code}")
        else:
            context.write_log(
                "INFO", _OPERATION,
                f'ran "{hook.name}" hook (via hook dispatching script: dispatch)',
            )  # fmt: skip
        await self._fault("committed", unit, hook)

    async def _action(self, model: str, view: View, hook: Hook) -> None:
        db, unit = self._services.db, view.unit["name"]
        assert hook.task is not None
        task = tasks.get(db, model, str(hook.task))
        context = self._context(model, view, hook)
        command = task["parameters"].get("command") if task["name"] == tasks.EXEC else None
        if command is None:
            context.action = ActionResult(task["parameters"])
        else:
            context.hook = None
        with db.transaction():
            db.run("UPDATE tasks SET status = 'running', started = ? WHERE model = ? AND id = ?",
                   clock.text(), model, hook.task)  # fmt: skip
            if not view.state.error:
                statuses.set_agent(db, model, unit, "executing", f"running {hook.title}")
        output: dict[str, list[str]] = {"stdout": [], "stderr": []}
        argv = ["./dispatch"] if command is None else ["/bin/bash", "-c", command]
        try:
            await self._fault("before", unit, hook)
            code = await self._dispatch(model, context, argv, output)
            await self._fault("dispatched", unit, hook)
        except HookFault:
            code = 1
        except Interrupted as interrupted:
            context.write_log("ERROR", _OPERATION, f"{hook.title} ended: {interrupted}")
            tasks.end_interrupted(db, model, unit)  # an action is not run twice
            return
        results = dict(context.action.results) if context.action else {}
        for stream, lines in output.items():
            if lines:
                results[stream] = "\n".join(lines) + "\n"
        results["return-code"] = code
        status, message = "completed", ""
        if context.action and context.action.failed:
            status, message = "failed", context.action.message
        if code and context.action:
            status, message = "failed", f"exit status {code}"
        with db.transaction():
            if code == 0:
                try:
                    with db.transaction():  # none of it, should some not be allowed
                        context.flush()
                except (CommandError, ModelError) as error:
                    status, message = "failed", str(error)
            self._finish(model, hook, status, message, results)
            save(self._services, model, unit, view.state, keep_resolved=True)
        await self._fault("committed", unit, hook)

    def _finish(self, model: str, hook: Hook, status: str, message: str, results: dict) -> None:
        with self._services.db.transaction():
            self._services.db.run(
                "UPDATE tasks SET status = ?, message = ?, results = ?, completed = ? "
                "WHERE model = ? AND id = ? AND status = 'running'",
                status, message, results, clock.text(), model, hook.task,
            )  # fmt: skip

    def _context(self, model: str, view: View, hook: Hook) -> Context:
        services, unit = self._services, view.unit["name"]
        return Context(
            services.db, services.cluster, services.log, model, unit, hook, view.state,
            lambda name: resource_file(services, model, unit, view.state.pod, name),
        )  # fmt: skip

    async def _dispatch(
        self, model: str, context: Context, argv: list[str],
        output: dict[str, list[str]] | None = None,
    ) -> int:  # fmt: skip
        """Returns the exit code; what it prints goes to the log, stderr at WARNING as in Juju."""
        name = context.hook.name if context.hook else "juju-exec"

        def line(stream: str, text: str) -> None:
            text = text.rstrip("\n")
            if output is not None:
                output[stream].append(text)
            level = "WARNING" if stream == "stderr" else "DEBUG"
            context.write_log(level, f"unit.{context.unit}.{name}", text)

        begin = time.monotonic()
        with self._services.hooks.open(context):
            try:
                result = await self._services.hub.exec(
                    context.state.pod, argv,
                    env=environment.build(context, self._services.environment),
                    cwd=f"{agent_folder(context.unit)}/charm", on_line=line,
                )  # fmt: skip
            except OSError as error:
                text = f"cannot run in pod {pod_name(context.unit)}: {error}"
                raise Interrupted(text, _NO_POD) from error
            except Exception as error:
                _log.exception("%s of %s", name, context.unit)
                text = f"the engine failed: {type(error).__name__}: {error}; see engine.log"
                raise Interrupted(text, _FAULTY) from error
        seconds = time.monotonic() - begin
        self.statistics.add(model, context.unit, name, seconds, result.cpu_seconds)
        if result.code in _KILLED:
            raise Interrupted(f"it was killed, exit status {result.code}", _KILL)
        return result.code

    def _put_off(
        self, model: str, unit: str, state: AgentState, hook: Hook, interrupted: Interrupted
    ) -> None:
        """Runs it again later; after some tries in the same pod it is a failed hook."""
        patience = interrupted.patience
        tries = state.again["tries"] if state.again else 0
        pod = self._services.cluster.pod(model, pod_name(unit))
        gone = pod is None or pod.terminating or not pod.charm_running or pod.uid != state.pod
        if gone and hook.kind == "stop":
            self._give_up_stop(model, unit, state, hook, interrupted)
            return
        if gone:
            seconds = 0.0  # it ended with its pod; that there is a pod again is waited for anyway
        elif state.error or tries + 1 >= patience.tries:
            self._failed(model, unit, state, hook, str(interrupted))
            return
        else:
            tries += 1
            seconds = patience.seconds(tries)
        state.again = {"tries": tries, "at": clock.text(_in(seconds))}
        with self._services.db.transaction():
            save(self._services, model, unit, state)
        self._services.log.write(
            model, f"unit-{unit.replace('/', '-')}", "WARNING", _OPERATION,
            f'hook "{hook.name}" is run again in {seconds:g} s: {interrupted}',
        )  # fmt: skip

    def _give_up_stop(
        self, model: str, unit: str, state: AgentState, hook: Hook, interrupted: Interrupted
    ) -> None:
        """The pod that was to be stopped has gone: there is nothing left to stop in the next."""
        with self._services.db.transaction():
            effects.after(self._services.db, model, unit, hook, state, state.config_hash)
            state.pending = state.again = None
            save(self._services, model, unit, state)
        self._services.log.write(
            model, f"unit-{unit.replace('/', '-')}", "WARNING", _OPERATION,
            f'hook "{hook.name}" is given up: {interrupted}',
        )  # fmt: skip

    def _failed(self, model: str, unit: str, state: AgentState, hook: Hook, why: str) -> None:
        before = state.error or state.again
        tries = before["tries"] + 1 if before else 1
        delay = min(_RETRY_SECONDS * 2 ** (tries - 1), _RETRY_MAX_SECONDS)
        at = _in(delay * random.uniform(0.9, 1.1))
        message = f'hook failed: "{hook.name}"'
        data: dict[str, object] = {"hook": hook.name}
        if hook.relation is not None:
            data["relation-id"] = hook.relation
        if hook.remote_unit:
            data["remote-unit"] = hook.remote_unit
        state.pending = state.again = None
        state.error = {"hook": hook.to_json(), "tries": tries, "retry_at": clock.text(at)}
        with self._services.db.transaction():
            save(self._services, model, unit, state, keep_resolved=True)
            statuses.set_agent(self._services.db, model, unit, "error", message, data)
        self._services.log.write(
            model, f"unit-{unit.replace('/', '-')}", "ERROR", _OPERATION,
            f'hook "{hook.name}" failed: {why}',
        )  # fmt: skip

    async def _fault(self, point: str, unit: str, hook: Hook) -> None:
        await self.fault(point, unit, hook)


def _in(seconds: float) -> datetime.datetime:
    return clock.now() + datetime.timedelta(seconds=seconds)


def save(
    services: Services, model: str, unit: str, state: AgentState, *, keep_resolved: bool = False
) -> None:
    """Writes the agent's state; `juju resolve` may have come while the hook ran."""
    row = services.db.one("SELECT agent FROM units WHERE model = ? AND name = ?", model, unit)
    if row is None:
        return
    if keep_resolved and state.error:
        state.resolved = row["agent"].get("resolved", "")
    services.db.run("UPDATE units SET agent = ? WHERE model = ? AND name = ?", state.to_json(),
                    model, unit)  # fmt: skip
