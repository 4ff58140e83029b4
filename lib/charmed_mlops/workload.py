"""The workload of a charm: one service in one container, brought to its desired state by diff."""

from __future__ import annotations

import hashlib
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ops

from charmed_mlops.errors import Blocked, CommandFailed, Waiting

# A change of the files has to restart the service. As a digest in the layer it does so even if
# the hook was killed between the push of the files and the restart.
DIGEST = "CHARMED_MLOPS_FILES"


@dataclass(frozen=True)
class File:
    """A file in the workload container.

    Attributes:
        content: text or bytes.
        mode: permissions.
        user: owner's name, as the container's user database has it; None is Pebble's own user.
    """

    content: str | bytes
    mode: int = 0o644
    user: str | None = None

    @property
    def data(self) -> bytes:
        """The content as bytes."""
        return self.content.encode() if isinstance(self.content, str) else self.content


@dataclass(frozen=True)
class Http:
    """Healthy when GET http://localhost:PORT/PATH answers 2xx."""

    port: int
    path: str = "/"
    scheme: str = "http"

    def layer(self) -> dict[str, Any]:
        """The check's part of a Pebble layer."""
        return {"http": {"url": f"{self.scheme}://localhost:{self.port}{self.path}"}}


@dataclass(frozen=True)
class Tcp:
    """Healthy when PORT accepts a connection."""

    port: int

    def layer(self) -> dict[str, Any]:
        """The check's part of a Pebble layer."""
        return {"tcp": {"port": self.port}}


@dataclass(frozen=True)
class Exec:
    """Healthy when COMMAND ends with code 0. No secrets: the plan is readable."""

    command: str
    environment: Mapping[str, str] = field(default_factory=dict)

    def layer(self) -> dict[str, Any]:
        """The check's part of a Pebble layer."""
        layer: dict[str, Any] = {"command": self.command}
        if self.environment:
            layer["environment"] = dict(self.environment)
        return {"exec": layer}


Check = Http | Tcp | Exec


class Workload:
    """One service, named as its container, and its health check of the same name.

    Besides the lasting check there is `NAME-start`: it fails at once while the service comes up
    and is stopped when it has succeeded. Its failure and its recovery are what wakes the charm,
    so that no hook has to sit and poll.
    """

    def __init__(self, charm: ops.CharmBase, container: str):
        self._charm = charm
        self.container = charm.unit.get_container(container)
        self.name = container
        self._managed = False

    @property
    def can_connect(self) -> bool:
        """Whether the container's Pebble answers."""
        return self.container.can_connect()

    def require(self) -> None:
        """Raises Waiting until the container's Pebble answers."""
        if not self.can_connect:
            raise Waiting(f"waiting for container {self.name}")

    def run(
        self,
        command: str,
        files: Mapping[str, str | bytes | File] | None = None,
        check: Check | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
        group: str | None = None,
        working_dir: str | None = None,
        version: str | None = None,
        kill_delay: str | None = None,
    ) -> None:
        """Have the service run `command` with just these files, environment and check.

        Writes only what differs and replans once; the service restarts when a file or its layer
        changed, and only then.

        Args:
            command: program and arguments; no secrets, they belong in environment or files.
            files: absolute path to content; text and bytes get mode 0644.
            check: how to know that it works; also decides whether the pod is ready.
            environment: variables of the service.
            user: the account it runs as; None is the image's own.
            group: the group it runs as; None is the user's.
            working_dir: where it starts.
            version: workload version that `juju status` shows.
            kill_delay: time between SIGTERM and SIGKILL, such as "30s".

        Raises:
            Waiting: the container's Pebble does not answer yet.
            Blocked: the service does not start.
        """
        self.require()
        self._managed = True
        digest = self.push(files or {})
        service: dict[str, Any] = {
            "override": "replace",
            "summary": self.name,
            "command": command,
            "startup": "enabled",
            "environment": dict(environment or {}) | ({DIGEST: digest} if files else {}),
        }
        extra = {"user": user, "group": group, "working-dir": working_dir}
        extra["kill-delay"] = kill_delay
        service.update({key: value for key, value in extra.items() if value is not None})
        layer = ops.pebble.Layer(
            {"services": {self.name: service}, "checks": self._checks(check)}  # type: ignore[arg-type]
        )
        plan = self.container.get_plan()
        if plan.services != layer.services or plan.checks != layer.checks:
            self.container.add_layer(self.name, layer, combine=True)
        running = self.container.get_services(self.name)
        starts = (
            plan.services.get(self.name) != layer.services[self.name]
            or not running
            or not running[self.name].is_running()
        )
        if starts:
            if check:
                self.container.start_checks(f"{self.name}-start")
            try:
                self.container.replan()
            except ops.pebble.ChangeError as error:
                # the error carries the program's last lines, which may hold a secret
                raise Blocked(
                    f"{self.name} does not start: see its output in the container's log"
                ) from error
        if version:
            self._charm.unit.set_workload_version(version)

    def push(self, files: Mapping[str, str | bytes | File]) -> str:
        """Write those files that differ in content; return the digest of them all."""
        digest = hashlib.sha256()
        for path, given in sorted(files.items()):
            file = given if isinstance(given, File) else File(given)
            digest.update(f"{path}\0{file.mode}\0{file.user}\0{len(file.data)}\0".encode())
            digest.update(file.data)
            if self.read(path) != file.data:
                self.container.push(
                    path, file.data, make_dirs=True, permissions=file.mode, user=file.user
                )
        return digest.hexdigest()

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

    def require_healthy(self) -> None:
        """Raises Waiting unless the service that `run` declared runs and answers."""
        if not self._managed:
            return
        checks = self.container.get_checks()
        start, lasting = checks.get(f"{self.name}-start"), checks.get(self.name)
        if start and start.status == ops.pebble.CheckStatus.DOWN:
            raise Waiting(f"waiting for {self.name} to answer")
        if start and start.status == ops.pebble.CheckStatus.UP and start.successes:
            self.container.stop_checks(f"{self.name}-start")
        if lasting and lasting.status == ops.pebble.CheckStatus.DOWN:
            raise Waiting(f"{self.name} does not answer its health check")
        services = self.container.get_services(self.name)
        if services and not services[self.name].is_running():
            raise Waiting(f"waiting for {self.name} to be restarted")

    def _checks(self, check: Check | None) -> dict[str, Any]:
        if not check:
            return {}
        return {
            self.name: {
                "override": "replace",
                "level": "ready",
                "startup": "enabled",
                "period": "10s",
                "timeout": "5s",
                "threshold": 3,
                **check.layer(),
            },
            f"{self.name}-start": {
                "override": "replace",
                "startup": "disabled",
                "period": "500ms",
                "timeout": "400ms" if not isinstance(check, Exec) else "450ms",
                "threshold": 1,
                **check.layer(),
            },
        }
