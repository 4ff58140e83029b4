"""Services: started in order, watched, started again with a growing delay.

Contract: docs/reference/layer-specification.md and service-lifecycle of canonical/pebble.
"""

from __future__ import annotations

import asyncio
import collections
import datetime
import os
import shlex
import signal
import time
from collections.abc import Callable
from typing import Any

from localjuju.pebble import layers, processes, units
from localjuju.pebble.changes import Change, Task
from localjuju.pebble.errors import ApiError

_OKAY_SECONDS = 1.0
_KILL_SECONDS = 5.0
_DEAD_SECONDS = 5.0
_LOG_BYTES = 100 << 10
_SHOWN_LINES = 20


class Log:
    """The last 100 KiB of what a service printed, as (time, line)."""

    def __init__(self) -> None:
        self._lines: collections.deque[tuple[datetime.datetime, str]] = collections.deque()
        self._size = 0
        self.total = 0
        self.changed = asyncio.Event()

    def add(self, line: str) -> None:
        """Adds a line, drops the oldest."""
        self._lines.append((units.now(), line))
        self._size += len(line)
        self.total += 1
        while self._size > _LOG_BYTES and len(self._lines) > 1:
            self._size -= len(self._lines.popleft()[1])
        self.changed.set()
        self.changed = asyncio.Event()

    def last(self, count: int) -> list[tuple[datetime.datetime, str]]:
        """The last `count` lines; -1 for all."""
        lines = list(self._lines)
        return lines if count < 0 else lines[len(lines) - min(count, len(lines)) :]


class Service:
    """One service of the plan."""

    def __init__(self, name: str, manager: Services):
        self.name = name
        self._manager = manager
        self.config: dict[str, Any] = {}
        self.state = "inactive"  # inactive, starting, active, backoff, error, stopping
        self.since = units.now()
        self.log = Log()
        self.restarts = 0
        self.starts = 0
        self._pid: int | None = None
        self._exit: asyncio.Future[int] | None = None
        self._delay = 0.0
        self._started_at = 0.0
        self._retry: asyncio.TimerHandle | None = None

    @property
    def current(self) -> str:
        """What the API calls its current status."""
        if self.state in ("starting", "active", "stopping"):
            return "active"
        return self.state

    @property
    def pid(self) -> int | None:
        """Its process, None where it does not run."""
        return self._pid

    def _set(self, state: str) -> None:
        self.state = state
        self.since = units.now()

    def command(self) -> list[str]:
        """The command line; what stands in brackets are arguments that could be others."""
        words = shlex.split(self.config["command"])
        return [word for word in words if word not in ("[", "]")]

    async def start(self, task: Task) -> None:
        """Starts it; returns when it has run for a second.

        Raises:
            ApiError: it cannot be started, or ended within that second.
        """
        if self.state in ("active", "starting"):
            task.add_log("INFO", f'Service "{self.name}" already started.')
            return
        self._cancel_retry()
        self._delay = 0.0
        self._launch()
        assert self._exit is not None
        done, _ = await asyncio.wait({self._exit}, timeout=_OKAY_SECONDS)
        if done:
            code = self._exit.result()
            tail = "".join(f"    {line}\n" for _, line in self.log.last(_SHOWN_LINES))
            if tail:
                task.add_log("INFO", f"Most recent service output:\n{tail.rstrip()}")
            if self.config.get("on-success" if code == 0 else "on-failure") == "ignore":
                return
            raise ApiError(f"service start attempt: exited quickly with code {code}")

    def _launch(self) -> None:
        config = self.config
        options = processes.identity(
            config.get("user-id"), config.get("user"), config.get("group-id"), config.get("group")
        )
        entry = options.pop("entry", None)
        env = processes.environment(os.environ, config.get("environment") or {}, entry)
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        try:
            self._pid, self._exit = self._manager.reaper.spawn(
                self.command(), stdin=-3, stdout=writing, stderr=writing, env=env,
                cwd=config.get("working-dir") or "/", **options,
            )  # fmt: skip
        except ApiError as error:
            os.close(reading)
            raise ApiError(f"cannot start service: {error}") from None
        except OSError as error:
            os.close(reading)
            name = self.command()[0]
            text = error.strerror or str(error)
            raise ApiError(
                f'cannot start service: exec: "{name}": {text[:1].lower()}{text[1:]}'
            ) from None
        finally:
            os.close(writing)
        self.starts += 1
        self._started_at = time.monotonic()
        self._set("starting")
        self._read_output(reading)
        loop = asyncio.get_running_loop()
        loop.call_later(_OKAY_SECONDS, self._okay, self._pid)
        self._exit.add_done_callback(self._ended)

    def _okay(self, pid: int) -> None:
        if self._pid == pid and self.state == "starting":
            self._set("active")

    def _read_output(self, descriptor: int) -> None:
        loop = asyncio.get_running_loop()
        rest = b""

        def read() -> None:
            nonlocal rest
            try:
                data = os.read(descriptor, 1 << 16)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            *lines, rest = (rest + data).split(b"\n")
            if not data and rest:
                lines.append(rest)
            for line in lines:
                text = line.decode(errors="replace")
                self.log.add(text)
                self._manager.print(f"{units.text(units.now())} [{self.name}] {text}")
            if not data:
                loop.remove_reader(descriptor)
                os.close(descriptor)

        loop.add_reader(descriptor, read)

    def _ended(self, future: asyncio.Future[int]) -> None:
        code = future.result()
        pid, self._pid = self._pid, None
        if pid is not None:
            processes.kill_group(pid, signal.SIGKILL)  # what it left behind
        if self.state == "stopping":
            self._set("inactive")
            return
        starting = self.state == "starting"
        action = self.config.get("on-success" if code == 0 else "on-failure", "restart")
        if starting and self._delay == 0.0 and action == "restart":
            self._set("error" if code else "inactive")
            return
        self._react(action, code)

    def _react(self, action: str, code: int) -> None:
        if action == "ignore":
            self._set("error" if code else "inactive")
        elif action == "restart":
            self._back_off()
        else:
            self._set("error" if code else "inactive")
            wanted = {"success-shutdown": 0, "failure-shutdown": 10}.get(action, 10 if code else 0)
            self._manager.shut_down(wanted)

    def check_failed(self, action: str) -> None:
        """What `on-check-failure` asks for."""
        if self.state not in ("active", "starting") or action == "ignore":
            return
        if action == "restart":
            self.state = "active"
            if self._pid is not None:
                processes.kill_group(self._pid, signal.SIGTERM)
                loop = asyncio.get_running_loop()
                loop.call_later(self._kill_delay(), self._kill_if, self._pid)
        else:
            self._react(action, 1)

    def _kill_if(self, pid: int) -> None:
        if self._pid == pid:
            processes.kill_group(pid, signal.SIGKILL)

    def _back_off(self) -> None:
        first = units.seconds(str(self.config.get("backoff-delay", "500ms")))
        factor = float(self.config.get("backoff-factor", 2.0))
        limit = units.seconds(str(self.config.get("backoff-limit", "30s")))
        if time.monotonic() - self._started_at > max(limit, self._delay):
            self._delay = 0.0
        self._delay = min(self._delay * factor, limit) if self._delay else first
        self._set("backoff")
        loop = asyncio.get_running_loop()
        self._retry = loop.call_later(self._delay, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        self.restarts += 1
        try:
            self._launch()
        except ApiError as error:
            self.log.add(str(error))
            self._started_at = time.monotonic()
            self._back_off()

    def _cancel_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _kill_delay(self) -> float:
        text = self.config.get("kill-delay")
        return units.seconds(str(text)) if text else _KILL_SECONDS

    async def stop(self, task: Task | None = None) -> None:
        """Stops it: SIGTERM, after a while SIGKILL.

        Raises:
            ApiError: it does not end even then.
        """
        self._cancel_retry()
        if self._pid is None or self._exit is None:
            if self.state != "inactive":
                self._set("inactive")
            return
        self._set("stopping")
        ending = self._exit
        processes.kill_group(self._pid, signal.SIGTERM)
        done, _ = await asyncio.wait({ending}, timeout=self._kill_delay())
        if done:
            return
        if task is not None:
            task.add_log("WARN", f'Service "{self.name}" did not end on SIGTERM; killed')
        if self._pid is not None:
            processes.kill_group(self._pid, signal.SIGKILL)
        done, _ = await asyncio.wait({ending}, timeout=_DEAD_SECONDS)
        if not done:
            raise ApiError(f'process still running after SIGTERM and SIGKILL: "{self.name}"')

    def send_signal(self, name: str) -> None:
        """Sends a signal.

        Raises:
            ApiError: it does not run, or there is no such signal.
        """
        try:
            number = getattr(signal, name)
        except AttributeError:
            raise ApiError(f'cannot send signal: invalid signal name "{name}"') from None
        if self._pid is None:
            raise ApiError(
                f'cannot send signal to service: invalid state: "{self.name}" is not running'
            )
        os.kill(self._pid, number)

    def to_json(self) -> dict[str, Any]:
        """As the API answers."""
        return {
            "name": self.name,
            "startup": self.config.get("startup") or "disabled",
            "current": self.current,
            "current-since": units.text(self.since),
        }


class Services:
    """All services; changes are carried out one after the other."""

    def __init__(
        self,
        reaper: processes.Reaper,
        shut_down: Callable[[int], None],
        show: Callable[[str], None],
    ):
        """Args: shut_down: asked to end the daemon with a code; show: prints a service's line."""
        self.reaper = reaper
        self.shut_down = shut_down
        self.print = show
        self.plan: dict[str, Any] = {}
        self.all: dict[str, Service] = {}
        self._lock = asyncio.Lock()

    def update(self, plan: dict[str, Any]) -> None:
        """Takes a new plan over; what runs goes on until it is replanned."""
        self.plan = plan
        for name, config in plan.get("services", {}).items():
            service = self.all.setdefault(name, Service(name, self))
            if service.pid is None and service.state != "backoff":
                service.config = config

    def get(self, name: str) -> Service:
        """A service of the plan.

        Raises:
            ApiError: there is none.
        """
        if name not in self.plan.get("services", {}):
            raise ApiError(f'service "{name}" does not exist')
        return self.all[name]

    def enabled(self) -> list[str]:
        """The services that start by themselves."""
        services = self.plan.get("services", {})
        return sorted(n for n, service in services.items() if service.get("startup") == "enabled")

    def to_start(self, names: list[str]) -> list[str]:
        """`names` and what they require, in order. Raises ApiError."""
        return layers.start_order(self.plan, names)

    def to_stop(self, names: list[str]) -> list[str]:
        """`names` and what requires them, last started first. Raises ApiError."""
        for name in names:
            self.get(name)
        wanted = set(names)
        services = self.plan.get("services", {})
        while True:
            more = {
                name
                for name, service in services.items()
                if wanted & set(service.get("requires") or [])
            } - wanted
            if not more:
                break
            wanted |= more
        order = layers.start_order(self.plan, sorted(services))
        return [name for name in reversed(order) if name in wanted]

    def to_replan(self) -> tuple[list[str], list[str]]:
        """What has to stop, because its configuration changed, and what has to start."""
        services = self.plan.get("services", {})
        changed = [
            name
            for name, service in self.all.items()
            if (service.pid is not None or service.state == "backoff")
            and services.get(name) is not None
            and _comparable(service.config) != _comparable(services[name])
        ]
        stop = self.to_stop(changed) if changed else []
        stop = [name for name in stop if name in changed]
        start = self.to_start(sorted({*self.enabled(), *stop}))
        return stop, start

    async def carry_out(self, change: Change, steps: list[tuple[str, str, Task]]) -> None:
        """Runs (start or stop, service, task) in order; after a failed start nothing starts."""
        async with self._lock:
            failed = False
            for action, name, task in steps:
                if failed and action == "start":
                    task.status = "Hold"
                    continue
                task.status = "Doing"
                change.on_update(change)
                try:
                    service = self.all[name]
                    if action == "start":
                        if service.pid is None:
                            service.config = self.plan["services"][name]
                        await service.start(task)
                    else:
                        await service.stop(task)
                    task.status = "Done"
                except ApiError as error:
                    text = str(error)
                    if action == "start" and not text.startswith("cannot start"):
                        text = (
                            f"cannot start service: {text.removeprefix('service start attempt: ')}"
                        )
                    task.add_log("ERROR", text)
                    task.status = "Error"
                    failed = True
                task.ready = units.now()
            change.finish()

    async def stop_all(self) -> None:
        """Stops everything, last started first."""
        order = self.to_stop(sorted(self.plan.get("services", {})))
        for name in order:
            try:
                await self.all[name].stop()
            except ApiError as error:
                self.print(str(error))


def _comparable(config: dict[str, Any]) -> dict[str, Any]:
    """What makes a running service another one."""
    return {key: value for key, value in config.items() if key not in ("override", "startup")}
