"""The daemon: puts the parts together, lives until a signal or a service ends it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from localjuju import sockets
from localjuju.pebble import layers
from localjuju.pebble.api import Api
from localjuju.pebble.changes import Change, Changes
from localjuju.pebble.checks import Checks
from localjuju.pebble.errors import ApiError
from localjuju.pebble.forwarding import Forwarding
from localjuju.pebble.identities import Identities
from localjuju.pebble.notices import Notices
from localjuju.pebble.processes import Reaper
from localjuju.pebble.services import Services

VERSION = "1.26.0"  # what Juju 3.6 brings: protocol.md section 4.1
_STEP = 1000


def main(argv: Sequence[str]) -> int:
    """Runs `pebble run` with these arguments; returns the exit code."""
    parser = argparse.ArgumentParser(prog="pebble", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run")
    run.add_argument("--create-dirs", action="store_true", help="make $PEBBLE if it is missing")
    run.add_argument("--hold", action="store_true", help="do not start services by itself")
    run.add_argument(
        "--http", metavar="[ADDRESS]:PORT", help="serve there too: health, and metrics"
    )
    run.add_argument("--verbose", action="store_true", help="print what services print")
    run.add_argument("--identities", type=Path, help="file with identities to begin with")
    options = parser.parse_args(list(argv))
    folder = Path(os.environ.get("PEBBLE") or "/var/lib/pebble/default")
    socket = Path(os.environ.get("PEBBLE_SOCKET") or folder / ".pebble.socket")
    if options.create_dirs:
        (folder / "layers").mkdir(parents=True, exist_ok=True)
    elif not folder.is_dir():
        print(
            f'error: directory "{folder}" does not exist: --create-dirs makes it', file=sys.stderr
        )
        return 1
    once = os.environ.get("PEBBLE_COPY_ONCE")
    if once and Path(once).is_dir() and not any(folder.iterdir()):
        shutil.copytree(once, folder, dirs_exist_ok=True)
    try:
        return asyncio.run(Daemon(folder, socket, options).run())
    except (ApiError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


class Daemon:
    """What the API works on."""

    def __init__(self, folder: Path, socket: Path, options: argparse.Namespace):
        self.folder = folder
        self._socket = socket
        self._options = options
        self.boot_id = secrets.token_hex(16)
        self.version = VERSION
        self.layers: list[layers.Layer] = []
        self.identities = Identities(folder / "identities.json")
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """Serves until the end; returns the exit code."""
        self._ending: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        reaper = Reaper()
        reaper.start()
        self.reaper = reaper
        self.notices = Notices()
        self.changes = Changes(self._tell)
        self.services = Services(reaper, self.end, self._print)
        self.forwarding = Forwarding(self.services.all, VERSION, self._print)
        self.checks = Checks(self.changes, reaper, self._service_config, self._check_failed)
        if self._options.identities:
            self.identities.change("replace", _read_identities(self._options.identities))
        self._read_layers()
        self.update_plan()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.end, 0)
        runners = await self._listen()
        if not self._options.hold and self.services.enabled():
            self.start_services("autostart", self.services.enabled())
        try:
            return await self._ending
        finally:
            self.checks.stop_all()
            await self.services.stop_all()
            await self.forwarding.stop()
            for runner in runners:
                await runner.cleanup()
            with contextlib.suppress(OSError):
                self._socket.unlink()

    def end(self, code: int) -> None:
        """Has the daemon stop its services and end."""
        if not self._ending.done():
            self._ending.set_result(code)

    async def _listen(self) -> list[web.AppRunner]:
        api = Api(self)
        # Anybody may connect: what one may ask for then depends on who it is.
        local = web.AppRunner(api.application(), access_log=None, shutdown_timeout=0.5)
        await local.setup()
        self._socket.parent.mkdir(parents=True, exist_ok=True)
        await web.SockSite(local, sockets.listen(self._socket, 0o666)).start()
        if not self._options.http:
            return [local]
        host, _, port = self._options.http.rpartition(":")
        remote = web.AppRunner(api.application(), access_log=None, shutdown_timeout=0.5)
        await remote.setup()
        await web.TCPSite(remote, host or "0.0.0.0", int(port)).start()
        return [local, remote]

    def _print(self, line: str) -> None:
        if self._options.verbose:
            print(line, flush=True)

    def _tell(self, change: Change) -> None:
        self.notices.add("change-update", change.id, data={"kind": change.kind})

    def _service_config(self, name: str) -> dict[str, Any]:
        return self.services.get(name).config

    def _check_failed(self, name: str) -> None:
        for service in self.services.all.values():
            action = (service.config.get("on-check-failure") or {}).get(name)
            if action:
                service.check_failed(action)

    # Layers ----------------------------------------------------------------------------------

    def _read_layers(self) -> None:
        for file in sorted((self.folder / "layers").glob("[0-9][0-9][0-9]-*.yaml")):
            order, label = file.stem.split("-", 1)
            content = layers.parse(file.read_text(), label)
            self.layers.append(layers.Layer(int(order) * _STEP, label, content))

    def add_layer(self, label: str, text: str, combine: bool, inner: bool) -> None:
        """Adds a layer on top, or combines it with the one of that label.

        Raises:
            ApiError: it is no layer, the label is taken, or the plan would be wrong; then
                nothing changes.
        """
        content = layers.parse(text, label)
        new = list(self.layers)
        found = next((index for index, layer in enumerate(new) if layer.label == label), None)
        if found is None:
            top = max((layer.order for layer in new), default=0)
            new.append(layers.Layer((top // _STEP + 1) * _STEP, label, content))
        elif combine:
            merged = layers.merge_layer(new[found].content, content)
            new[found] = layers.Layer(new[found].order, label, merged)
        else:
            raise ApiError(f'layer "{label}" already exists')
        plan = layers.combine(new)
        self.layers = new
        self._take(plan)

    def update_plan(self) -> None:
        """Combines the layers. Raises ApiError."""
        self._take(layers.combine(self.layers))

    def _take(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.services.update(plan)
        self.checks.update(plan)
        self.forwarding.update(plan)

    # Services --------------------------------------------------------------------------------

    def start_services(self, action: str, names: list[str]) -> Change:
        """Begins a change of services.

        Args:
            action: start, stop, restart, autostart or replan.

        Raises:
            ApiError: a name is unknown, or the action is.
        """
        services = self.services
        if action == "autostart":
            names = services.enabled()
            if not names:
                raise ApiError("no default services", kind="no-default-services")
        stop: list[str] = []
        start: list[str] = []
        if action in ("start", "autostart"):
            start = services.to_start(names)
        elif action == "stop":
            stop = services.to_stop(names)
        elif action == "restart":
            stop = [name for name in services.to_stop(names) if services.all[name].pid is not None]
            start = services.to_start(sorted({*names, *stop}))
        elif action == "replan":
            stop, start = services.to_replan()
        else:
            raise ApiError(f'action "{action}" is unsupported')
        steps = [("stop", name) for name in stop] + [("start", name) for name in start]
        tasks = [(what, f'{what.capitalize()} service "{name}"') for what, name in steps]
        change = self.changes.add(action, _summary(action, names or start or stop), tasks)
        work = [(*step, task) for step, task in zip(steps, change.tasks, strict=True)]
        self.keep(asyncio.create_task(services.carry_out(change, work)))
        return change

    def keep(self, task: asyncio.Task[None]) -> None:
        """Holds a reference to a task until it is done: the event loop itself has none."""
        self._running.add(task)
        task.add_done_callback(self._running.discard)


def _read_identities(file: Path) -> dict[str, Any]:
    """Raises ApiError: there are none in it."""
    try:
        return dict(yaml.safe_load(file.read_text())["identities"] or {})
    except (yaml.YAMLError, TypeError, ValueError, KeyError) as error:
        raise ApiError(f"cannot read identities: {' '.join(str(error).split())}") from None


def _summary(action: str, names: list[str]) -> str:
    word = {"autostart": "Autostart", "replan": "Replan"}.get(action, action.capitalize())
    if not names:
        return f"{word} - no services"
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f'{word} service "{names[0]}"{more}'
