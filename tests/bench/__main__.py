"""Deploys the bundle on a fresh local engine and prints what that costs.

`tox -e bench`, or `python -m tests.bench`; `--full` and `--edge` measure the full bundle and its
edge overlay in place of the core; `--growth` measures what an application costs among few and
among many instead. What is missing in the cache is built first and not in
the figures. It fails if the model does not settle; no figure makes it fail.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from installer import bundle as bundles
from installer.down import remove_engine
from installer.pack import ROOT, pack
from installer.up import unsettled
from localjuju.client import Client
from localkube.host import paths
from localkube.host.errors import EngineError
from localkube.host.progress import Progress
from tests.bench import door, growth
from tests.bench.processes import Sampler

CORE, FULL = ROOT / "bundle" / "core.yaml", ROOT / "bundle" / "bundle.yaml"
EDGE = ROOT / "bundle" / "overlays" / "edge.yaml"
# Sums over the rendered manifests of the example of Kubeflow's platform 26.03, where most
# containers ask for nothing, and the estimate of its README: https://github.com/kubeflow/manifests
PEERS = {
    "requests of Kubeflow 26.03's pods": 7162,
    "limits of them": 12280,
    "its README's estimate of the need": 12341,
}
MODEL = "bench"
_UPDATE_STATUS_PER_HOUR = 12  # Juju's default interval is 5 minutes
_QUIET_SECONDS = 30.0
_POLL_SECONDS = 0.5
Rows = list[dict[str, Any]]


def main() -> int:
    """Runs the bench; returns an exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--bundle", type=Path, default=CORE, help="default: bundle/core.yaml")
    for name, file in (("--full", FULL), ("--edge", EDGE)):
        which.add_argument(name, action="store_const", dest="bundle", const=file)
    parser.add_argument("--growth", action="store_true", help="among few and among many")
    parser.add_argument(
        "--sizes", type=int, nargs=2, default=(10, 100), metavar=("FEW", "MANY"),
        help="applications that --growth deploys; default: 10 100",
    )  # fmt: skip
    parser.add_argument("--timeout", type=float, default=900, metavar="SECONDS")
    parser.add_argument(
        "--updates", type=int, default=3, help="update-status hooks to measure on each unit"
    )
    options = parser.parse_args()
    os.environ["CHARMED_MLOPS_STATE"] = str(paths.cache() / "bench-engine")
    os.environ["PYTHONPATH"] = str(ROOT)
    try:
        file = options.bundle.resolve()
        few, many = options.sizes
        if options.growth:
            _fresh(lambda: growth.main(few, many, options.timeout))
            return 0
        overlays = [EDGE] if file == EDGE else []
        bundle = bundles.read(FULL if overlays else file, overlays)
        _prepare(bundle)
        _fresh(lambda: _measure(bundle, overlays, options.timeout, options.updates))
    except EngineError as error:
        print(f"ERROR {error}", file=sys.stderr)
        return 1
    return 0


def _fresh(measure: Callable[[], None]) -> None:
    """Measures with an empty state, and leaves none."""
    remove_engine()
    try:
        measure()
    finally:
        remove_engine()


def _prepare(bundle: bundles.Bundle) -> None:
    """Packs and builds what is missing."""
    from localjuju.images import layers
    from localkube.node import programs

    progress = Progress()
    pack(bundle.charms(ROOT / "build"), progress=progress)
    programs.ensure(progress)
    references = {image for app in bundle.applications.values() for image in app.images}
    for reference in sorted(references):
        layers.prepare(reference)


def _measure(bundle: bundles.Bundle, overlays: list[Path], timeout: float, updates: int) -> None:
    from localjuju.engine import lifecycle

    begin = time.monotonic()
    lifecycle.start()
    started = time.monotonic() - begin
    process = lifecycle.pid()
    assert process is not None
    client = Client()
    with Sampler(process, bundle.applications) as sampler:
        begin = time.monotonic()
        client.call("add_model", name=MODEL)
        _deploy(bundle.file, overlays)
        _wait(lambda: _waiting(client, bundle), timeout)
        wall = time.monotonic() - begin
        used = sampler.look()
        converged = _statistics(client)
        _print_converge(converged, started, wall, sum(used.values()))

        _set_interval(client, "24h")
        quiet = _quiet(sampler)
        idle = {name: group.memory for name, group in sampler.groups.items()}
        _print_row(bundle, converged, wall, sum(used.values()), sampler)
        if door.GATEWAY in bundle.applications:
            _print_door(door.measure(MODEL, sampler.look))
        _set_interval(client, "5s")
        _wait(lambda: _too_few(client, converged, updates), timeout)
        _wait(lambda: _waiting(client, bundle), timeout)
        after = _statistics(client)
    _print_processes(sampler, idle, used)
    _print_idle(after, quiet)


def _deploy(file: Path, overlays: list[Path]) -> None:
    command = [sys.executable, "-m", "localjuju.cli", "deploy", "-m", MODEL, str(file), "--trust"]
    command += [text for overlay in overlays for text in ("--overlay", str(overlay))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise EngineError(f"juju deploy: {done.stderr.strip()}")


def _wait(why_not: Callable[[], str], timeout: float) -> None:
    """Returns when `why_not()` is empty.

    Raises:
        EngineError: not in time; says why.
    """
    deadline = time.monotonic() + timeout
    while reason := why_not():
        if time.monotonic() > deadline:
            raise EngineError(f"not settled in {timeout:.0f} s: {reason}")
        time.sleep(_POLL_SECONDS)


def _waiting(client: Client, bundle: bundles.Bundle) -> str:
    """Who is not active and idle yet.

    Raises:
        EngineError: a unit is in error.
    """
    applications = client.call("status", model=MODEL)["applications"]
    waiting = unsettled(applications, list(bundle.applications))
    for name, (state, message) in waiting.items():
        if state.startswith("error"):
            raise EngineError(f"{name}: {message}")
    return "; ".join(f"{name} {state} {message}" for name, (state, message) in waiting.items())


def _set_interval(client: Client, interval: str) -> None:
    values = {"update-status-hook-interval": interval}
    client.call("set_model_config", model=MODEL, values=values)


def _statistics(client: Client) -> Rows:
    return client.call("hook_statistics", model=MODEL)


def _too_few(client: Client, before: Rows, wanted: int) -> str:
    """Units whose update-status ran less than `wanted` times since `before`."""
    runs = {row["unit"]: 0 for row in before}
    for row in _statistics(client):
        if row["hook"] == "update-status":
            runs[row["unit"]] += row["runs"]
    for row in before:
        if row["hook"] == "update-status":
            runs[row["unit"]] -= row["runs"]
    few = [f"{unit} {number}" for unit, number in runs.items() if number < wanted]
    return f"update-status of {', '.join(few)}" if few else ""


def _quiet(sampler: Sampler) -> dict[str, float]:
    """Processor seconds in one hour of each group, from a while in which nothing is asked."""
    begin, before = time.monotonic(), sampler.look()
    time.sleep(_QUIET_SECONDS)
    after = sampler.look()
    hours = (time.monotonic() - begin) / 3600
    return {name: max(0.0, after[name] - before.get(name, 0.0)) / hours for name in after}


def _sums(rows: Rows, key: Callable[[dict[str, Any]], str]) -> dict[str, dict[str, float]]:
    sums: dict[str, dict[str, float]] = {}
    for row in rows:
        of = sums.setdefault(key(row), {"runs": 0, "seconds": 0.0, "cpu_seconds": 0.0})
        for column in of:
            of[column] += row[column]
    return sums


def _application(row: Mapping[str, Any]) -> str:
    return row["unit"].partition("/")[0]


def _print_converge(rows: Rows, started: float, wall: float, used: float) -> None:
    table = _table("to converge", "application", "hooks", "hook s", "hook CPU s", "CPU s per hook",
                   "hook CPU / wall")  # fmt: skip
    sums = _sums(rows, _application)
    total = _sums(rows, lambda _: "total")
    for name, of in [*sorted(sums.items()), *total.items()]:
        table.add_row(
            name, f"{of['runs']:.0f}", f"{of['seconds']:.1f}", f"{of['cpu_seconds']:.2f}",
            f"{of['cpu_seconds'] / of['runs']:.3f}", f"{of['cpu_seconds'] / wall:.3f}",
        )  # fmt: skip
    _show(table)
    hooks = total["total"]["cpu_seconds"]
    print(
        f"engine started in {started:.1f} s; from add-model to all active and idle {wall:.1f} s\n"
        f"CPU of all processes {used:.1f} s, {used / wall:.2f} of a core; "
        f"of hooks {hooks:.1f} s, {hooks / used:.2f} of that\n"
    )


def _print_row(
    bundle: bundles.Bundle, rows: Rows, wall: float, used: float, sampler: Sampler
) -> None:
    """The deployment in one line, beside what others ask of a cluster for theirs."""
    table = _table("in one line", "what", "apps", "s to active", "hooks", "CPU s",
                   "programs' peak MiB", "settled MiB")  # fmt: skip
    settled = sum(sampler.groups[name].memory for name in sampler.programs())
    table.add_row(
        "this bundle", f"{len(bundle.applications)}", f"{wall:.0f}",
        f"{sum(row['runs'] for row in rows):.0f}", f"{used:.0f}",
        f"{sampler.peak / (1 << 20):.0f}", f"{settled / (1 << 20):.0f}",
    )  # fmt: skip
    for what, megabytes in PEERS.items():
        table.add_row(what, "", "", "", "", "", f"{megabytes}")
    _show(table)
    print("programs: what pods' containers run, without charms and Pebble; peak: of all at one "
          "time\n")  # fmt: skip


def _print_processes(sampler: Sampler, idle: Mapping[str, int], used: Mapping[str, float]) -> None:
    table = _table(
        "processes", "of", "peak MiB", "idle MiB", "largest one MiB", "CPU s to converge"
    )
    for name, group in sorted(sampler.groups.items(), key=lambda item: -item[1].peak):
        sizes = (group.peak, idle.get(name, 0), group.largest)
        cells = [f"{size / (1 << 20):.0f}" for size in sizes]
        table.add_row(name, *cells, f"{used.get(name, 0):.1f}")
    _show(table)
    print("peak and idle: proportional set size, seen each second; largest one: VmHWM\n")


def _print_door(rows: list[tuple[str, str]]) -> None:
    table = _table("the gateway", "what", "")
    for row in rows:
        table.add_row(*row)
    _show(table)


def _print_idle(rows: Rows, quiet: Mapping[str, float]) -> None:
    table = _table("one idle hour", "of", "measured", "CPU s per hook", "/ start", "CPU s")
    updates = _sums([row for row in rows if row["hook"] == "update-status"], _application)
    starts = _sums([row for row in rows if row["hook"] == "start"], _application)
    units = Counter(unit.partition("/")[0] for unit in {row["unit"] for row in rows})
    total = 0.0
    for name, of in sorted(updates.items()):
        each = of["cpu_seconds"] / of["runs"]
        start = starts[name]["cpu_seconds"] / starts[name]["runs"]
        hour = each * _UPDATE_STATUS_PER_HOUR * units[name]
        total += hour
        table.add_row(f"{name} update-status", f"{of['runs']:.0f} hooks", f"{each:.3f}",
                      f"{each / start:.2f}", f"{hour:.1f}")  # fmt: skip
    table.add_row("all update-status", "", "", "", f"{total:.1f}", style="bold")
    for name, hour in sorted(quiet.items(), key=lambda item: -item[1]):
        table.add_row(name, f"{_QUIET_SECONDS:.0f} s", "", "", f"{hour:.1f}")
    table.add_row("everything", "", "", "", f"{total + sum(quiet.values()):.1f}", style="bold")
    _show(table)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    return table


def _show(table: Table) -> None:
    Console(width=None if sys.stdout.isatty() else 110).print(table)


if __name__ == "__main__":
    sys.exit(main())
