"""An application's port on this host's loopback, until Ctrl-C, or in the background."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from installer import kubectl, opened, target
from installer.forward import Forwarder
from localkube.host import paths
from localkube.host.errors import EngineError

_ROOT = Path(__file__).parents[1]
_START_SECONDS = 30.0
# ports of our charms that speak something else than HTTP
_PROTOCOLS = {
    3306: "MySQL protocol",
    6789: "gRPC",
    8887: "gRPC",
    9443: "webhooks",
    9444: "webhooks",
    8443: "HTTPS or webhooks",
}


def main(arguments: list[str]) -> int:
    """Runs `./mlops open`; without a name it lists what can be opened."""
    options = _parser().parse_args(arguments)
    name, _, wanted = (options.application or "").partition(":")
    if options.stop:
        ended = opened.stop(name)
        for each in ended:
            print(f"stopped: {each}")
        if not ended:
            print(f"{name or 'nothing'} is {'not ' if name else ''}open in the background")
        return 0
    chosen = target.current()
    namespace = options.namespace or chosen.model
    if not name:
        _list(namespace)
        return 0
    service = _service(namespace, name)
    port = _port(service, name, wanted)
    if options.detach:
        return _detach(name, namespace, port, options.port)
    if not chosen.has_engine:
        return _port_forward(namespace, name, port, options)
    address = f"{name}.{namespace}.svc.cluster.local:{_inside(service, port, namespace, name)}"
    host_port = options.port if options.port is not None else _free(port["port"])
    with Forwarder(address, host_port) as forwarder:
        if options.port is None:
            _tell_other(port["port"], forwarder.port)
        where = shown(f"127.0.0.1:{forwarder.port}", port)
        file = opened.record(
            name, namespace, port["port"], forwarder.port, where, detached=options.detached
        )
        print(f"{name} is at {where} until Ctrl-C", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print()
        finally:
            file.unlink(missing_ok=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./mlops open", description=__doc__)
    parser.add_argument(
        "application",
        nargs="?",
        metavar="APP[:PORT]",
        help="an application, or another Service of the model; without it: the list",
    )
    parser.add_argument("--namespace", help="of the Service; default: the model's")
    parser.add_argument(
        "--port", type=_host_port, help="of this host; default: the application's where it is free"
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--detach",
        action="store_true",
        help="in the background: prints the address and returns; ./mlops status shows it",
    )
    how.add_argument(
        "--stop", action="store_true", help="end what --detach opened, or only that of APP"
    )
    how.add_argument("--detached", action="store_true", help=argparse.SUPPRESS)
    return parser


def _detach(name: str, namespace: str, port: dict[str, Any], host_port: int | None) -> int:
    """Starts this command once more in the background; returns when its port answers."""
    for each in opened.listed():
        at = each.host_port
        same = (each.name, each.namespace, each.port) == (name, namespace, port["port"])
        if each.detached and same and host_port in (None, at):
            print(f"{name} is at {each.address}")
            return 0
    log = paths.state() / "log" / f"open-{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "installer", "open", "--detached"]
    command += [f"{name}:{port['port']}", "--namespace", namespace]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *(["--port", str(host_port)] if host_port is not None else [])],
            cwd="/",
            env={
                **os.environ,
                "PYTHONPATH": str(_ROOT),
                "CHARMED_MLOPS_CACHE": str(paths.cache()),
                "CHARMED_MLOPS_STATE": str(paths.state()),
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    found = _answering(process, log)
    at = found.host_port
    if host_port is None:
        _tell_other(port["port"], at)
    print(f"{name} is at {found.address}")
    return 0


def _answering(process: subprocess.Popen[bytes], log: Path) -> opened.Opened:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            lines = log.read_text(errors="replace").strip().splitlines()
            raise EngineError(
                lines[-1].removeprefix("ERROR ") if lines else f"it ended: see {log}"
            )
        for each in opened.listed():
            if each.pid == process.pid and _listens(each):
                return each
        time.sleep(0.05)
    process.kill()
    raise EngineError(f"it did not listen in {_START_SECONDS:.0f} s: see {log}")


def _listens(found: opened.Opened) -> bool:
    at = found.host_port
    try:
        socket.create_connection(("127.0.0.1", at), timeout=1).close()
    except OSError:
        return False
    return True


def _tell_other(usual: int, used: int) -> None:
    if used != usual:
        text = f"port {usual} of this host is taken: using {used}"
        print(text, file=sys.stderr, flush=True)


def shown(address: str, port: dict[str, Any]) -> str:
    """An address as a program takes it: a URL only where the port speaks HTTP."""
    protocol = _PROTOCOLS.get(port["port"])
    if protocol:
        return f"{address} ({protocol})"
    scheme = "https" if "https" in (port.get("name") or "") or port["port"] == 443 else "http"
    return f"{scheme}://{address}"


def _host_port(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port: from 1 to 65535")
    return number


def _list(namespace: str) -> None:
    items = json.loads(kubectl.output("get", "services", "-n", namespace, "-o", "json"))["items"]
    for item in items:
        ports = [str(port["port"]) for port in _ports(item)]
        name = item["metadata"]["name"]
        if ports and "--" not in name:  # NAME--serving is the application's second Service
            print(f"./mlops open {name}:{ports[0]:<8} {' '.join(ports[1:])}")


def _service(namespace: str, name: str) -> dict[str, Any]:
    text = kubectl.output(
        "get", "service", name, "-n", namespace, "-o", "json", "--ignore-not-found"
    )
    if not text.strip():
        raise EngineError(f"no application {name} in {namespace}: ./mlops open lists them")
    return json.loads(text)


def _ports(service: dict[str, Any]) -> list[dict[str, Any]]:
    """Its ports; Juju gives a Service without any a placeholder, as Kubernetes wants one."""
    ports = service["spec"].get("ports") or []
    return [port for port in ports if port.get("name") != "placeholder"]


def _port(service: dict[str, Any], name: str, wanted: str) -> dict[str, Any]:
    """The port asked for by number or name, else the first."""
    ports = _ports(service)
    if not ports:
        raise EngineError(f"{name} has no port yet")
    for port in ports:
        if not wanted or wanted in (str(port["port"]), port.get("name")):
            return port
    have = ", ".join(str(port["port"]) for port in ports)
    raise EngineError(f"{name} has no port {wanted}: it has {have}")


def _inside(service: dict[str, Any], port: dict[str, Any], namespace: str, name: str) -> int:
    """The port to dial: a headless Service's name leads to pods, which have the target port."""
    if service["spec"].get("clusterIP") != "None":
        return port["port"]
    selector = f"kubernetes.io/service-name={name}"
    text = kubectl.output("get", "endpointslices", "-n", namespace, "-l", selector, "-o", "json")
    for item in json.loads(text)["items"]:
        for end in item.get("ports") or []:
            if end.get("name", "") == port.get("name", ""):
                return end["port"]
    raise EngineError(f"{name} has no pod that is ready")


def _free(port: int) -> int:
    """The same port on this host where it can be had, else 0: any."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return 0
    return port


def _port_forward(
    namespace: str, name: str, port: dict[str, Any], options: argparse.Namespace
) -> int:
    """Becomes kubectl port-forward on a real cluster: the same process, so its record holds."""
    program = shutil.which("kubectl") or "kubectl"
    local = options.port if options.port is not None else _free(port["port"]) or _any_port()
    where = shown(f"127.0.0.1:{local}", port)
    opened.record(name, namespace, port["port"], local, where, detached=options.detached)
    argv = [program, "port-forward", "-n", namespace, f"service/{name}", f"{local}:{port['port']}"]
    os.execvp(program, argv)


def _any_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]
