"""config-get, network-get, resource-get, ports, storage, state, and what Kubernetes lacks."""

from __future__ import annotations

import re

from localjuju.agent.commands.arguments import Arguments, output, pairs
from localjuju.agent.commands.registry import command
from localjuju.agent.context import CommandError, Context
from localjuju.agent.view import pod_name
from localjuju.model import config, storage

_PORT = re.compile(r"(\d+)(?:-(\d+))?(?:/(tcp|udp))?")


@command("config-get", format=str, a=bool, all=bool)
def config_get(context: Context, arguments: Arguments) -> str:
    values = config.effective(context.charm, context.application_row["config"])
    value = values.get(arguments.words[0]) if arguments.words else values
    return output(value, arguments.text("format"))


@command(
    "network-get", format=str, r=str, relation=str, bind_address=bool, ingress_address=bool,
    egress_subnets=bool, primary_address=bool,
)  # fmt: skip
def network_get(context: Context, arguments: Arguments) -> str:
    if len(arguments.words) != 1:
        raise CommandError("no arguments specified", 2)
    binding = arguments.words[0]
    identity = arguments.text("r") or arguments.text("relation")
    if identity:
        context.relation(identity)
    known = {*context.charm.endpoints, *(context.charm.metadata.get("extra-bindings") or {})}
    if binding not in known | {"juju-info", ""}:
        raise CommandError(f'no network config found for binding "{binding}"')
    pod = context.cluster.pod(context.model, pod_name(context.unit))
    bind = pod.ip if pod else ""
    ingress = context.cluster.address(context.model, context.application) or bind
    if arguments.on("bind-address") or arguments.on("primary-address"):
        return output(bind, arguments.text("format"))
    if arguments.on("ingress-address"):
        return output(ingress, arguments.text("format"))
    if arguments.on("egress-subnets"):
        return output([f"{ingress}/32"], arguments.text("format"))
    address = {"hostname": "", "value": bind, "cidr": ""}
    interface = {"mac-address": "", "interface-name": "", "addresses": [address]}
    found = {
        "bind-addresses": [interface],
        "egress-subnets": [f"{ingress}/32"],
        "ingress-addresses": [ingress],
    }
    return output(found, arguments.text("format"))


@command("resource-get")
def resource_get(context: Context, arguments: Arguments) -> str:
    if len(arguments.words) != 1:
        raise CommandError("missing required resource name", 2)
    name = arguments.words[0]
    if name not in context.charm.resources:
        raise CommandError(f"could not download resource: resource#{name} not found")
    return context.resource_path(name)


def _ports(arguments: Arguments) -> set[str]:
    if not arguments.words:
        raise CommandError("no port or range specified", 2)
    found = set()
    for word in arguments.words:
        if word.lower() == "icmp":
            found.add("icmp")
            continue
        match = _PORT.fullmatch(word.lower())
        if match is None:
            raise CommandError(
                f'expected <port>[/<protocol>] or <from>-<to>[/<protocol>] or icmp; got "{word}"'
            )
        low, high, protocol = int(match[1]), int(match[2] or match[1]), match[3] or "tcp"
        if not 1 <= low <= high <= 65535:
            raise CommandError(f'invalid port range "{word}"; expected 1 to 65535')
        if low != high:
            raise CommandError("port ranges are not supported for k8s applications yet")
        found.add(f"{low}/{protocol}")
    return found


@command("open-port", endpoints=str, format=str)
def open_port(context: Context, arguments: Arguments) -> None:
    ports = _ports(arguments)
    context.later(lambda: _set_ports(context, {*context.row["ports"]} | ports))


@command("close-port", endpoints=str, format=str)
def close_port(context: Context, arguments: Arguments) -> None:
    ports = _ports(arguments)
    context.later(lambda: _set_ports(context, {*context.row["ports"]} - ports))


def _set_ports(context: Context, ports: set[str]) -> None:
    context.db.run("UPDATE units SET ports = ? WHERE model = ? AND name = ?", sorted(ports),
                   context.model, context.unit)  # fmt: skip


@command("opened-ports", format=str, endpoints=bool)
def opened_ports(context: Context, arguments: Arguments) -> str:
    return output(context.row["ports"], arguments.text("format"))


@command("storage-list", format=str)
def storage_list(context: Context, arguments: Arguments) -> str:
    names = [
        row["id"]
        for row in storage.of_unit(context.db, context.model, context.unit)
        if not arguments.words or row["name"] == arguments.words[0]
    ]
    return output(names, arguments.text("format"))


@command("storage-get", format=str, s=str)
def storage_get(context: Context, arguments: Arguments) -> str:
    identity = arguments.text("s") or (context.hook.storage if context.hook else "")
    for row in storage.of_unit(context.db, context.model, context.unit):
        if row["id"] == identity:
            found = {"kind": row["kind"], "location": row["location"]}
            value = found.get(arguments.words[0]) if arguments.words else found
            return output(value, arguments.text("format"))
    raise CommandError(f'invalid value "{identity}" for option -s: storage not found', 2)


@command("storage-add")
def storage_add(context: Context, arguments: Arguments) -> None:
    del context, arguments
    # A StatefulSet's volume claims are fixed when it is made.
    raise CommandError("storage-add: adding storage to a Kubernetes unit is not supported")


@command("state-get", format=str)
def state_get(context: Context, arguments: Arguments) -> str:
    state = _state(context)
    if not arguments.words or arguments.words[0] == "-":
        return output(state, arguments.text("format"))
    return output(state.get(arguments.words[0]), arguments.text("format"))


def _state(context: Context) -> dict[str, str]:
    return dict(context.row["state"] if context.unit_state is None else context.unit_state)


@command("state-set", file=str)
def state_set(context: Context, arguments: Arguments) -> None:
    changes = pairs(arguments.stdin) if arguments.text("file") else {}
    changes |= dict(word.split("=", 1) for word in arguments.words if "=" in word)
    context.unit_state = _state(context) | changes


@command("state-delete")
def state_delete(context: Context, arguments: Arguments) -> None:
    state = _state(context)
    for key in arguments.words:
        state.pop(key, None)
    context.unit_state = state


@command("credential-get", format=str)
def credential_get(context: Context, arguments: Arguments) -> None:
    del context, arguments
    raise CommandError(
        'cannot access cloud credentials: credential-get on a "caas" model not supported'
    )


@command("juju-reboot", now=bool)
def juju_reboot(context: Context, arguments: Arguments) -> None:
    del context, arguments
    raise CommandError("juju-reboot: not supported on a Kubernetes model")
