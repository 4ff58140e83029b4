#!/usr/bin/env python3
"""A stand-in for a `juju` client: the commands that make a controller, checked and recorded.

It refuses options that Juju has not, needs the cluster to answer from where it runs, and keeps
what it knows in $JUJU_DATA. Options and outputs:
https://documentation.ubuntu.com/juju/latest/reference/juju-cli/
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_DATA = Path(os.environ["JUJU_DATA"])
_SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: controller-service}
spec: {type: LoadBalancer, ports: [{port: 17070}]}
"""


def main() -> int:
    """Runs a command; returns an exit code."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    _with_format(commands.add_parser("controllers"))
    _with_format(commands.add_parser("models"))
    _with_format(commands.add_parser("status"))
    _with_format(commands.add_parser("clouds")).add_argument("--client", action="store_true")
    add = commands.add_parser("add-k8s")
    add.add_argument("name")
    add.add_argument("--client", action="store_true", required=True)
    add.add_argument("--storage", required=True)
    bootstrap = commands.add_parser("bootstrap")
    bootstrap.add_argument("cloud")
    bootstrap.add_argument("controller")
    bootstrap.add_argument("--no-switch", action="store_true")
    bootstrap.add_argument("--config", action="append", default=[])
    bootstrap.add_argument("--agent-version")
    unregister = commands.add_parser("unregister")
    unregister.add_argument("controller")
    unregister.add_argument("--no-prompt", action="store_true", required=True)
    remove = commands.add_parser("remove-k8s")
    remove.add_argument("name")
    remove.add_argument("--client", action="store_true", required=True)
    arguments = parser.parse_args()
    return globals()["_" + arguments.command.replace("-", "_")](arguments) or 0


def _with_format(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--format", choices=["json"])
    return parser


def _known(kind: str) -> dict[str, Any]:
    file = _DATA / kind
    return json.loads(file.read_text()) if file.exists() else {}


def _keep(kind: str, known: dict[str, Any]) -> None:
    (_DATA / kind).write_text(json.dumps(known))


def _kubectl(*arguments: str, stdin: str | None = None) -> str:
    config = f"--kubeconfig={_DATA / 'kubeconfig'}"
    command = [os.environ["KUBECTL"], config, *arguments]
    return subprocess.run(command, input=stdin, check=True, capture_output=True, text=True).stdout


def _controllers(_: argparse.Namespace) -> None:
    print(json.dumps({"controllers": _known("controllers"), "current-controller": ""}))


def _clouds(_: argparse.Namespace) -> None:
    print(json.dumps({"microk8s": {"type": "kubernetes"}, **_known("clouds")}))


def _models(_: argparse.Namespace) -> None:
    if os.environ["JUJU_CONTROLLER"] not in _known("controllers"):
        sys.exit("ERROR controller not found")
    print(json.dumps({"models": [{"name": "admin/controller", "short-name": "controller"}]}))


def _status(_: argparse.Namespace) -> None:
    print(json.dumps({"applications": {}}))


def _add_k8s(arguments: argparse.Namespace) -> None:
    text = sys.stdin.read()
    assert "certificate-authority:" not in text, "a confined juju cannot read the user's files"
    (_DATA / "kubeconfig").write_text(text)
    _kubectl("get", "storageclass", arguments.storage)
    _keep("clouds", {**_known("clouds"), arguments.name: {"type": "kubernetes"}})


def _bootstrap(arguments: argparse.Namespace) -> None:
    if arguments.cloud not in _known("clouds"):
        sys.exit(f"ERROR unknown cloud {arguments.cloud}")
    if arguments.agent_version == "0.0.0":
        sys.exit("ERROR no agent binaries 0.0.0")
    assert arguments.config == ["controller-service-type=loadbalancer"]
    namespace = f"controller-{arguments.controller}"
    _kubectl("create", "namespace", namespace)
    _kubectl("-n", namespace, "create", "-f", "-", stdin=_SERVICE)
    for _ in range(300):
        jsonpath = "jsonpath={.status.loadBalancer.ingress[0].ip}"
        if _kubectl("-n", namespace, "get", "service", "controller-service", "-o", jsonpath):
            break
        time.sleep(0.1)
    else:
        sys.exit("ERROR the controller's Service has no address")
    _keep("controllers", {**_known("controllers"), arguments.controller: {"cloud": "localkube"}})


def _unregister(arguments: argparse.Namespace) -> None:
    _keep(
        "controllers",
        {k: v for k, v in _known("controllers").items() if k != arguments.controller},
    )


def _remove_k8s(arguments: argparse.Namespace) -> None:
    _keep("clouds", {k: v for k, v in _known("clouds").items() if k != arguments.name})


if __name__ == "__main__":
    sys.exit(main())
