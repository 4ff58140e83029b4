"""A service of a charm in one of its containers, brought to its desired state by diff."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ops

from charmed_mlops.checks import Check, Exec, Http, Tcp, duration
from charmed_mlops.errors import Blocked, CommandFailed, Restarting, Waiting

__all__ = ["DIGEST", "PATHS", "Check", "Exec", "File", "Http", "Tcp", "Workload"]

logger = logging.getLogger(__name__)

# A change of the files has to restart the service. As a digest in the layer it does so even if
# the hook was killed between the push of the files and the restart.
DIGEST = "CHARMED_MLOPS_FILES"
# The files that the last run declared: those that the next one does not are removed.
PATHS = "CHARMED_MLOPS_PATHS"

_START_PERIOD = 0.5
# The start check has little time for each try; a slow machine may never make it. When it has
# failed for this long and the lasting check has not failed meanwhile, the service works.
_START_FAILURES = 50


@dataclass(frozen=True)
class File:
    """A file in the workload container.

    Attributes:
        content: text or bytes.
        mode: permissions.
        user: owner's name, as the container's user database has it; None is Pebble's own user.
        group: group's name; None is the owner's.
    """

    content: str | bytes
    mode: int = 0o644
    user: str | None = None
    group: str | None = None

    @property
    def data(self) -> bytes:
        """The content as bytes."""
        return self.content.encode() if isinstance(self.content, str) else self.content


class Workload:
    """One service and its health checks.

    Three checks may go with service NAME:

    - NAME, level ready: decides whether the pod gets traffic.
    - NAME-start: fails at once while the service comes up and is stopped when it has succeeded.
      Its failure and its recovery wake the charm, so no hook has to sit and poll.
    - NAME-alive: when it fails for long, Pebble restarts the service.
    """

    def __init__(
        self,
        charm: ops.CharmBase,
        container: str,
        service: str | None = None,
        log_targets: Callable[[], dict[str, Any]] | None = None,
        beside_others: Callable[[], bool] = lambda: False,
    ):
        """Prepares.

        Args:
            charm: whose container it is.
            container: its name.
            service: the service's name; the container's unless given.
            log_targets: what gives the layer's log targets, each for all services.
            beside_others: whether there are other units, so that this one is to get no traffic
                before it serves.
        """
        self._charm = charm
        self.container = charm.unit.get_container(container)
        self.name = service or container
        self._log_targets = log_targets or (lambda: {})
        self._beside_others = beside_others
        self._managed = False
        self._answered = False
        self._aside: ops.pebble.Check | None = None

    @property
    def can_connect(self) -> bool:
        """Whether the container's Pebble answers."""
        return self.container.can_connect()

    def require(self) -> None:
        """Raises Waiting until the container's Pebble answers."""
        if not self.can_connect:
            raise Waiting(f"waiting for container {self.container.name}")

    def run(
        self,
        command: str,
        files: Mapping[str, str | bytes | File] | None = None,
        check: Check | None = None,
        *,
        alive: Check | None = None,
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
        group: str | None = None,
        working_dir: str | None = None,
        version: str | None = None,
        kill_delay: float | None = None,
        restart_on: str = "",
    ) -> None:
        """Have the service run `command` with just these files, environment and checks.

        Writes only what differs and replans once; the service restarts when a file or its layer
        changed, and only then.

        Args:
            command: program and arguments; no secrets, they belong in environment or files.
            files: absolute path to content; text and bytes get mode 0644. The image's user must
                be able to write there: a path below /tmp serves every image.
            check: how to know that it works; also decides whether the pod gets traffic.
            alive: how to know that it hangs: Pebble restarts the service after a minute of it.
            environment: variables of the service.
            user: the account it runs as; None is the image's own.
            group: the group it runs as; None is the user's.
            working_dir: where it starts.
            version: workload version that `juju status` shows.
            kill_delay: seconds between SIGTERM and SIGKILL.
            restart_on: any text; when it changes, the service restarts.

        Raises:
            Waiting: the container's Pebble does not answer yet, or a new unit does not know its
                relations yet.
            Blocked: the service does not start, or a file cannot be written.
        """
        self.require()
        self._managed = True
        plan = self.container.get_plan()
        before = plan.services.get(self.name)
        if before is None and _relations_are_coming():
            raise Waiting("waiting for the unit's relations")
        if before is None and self._beside_others():
            self.hold_back()
            plan = self.container.get_plan()
        self._aside = plan.checks.get(f"{self.name}-aside")
        service: dict[str, Any] = {
            "override": "replace",
            "summary": self.name,
            "command": command,
            "startup": "enabled",
            "environment": dict(environment or {})
            | self._push_all(files or {}, before, restart_on),
        }
        extra = {"user": user, "group": group, "working-dir": working_dir}
        extra["kill-delay"] = None if kill_delay is None else duration(kill_delay)
        service.update({key: value for key, value in extra.items() if value is not None})
        if alive:
            service["on-check-failure"] = {f"{self.name}-alive": "restart"}
        layer = ops.pebble.Layer(
            {
                "services": {self.name: service},
                "checks": self._checks(check, alive),
                "log-targets": self._targets(plan),
            }  # type: ignore[arg-type]
        )
        if (
            before != layer.services[self.name]
            or {name: plan.checks.get(name) for name in layer.checks} != layer.checks
            or plan.log_targets != layer.log_targets
        ):
            self.container.add_layer(self.name, layer, combine=True)
        running = self.container.get_services(self.name)
        if (
            before != layer.services[self.name]
            or not running
            or not running[self.name].is_running()
        ):
            if running and running[self.name].is_running():
                # now, as it may take long to end
                self._charm.unit.status = ops.MaintenanceStatus(f"restarting {self.name}")
            self._start(bool(check))
        if version:
            self._charm.unit.set_workload_version(version)

    def forward_logs(self) -> None:
        """Have the output of a service that `run` has declared go to the related Lokis.

        `run` does it, too: this is for when the charm does not get as far as that.
        """
        if not self.can_connect:
            return
        plan = self.container.get_plan()
        layer = ops.pebble.Layer({"log-targets": self._targets(plan)})  # type: ignore[arg-type]
        if self.name in plan.services and plan.log_targets != layer.log_targets:
            self.container.add_layer(self.name, layer, combine=True)

    def _targets(self, plan: ops.pebble.Plan) -> dict[str, Any]:
        """The log targets; one that has gone takes no service, as a layer cannot be shortened."""
        off = {
            name: {"override": "replace", "type": each.type, "location": each.location}
            for name, each in plan.log_targets.items()
        }
        return {**off, **self._log_targets()}

    def _start(self, checked: bool) -> None:
        self._answered = False  # what it said before is about a program that ends now
        try:
            if checked:
                self.container.start_checks(f"{self.name}-start")
            self.container.replan()
        except ops.pebble.APIError as error:
            if error.code != 404:
                raise
            raise Blocked("Juju's Pebble is too old: upgrade Juju to 3.6.4 or newer") from error
        except ops.pebble.ChangeError as error:
            # the error carries the program's last lines, which may hold a secret
            raise Blocked(
                f"{self.name} does not start: see its output in the container's log"
            ) from error

    def _push_all(
        self,
        files: Mapping[str, str | bytes | File],
        before: ops.pebble.Service | None,
        restart_on: str,
    ) -> dict[str, str]:
        """Bring the files to their state; the variables that remember them in the layer."""
        was = before.environment if before else {}
        digest = hashlib.sha256(restart_on.encode())
        for path, file in self._given(files):
            head = f"{path}\0{file.mode}\0{file.user}\0{file.group}\0{len(file.data)}\0"
            digest.update(head.encode())
            digest.update(file.data)
        # the digest also tells that a mode or an owner changed, which the content does not
        self.push(files, every=was.get(DIGEST, "") != digest.hexdigest())
        for path in set(was.get(PATHS, "").split(":")) - set(files) - {""}:
            self.container.remove_path(path, recursive=True)  # recursive: no error if it is gone
        if not files and not restart_on:
            return {}
        return {DIGEST: digest.hexdigest(), PATHS: ":".join(sorted(files))}

    @staticmethod
    def _given(files: Mapping[str, str | bytes | File]) -> list[tuple[str, File]]:
        return [
            (path, given if isinstance(given, File) else File(given))
            for path, given in sorted(files.items())
        ]

    def push(self, files: Mapping[str, str | bytes | File], *, every: bool = False) -> None:
        """Write the files that differ in content, or `every` one.

        Raises:
            Blocked: the image's user may not write there.
        """
        for path, file in self._given(files):
            if every or self.read(path) != file.data:
                try:
                    self.container.push(
                        path,
                        file.data,
                        make_dirs=True,
                        permissions=file.mode,
                        user=file.user,
                        group=file.group,
                    )
                except ops.pebble.PathError as error:
                    raise Blocked(
                        f"cannot write {path} in container {self.container.name}: {error.kind}"
                    ) from error

    def read(self, path: str | pathlib.PurePath) -> bytes | None:
        """The file's content, None when there is no such file."""
        try:
            with self.container.pull(path, encoding=None) as file:
                return file.read()
        except ops.pebble.PathError as error:
            if error.kind != "not-found":
                raise
            return None

    def exec(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        stdin: str | None = None,
        user: str | None = None,
        timeout: float = 60,
    ) -> str:
        """Run a command in the workload container and return its standard output.

        Args:
            argv: program and arguments; no secrets.
            environment: variables added to the container's.
            stdin: text for its standard input.
            user: the account it runs as; None is the image's own.
            timeout: seconds until it is stopped.

        Raises:
            CommandFailed: it ended with a code other than 0, or not in time.
            Waiting: the container's Pebble does not answer yet.
        """
        self.require()
        try:
            process = self.container.exec(
                list(argv),
                environment=dict(environment or {}),
                stdin=stdin,
                user=user,
                timeout=timeout,
            )
            out, _ = process.wait_output()
        except ops.pebble.ExecError as error:
            raise CommandFailed(argv[0], error.exit_code, error.stderr or "") from None
        except (ops.pebble.ChangeError, ops.pebble.APIError) as error:
            text = error.err if isinstance(error, ops.pebble.ChangeError) else error.message
            raise CommandFailed(argv[0], -1, text) from None
        return out or ""

    def stop(self) -> None:
        """Stop the service; `run` starts it again."""
        if self.can_connect and self.container.get_services(self.name):
            self.container.stop(self.name)

    def restart(self) -> None:
        """Stop and start the service."""
        self.container.restart(self.name)

    def signal(self, name: str) -> None:
        """Send the service a signal such as `SIGHUP`; nothing where it does not run.

        One that starts later reads its files then, so it misses nothing.
        """
        running = self.container.get_services(self.name)
        if not running or not running[self.name].is_running():
            return
        with contextlib.suppress(ops.pebble.APIError):  # it has ended since
            self.container.send_signal(name, self.name)

    def stand_aside(self) -> None:
        """Have this unit's pod get no traffic: a unit that runs nothing must not be asked."""
        if self.can_connect:
            self._never("aside", "1m0s")

    @property
    def is_to_start(self) -> bool:
        """Whether Pebble answers and `run` has not declared the service yet."""
        return self.can_connect and self.name not in self.container.get_plan().services

    @property
    def is_open(self) -> bool:
        """Whether `run` has declared the service and the pod is not held back."""
        if not self.can_connect:
            return False
        plan = self.container.get_plan()
        aside = plan.checks.get(f"{self.name}-aside")
        held = aside is not None and aside.level is not ops.pebble.CheckLevel.UNSET
        return self.name in plan.services and not held

    def hold_back(self) -> None:
        """Have this pod get no traffic until `admit`.

        A pod that was admitted is not held back again before its container starts anew.
        """
        if f"{self.name}-aside" not in self.container.get_plan().checks:
            self._never("aside", "1s")

    def leave(self) -> None:
        """Have this pod get no new requests to its end."""
        if self.can_connect:
            self._never("leaving", "1s")

    @property
    def is_leaving(self) -> bool:
        """Whether `leave` was called."""
        return self.can_connect and f"{self.name}-leaving" in self.container.get_plan().checks

    def admit(self) -> None:
        """Have the pod get traffic, if it was held back."""
        if not self._managed and self.can_connect:
            self._aside = self.container.get_plan().checks.get(f"{self.name}-aside")
        if self._aside is None or self._aside.level is ops.pebble.CheckLevel.UNSET:
            return
        # a check cannot be taken out of a plan, but one without a level tells nobody anything
        off = {**self._aside.to_dict(), "override": "replace", "startup": "disabled", "level": ""}
        name = f"{self.name}-aside"
        layer = ops.pebble.Layer({"checks": {name: off}})  # type: ignore[arg-type]
        self.container.add_layer(name, layer, combine=True)
        self.container.replan()
        self.container.stop_checks(name)

    def _never(self, check: str, period: str) -> None:
        """Add a check that fails each time: the pod is not Ready."""
        never = {
            "override": "replace",
            "level": "ready",
            "startup": "enabled",
            "period": period,
            "timeout": "900ms",
            "threshold": 1,
            "exec": {"command": "/nothing-runs-here"},
        }
        name = f"{self.name}-{check}"
        layer = ops.pebble.Layer({"checks": {name: never}})  # type: ignore[arg-type]
        if self.container.get_plan().checks.get(name) != layer.checks[name]:
            self.container.add_layer(name, layer, combine=True)
            self.container.replan()

    def note_recovery(self, check: str) -> None:
        """Take it that the service has answered, if it is the start check that has recovered.

        Whatever that check says by now: on a busy machine it goes up and down.
        """
        self._answered = self._answered or check == f"{self.name}-start"

    def end_start_check(self) -> None:
        """Stop the start check if the service has answered: each time it went up and down the
        charm would be woken, also one that waits for something else.
        """
        if self._answered and self.can_connect:
            self.container.stop_checks(f"{self.name}-start")

    def require_healthy(self) -> None:
        """Raises Waiting unless the service that `run` declared runs and answers.

        Raises:
            Restarting: it answered before this charm restarted it.
        """
        if not self._managed:
            return
        checks = self.container.get_checks()
        start, lasting = checks.get(f"{self.name}-start"), checks.get(self.name)
        down = ops.pebble.CheckStatus.DOWN
        if start and start.status == down and not self._answered:
            slow = start.failures >= _START_FAILURES
            if not (slow and lasting and lasting.status != down and not lasting.failures):
                # it has answered in this container before: Pebble counts on as long as the check
                # stays the same, over restarts of the service and failures
                if lasting and lasting.successes:
                    raise Restarting(f"restarting {self.name}")
                raise Waiting(f"waiting for {self.name} to answer")
        # Pebble before 1.23 does not count successes: there, up is all that is known
        if (
            start
            and start.status != ops.pebble.CheckStatus.INACTIVE
            and (start.status == down or start.successes is None or start.successes)
        ):
            self._answered = True
        if lasting and lasting.status == down:
            raise Waiting(f"{self.name} does not answer its health check")
        services = self.container.get_services(self.name)
        if services and not services[self.name].is_running():
            raise Waiting(f"waiting for {self.name} to be restarted")

    def _checks(self, check: Check | None, alive: Check | None) -> dict[str, Any]:
        checks: dict[str, Any] = {}
        if check:
            checks[self.name] = {
                "override": "replace",
                "level": "ready",
                "startup": "enabled",
                "period": "10s",
                "timeout": "5s",
                "threshold": 3,
                **check.layer(),
            }
            checks[f"{self.name}-start"] = {
                "override": "replace",
                "startup": "disabled",
                "period": duration(_START_PERIOD),
                "timeout": "450ms",
                "threshold": 1,
                **check.layer(),
            }
        if alive:
            checks[f"{self.name}-alive"] = {
                "override": "replace",
                "startup": "enabled",
                "period": "15s",
                "timeout": "10s",
                "threshold": 4,
                **alive.layer(),
            }
        return checks


def _relations_are_coming() -> bool:
    """Whether this hook is one of a new unit's first, in which it learns of its relations.

    A service that starts with some of them only would serve wrongly. They come before
    leader-elected, config-changed and start: protocol.md, "deploy".
    """
    hook = os.environ.get("JUJU_DISPATCH_PATH", "").rpartition("/")[2]
    return hook == "install" or hook.endswith("-relation-created")
