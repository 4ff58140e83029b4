"""Shows the engine, its memory, and the model's applications."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Collection, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from installer import opened, overview, target
from localjuju.engine import choices
from localkube.host import paths
from localkube.host.errors import EngineError
from localkube.host.processes import descendants


def main(arguments: list[str]) -> int:
    """Runs `./mlops status`; returns 1 where no engine runs."""
    parser = argparse.ArgumentParser(prog="./mlops status", description=__doc__)
    parser.add_argument("--format", choices=["table", "json"], default="table")
    parser.add_argument("--pods", action="store_true", help="the pods too, of all namespaces")
    options = parser.parse_args(arguments)
    chosen = target.current()
    engine = _engine() if chosen.has_engine else {"kind": "juju", "running": True}
    if not engine["running"]:
        if options.format == "json":
            print(json.dumps({"engine": engine, "pods": [], "stand-ins": [], "model": None}))
        else:
            print("no engine runs here: ./mlops up starts one")
        return 1
    pods = _pods()
    stand_ins = _stand_ins(pods) if chosen.has_engine else []
    if options.format == "json":
        document = {
            "engine": engine,
            "pods": pods,
            "stand-ins": stand_ins,
            "open": [asdict(each) for each in opened.listed()],
            "model": _model(chosen),
        }
        print(json.dumps(document, indent=2))
        return 0
    print(engine_line(engine))
    if chosen.has_engine:
        print(choices.load(paths.state()).line())
    if chosen.engine == target.ON_ENGINE:
        print(f"Juju: controller {target.ON_ENGINE}, on this engine's Kubernetes")
    print(f"model: {chosen.model}")
    applications = overview.applications(chosen)
    own, others = open_lines(opened.listed(), chosen.model, applications)
    print("\n".join(overview.table(applications, own) or ["nothing is deployed"]))
    if others:
        print("\n".join(["", *others]))
    if options.pods:
        print("\n".join(["", *pod_lines(pods)]))
    if stand_ins:
        print("\nstand-ins, in place of programs that cannot be built here:")
        print("\n".join(f"  {each}" for each in stand_ins))
    return 0


def _model(chosen: target.Target) -> Any:
    try:
        return chosen.json("status")
    except EngineError as error:
        return {"error": str(error)}


def _engine() -> dict[str, Any]:
    from localjuju.engine import lifecycle

    number = lifecycle.pid()
    if number is None:
        return {"kind": "local", "running": False, "state": str(paths.state())}
    processes = descendants(number)
    return {
        "kind": "local",
        "running": lifecycle.answers(),
        "pid": number,
        "running-seconds": process_age(number),
        "processes": len(processes),
        "memory-bytes": sum(memory(process) for process in processes),
        "state": str(paths.state()),
    }


def engine_line(engine: dict[str, Any]) -> str:
    """The engine in one line: for how long it runs, and what memory it takes."""
    if engine["kind"] == "juju":
        return f"engine: Juju, {target.controller()}"
    size = engine["memory-bytes"]
    shown = f"{size / (1 << 30):.1f} GiB" if size >= 1 << 30 else f"{size / (1 << 20):.0f} MiB"
    return f"engine: running for {_span(engine['running-seconds'])}, {shown} of memory"


def open_lines(
    found: Iterable[opened.Opened], model: str, applications: Collection[str]
) -> tuple[dict[str, str], list[str]]:
    """What is open: of the model's applications, by name; and a line for each other Service."""
    own: dict[str, list[str]] = {}
    others = []
    for each in found:
        if each.namespace == model and each.name in applications:
            own.setdefault(each.name, []).append(each.address)
        else:
            others.append(f"open: {each.name} in {each.namespace} at {each.address}")
    return {name: ", ".join(addresses) for name, addresses in own.items()}, others


def pod_lines(pods: list[dict[str, Any]]) -> list[str]:
    """The pods as a table; `restarts` are those of all their containers."""
    rows = [("POD", "PHASE", "RESTARTS")] + [
        (f"{pod['namespace']}/{pod['name']}", pod["phase"], str(pod["restarts"])) for pod in pods
    ]
    names, phases = (max(len(row[column]) for row in rows) for column in (0, 1))
    return [f"{name:<{names}}  {phase:<{phases}}  {count}" for name, phase, count in rows]


def process_age(number: int) -> int:
    """Whole seconds since a process began; 0 where it has ended."""
    from localjuju.engine import running

    ticks = running.start_time(number)
    if ticks is None:
        return 0
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return max(0, int(uptime - ticks / os.sysconf("SC_CLK_TCK")))


def _span(seconds: int) -> str:
    minutes = seconds // 60
    if minutes < 1:
        return f"{seconds} s"
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // (24 * 60)} days"


def memory(number: int, proc: Path = Path("/proc")) -> int:
    """Bytes of a process, shared pages counted in part (Pss); resident size where not allowed."""
    try:
        for line in (proc / str(number) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        pages = int((proc / str(number) / "statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _pods() -> list[dict[str, Any]]:
    """Every pod of the cluster: where, which images, how it is."""
    from installer import kubectl

    try:
        text = kubectl.output("get", "pods", "--all-namespaces", "-o", "json")
    except EngineError as error:
        print(f"pods are not shown: {error}", file=sys.stderr)
        return []
    items = json.loads(text)["items"]
    return [
        {
            "namespace": item["metadata"]["namespace"],
            "name": item["metadata"]["name"],
            "phase": item.get("status", {}).get("phase", "Unknown"),
            "restarts": sum(
                status.get("restartCount", 0)
                for status in item.get("status", {}).get("containerStatuses") or []
            ),
            "images": sorted({spec["image"] for spec in item["spec"]["containers"]}),
        }
        for item in items
    ]


def _stand_ins(pods: list[dict[str, Any]]) -> list[str]:
    """Images in use that are not the real program."""
    from localjuju.images import Catalogue

    catalogue = Catalogue.load()
    used = sorted({image for pod in pods for image in pod["images"]})
    found = []
    for reference in used:
        try:
            if catalogue.find(reference).stand_in:
                found.append(reference)
        except EngineError:
            continue  # not in the catalogue: its pod says so
    return found
