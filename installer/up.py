"""Deploys the bundle; continues where an earlier run stopped."""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from installer import bundle as bundles
from installer import doctor, juju_on_engine, overview, target
from installer.pack import ROOT, pack
from localjuju.engine import choices
from localjuju.engine.choices import Choices
from localkube.building import golang
from localkube.host import ownership, paths
from localkube.host.errors import EngineError
from localkube.host.progress import Progress

CORE = ROOT / "bundle" / "core.yaml"
FULL = ROOT / "bundle" / "bundle.yaml"
_FILES = "bundles.json"
_POLL_SECONDS = 2.0
_BLOCKED_SECONDS = 20.0  # all that is not active waits for a person
_STUCK_SECONDS = 240.0  # nothing changed for so long, and something asks for a person


def main(arguments: list[str]) -> int:
    """Runs `./mlops up`; returns an exit code."""
    options = parser().parse_args(arguments)
    target.require_name(options.model)
    chosen = target.choose(options.engine, options.model)
    file, *overlays = files(options, remembered().get(chosen.model) or [])
    bundle = bundles.read(file, overlays)
    with alone():
        return _up(options, chosen, bundle, overlays)


def parser() -> argparse.ArgumentParser:
    """The command line of `./mlops up`."""
    found = argparse.ArgumentParser(prog="./mlops up", description=__doc__)
    found.add_argument(
        "--engine",
        choices=["local", "juju"],
        help="default: a real Juju controller where there is one, else the local engine; juju "
        "without a controller: one is bootstrapped on the local engine's Kubernetes",
    )
    found.add_argument(
        "--juju", action="store_const", dest="engine", const="juju", help="as --engine juju"
    )
    found.add_argument(
        "--bootstrap-option",
        action="append",
        default=[],
        metavar="OPTION",
        help="for juju bootstrap, such as --bootstrap-option=--agent-version=3.6.27; may be "
        "repeated",
    )
    found.add_argument("--model", help=f"the model's name; default: {target.MODEL}")
    which = found.add_mutually_exclusive_group()
    which.add_argument(
        "--full", action="store_const", dest="bundle", const=FULL, help="bundle/bundle.yaml"
    )
    which.add_argument(
        "--bundle",
        type=Path,
        metavar="FILE",
        help="default: what the model was deployed from last, else bundle/core.yaml",
    )
    found.add_argument(
        "--overlay", type=Path, action="append", default=[], metavar="FILE", help="may be repeated"
    )
    found.add_argument(
        "--timeout", type=float, default=40, metavar="MINUTES", help="for the model to settle"
    )
    choices.add_options(found)
    return found


def files(options: argparse.Namespace, before: list[str]) -> list[Path]:
    """The bundle and its overlays: as asked, as last time, else the core."""
    if options.bundle is None and not options.overlay:
        last = [Path(name) for name in before]
        if last and all(file.is_file() for file in last):
            return last
    return [file.resolve() for file in (options.bundle or CORE, *options.overlay)]


def summary(bundle: bundles.Bundle, overlays: list[Path]) -> str:
    """The line that says what is deployed."""
    names = _shown(bundle.file)
    if overlays:
        names += f" with {', '.join(map(_shown, overlays))}"
    rest = "" if bundle.file == FULL else "; --full deploys bundle/bundle.yaml, which has all"
    return f"deploying {names}, {len(bundle.applications)} applications{rest}"


def _shown(file: Path) -> str:
    return str(file.relative_to(ROOT) if file.is_relative_to(ROOT) else file)


def remembered() -> dict[str, list[str]]:
    """By model, the bundle and the overlays that it was deployed from last."""
    try:
        return json.loads((paths.state() / _FILES).read_text())
    except (OSError, ValueError):
        return {}


def remember(model: str, files: list[Path]) -> None:
    _write(paths.state() / _FILES, {**remembered(), model: [str(file) for file in files]})


def _write(file: Path, document: object) -> None:
    new = file.with_suffix(".new")
    new.write_text(json.dumps(document))
    new.rename(file)


def _up(
    options: argparse.Namespace,
    chosen: target.Target,
    bundle: bundles.Bundle,
    overlays: list[Path],
) -> int:
    progress = Progress()
    _check(chosen)
    if chosen.engine == target.ON_ENGINE:
        juju_on_engine.require_images(choices.asked(options).over(choices.load(paths.state())))
    print(summary(bundle, overlays), flush=True)
    if not chosen.has_engine:
        print(
            f"to model {chosen.model} of {target.controller()}; --engine local has one of its own"
        )
    remember(chosen.model, [bundle.file, *overlays])
    charms = bundle.charms(ROOT / "build")
    pack(charms, full=not chosen.is_local, progress=progress)
    for application in bundle.applications.values():
        if application.charm is not None and not application.charm.is_file():
            raise EngineError(f"{bundle.file}: {application.name}: no charm {application.charm}")
    if chosen.has_engine:
        asked = replace(choices.asked(options), juju=not chosen.is_local)
        _build(bundle, asked.over(choices.load(paths.state())), progress)
        _start(asked, progress)
    if chosen.engine == target.ON_ENGINE:
        chosen.remember()  # from here on `./mlops down` has something to take back
        juju_on_engine.bootstrap(chosen, options.bootstrap_option, progress)
    _add_model(chosen)
    chosen.remember()
    _deploy(chosen, bundle, overlays, progress)
    wait(chosen, list(bundle.applications), options.timeout * 60)
    print("\n".join(overview.table(overview.applications(chosen), commands=True)))
    if chosen.has_engine:
        golang.remove_unused_caches(progress)
    return 0


@contextmanager
def alone() -> Iterator[None]:
    """Has one `./mlops up` at a time work on a state folder; the next one says so and waits.

    Raises:
        EngineError: the state folder that the user named holds other things.
    """
    ownership.claim_state()
    file = paths.state() / "up.lock"
    while True:
        with file.open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                other = lock.read().strip() or "of another user"
                print(f"another ./mlops up (process {other}) is at work: waiting", file=sys.stderr)
                fcntl.flock(lock, fcntl.LOCK_EX)
            if not _is_named(lock, file):  # removed by ./mlops down meanwhile
                ownership.claim_state()
                continue
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n")
            lock.flush()
            yield
            return


def _is_named(lock: TextIO, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(lock.fileno()), file.stat())
    except FileNotFoundError:
        return False


def _check(chosen: target.Target) -> None:
    """Raises EngineError with the first thing that cannot work."""
    for finding in doctor.findings(chosen):
        if finding.level == "error":
            raise EngineError(f"{finding.name}: {finding.text}")


def _build(bundle: bundles.Bundle, asked: Choices, progress: Progress) -> None:
    """Builds what the cache lacks: the cluster's programs and the bundle's images.

    Raises:
        EngineError: a build failed, or there is no entry for an image that cannot be pulled.
    """
    from localjuju.images import layers
    from localjuju.model import provision
    from localkube.images import upstream
    from localkube.node import programs

    images = {image for app in bundle.applications.values() for image in app.images}
    lacking = layers.others(images)
    may_be_pulled = lacking and asked.images != "catalogue"
    answering = (
        upstream.answering({layers.registry(one) for one in lacking}) if may_be_pulled else []
    )
    pulled = {one for one in lacking if layers.registry(one) in answering}
    layers.require(images - pulled)
    programs.ensure(progress)
    agent = () if asked.juju else (provision.AGENT_IMAGE,)
    for reference in sorted({*(images - pulled), *agent, provision.CHARM_IMAGE}):
        layers.prepare(reference)


def _start(asked: Choices, progress: Progress) -> None:
    from localjuju.engine import lifecycle

    if lifecycle.pid() is not None and lifecycle.answers():
        choices.load(paths.state()).refuse_other(asked)
        return
    with progress.step("engine"):
        lifecycle.start(asked=asked)
    print(choices.load(paths.state()).line(), flush=True)


def _add_model(chosen: target.Target) -> None:
    known = (chosen.json("models") or {}).get("models") or []
    names = {model.get("short-name") or model["name"].rpartition("/")[2] for model in known}
    if chosen.model not in names:
        arguments = ["add-model", chosen.model]
        if not chosen.is_local:
            arguments.append("--no-switch")
        chosen.run(*arguments)


def _deploy(
    chosen: target.Target, bundle: bundles.Bundle, overlays: list[Path], progress: Progress
) -> None:
    """Deploys what the model lacks or what the files say anew; refreshes from newer packs.

    Where an application is from a local file, Juju leaves its charm and its images as they are
    when a bundle is deployed again (resolveCharmsAndEndpoints of cmd/juju/application/deployer,
    allowCharmUpgrade of core/bundle/changes): it has to be refreshed for both.
    """
    present = overview.applications(chosen)
    file = paths.state() / "deployed.json"
    try:
        before: dict[str, str] = json.loads(file.read_text())
    except (OSError, ValueError):
        before = {}
    now: dict[str, str] = {}
    for name, app in bundle.applications.items():
        if app.charm is not None:
            key = f"{chosen.model}/{name}"
            now[key] = hashlib.sha256(app.charm.read_bytes()).hexdigest()
            now[f"{key} images"] = " ".join(_resources(app))
    deployed = f"{chosen.model} bundle"
    now[deployed] = bundle.digest
    if bundle.missing(present) or before.get(deployed) != bundle.digest:
        options = [text for overlay in overlays for text in ("--overlay", str(overlay))]
        with progress.step("deploy"):
            chosen.run("deploy", str(bundle.file), "--trust", *options, timeout=900, cwd=ROOT)
    for name, app in bundle.applications.items():
        if name not in present or app.charm is None:
            continue
        key = f"{chosen.model}/{name}"
        # the local engine has given it the images already
        keys = [key] if chosen.is_local else [key, f"{key} images"]
        if any(before.get(each, now[each]) != now[each] for each in keys):
            images = [word for text in _resources(app) for word in ("--resource", text)]
            with progress.step(f"refresh {name}"):
                chosen.run("refresh", name, "--path", str(app.charm), *images, cwd=ROOT)
    _write(file, {**before, **now})


def _resources(app: bundles.Application) -> list[str]:
    return [f"{name}={image}" for name, image in sorted(app.resources.items())]


def unsettled(status: Mapping[str, Any], wanted: list[str]) -> dict[str, tuple[str, str]]:
    """Who is not active and idle yet: name to (state, message)."""
    waiting: dict[str, tuple[str, str]] = {}
    for name in wanted:
        application = status.get(name)
        if application is None:
            waiting[name] = ("missing", "not deployed yet")
            continue
        units = application.get("units") or {}
        if not units:
            waiting[name] = ("waiting", "no unit yet")
        for unit, state in units.items():
            workload = state.get("workload-status") or {}
            agent = (state.get("juju-status") or {}).get("current", "")
            current = workload.get("current", "unknown")
            if (current, agent) != ("active", "idle"):
                shown = current if agent == "idle" else f"{current}/{agent}"
                waiting[unit] = (shown, workload.get("message") or "")
        own = application.get("application-status") or {}
        if own.get("current") != "active" and not any(
            key == name or key.startswith(f"{name}/") for key in waiting
        ):
            waiting[name] = (own.get("current", "unknown"), own.get("message") or "")
    return waiting


def wait(chosen: target.Target, wanted: list[str], timeout: float) -> None:
    """Returns when all of these applications are active and idle; shows who waits for what.

    Args:
        chosen: the model.
        wanted: names of applications.
        timeout: seconds.

    Raises:
        EngineError: not in time, or nothing moves and something is blocked or failed.
    """
    begin = changed = time.monotonic()
    last: dict[str, tuple[str, str]] | None = None
    with _View() as view:
        while waiting := unsettled(overview.applications(chosen), wanted):
            now = time.monotonic()
            if waiting != last:
                changed = now
            view.show(waiting, last or {}, len(wanted), now - begin)
            last = waiting
            stuck = [name for name, (state, _) in waiting.items() if state in ("blocked", "error")]
            # where nothing else is under way, only a person can go on: no use in waiting
            patience = _BLOCKED_SECONDS if len(stuck) == len(waiting) else _STUCK_SECONDS
            if stuck and now - changed > patience:
                raise EngineError(_why(stuck, waiting))
            if now - begin > timeout:
                raise EngineError(f"after {timeout / 60:.0f} min {_why(list(waiting), waiting)}")
            time.sleep(_POLL_SECONDS)
    if last is not None:
        count, seconds = len(wanted), time.monotonic() - begin
        print(f"{count} of {count} applications ready, {seconds:.0f} s", file=sys.stderr)


def _why(names: list[str], waiting: Mapping[str, tuple[str, str]]) -> str:
    first = names[0]
    state, message = waiting[first]
    more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
    return f"{first} is {state}: {message or 'no message'}{more}; see ./mlops juju debug-log"


class _View:
    """On a terminal a table that changes in place; else one line for each change."""

    def __init__(self) -> None:
        self._live: Any = None
        self._context: AbstractContextManager[Any] = nullcontext()
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._context = self._live = Live(
                console=Console(stderr=True), transient=True, auto_refresh=False
            )

    def __enter__(self) -> _View:
        self._context.__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        self._context.__exit__(*details)

    def show(
        self,
        waiting: Mapping[str, tuple[str, str]],
        before: Mapping[str, tuple[str, str]],
        wanted: int,
        seconds: float,
    ) -> None:
        """Shows who waits; `before` is what was shown last."""
        if self._live is not None:
            from rich.table import Table

            late = {name.partition("/")[0] for name in waiting}
            title = f"{wanted - len(late)} of {wanted} applications ready, {seconds:.0f} s"
            table = Table("unit", "state", "waits for", title=title, title_justify="left")
            for name, (state, message) in sorted(waiting.items()):
                table.add_row(name, state, message.removeprefix("waiting for "))
            self._live.update(table, refresh=True)
            return
        for name, (state, message) in sorted(waiting.items()):
            if before.get(name) != (state, message):
                text = f"{seconds:4.0f} s  {name} {state}{f': {message}' if message else ''}"
                print(text, file=sys.stderr, flush=True)
        for name in sorted(set(before) - set(waiting)):
            print(f"{seconds:4.0f} s  {name} active", file=sys.stderr, flush=True)
