"""`./mlops open`: an application's port on this host's loopback, until Ctrl-C."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import sys
import threading
from typing import Any

from installer import kubectl, target
from installer.forward import Forwarder
from localjuju.errors import EngineError

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
    options = parser.parse_args(arguments)
    chosen = target.current()
    namespace = options.namespace or chosen.model
    if options.application is None:
        _list(namespace)
        return 0
    name, _, wanted = options.application.partition(":")
    service = _service(namespace, name)
    port = _port(service, name, wanted)
    if not chosen.is_local:
        return _port_forward(namespace, name, port["port"], options.port)
    address = f"{name}.{namespace}.svc.cluster.local:{_inside(service, port, namespace, name)}"
    host_port = options.port if options.port is not None else _free(port["port"])
    with Forwarder(address, host_port) as forwarder:
        if options.port is None and forwarder.port != port["port"]:
            text = f"port {port['port']} of this host is taken: using {forwarder.port}"
            print(text, file=sys.stderr, flush=True)
        where = shown(f"127.0.0.1:{forwarder.port}", port)
        print(f"{name} is at {where} until Ctrl-C", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print()
    return 0


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
        if ports:
            print(f"./mlops open {item['metadata']['name']}:{ports[0]:<8} {' '.join(ports[1:])}")


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


def _port_forward(namespace: str, name: str, port: int, host_port: int | None) -> int:
    """Becomes kubectl port-forward on a real cluster."""
    program = shutil.which("kubectl") or "kubectl"
    local = "" if host_port is None else str(host_port)
    argv = [program, "port-forward", "-n", namespace, f"service/{name}", f"{local}:{port}"]
    os.execvp(program, argv)
