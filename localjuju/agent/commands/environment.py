"""config-get, network-get, resource-get, ports, storage, state, and what Kubernetes lacks."""

from __future__ import annotations

import re

from localjuju.agent.commands.arguments import Arguments, output, pairs
from localjuju.agent.commands.registry import DEFAULTS, command
from localjuju.agent.context import CommandError, Context
from localjuju.agent.view import pod_name
from localjuju.model import config, storage

_PORT = re.compile(r"(\d+)(?:-(\d+))?(?:/(tcp|udp))?")


@command("config-get", "[KEY]", format=str, a=bool, all=bool)
def config_get(context: Context, arguments: Arguments) -> str:
    """Prints the application's configuration, or one option of it."""
    values = config.effective(context.charm, context.application_row["config"])
    value = values.get(arguments.words[0]) if arguments.words else values
    return output(value, arguments.text("format"))


@command(
    "network-get", "BINDING", format=str, r=str, relation=str, bind_address=bool,
    ingress_address=bool, egress_subnets=bool, primary_address=bool,
)  # fmt: skip
def network_get(context: Context, arguments: Arguments) -> str:
    """Prints the addresses of the unit for an endpoint."""
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


@command("resource-get", "NAME")
def resource_get(context: Context, arguments: Arguments) -> str:
    """Prints the path of a resource's file."""
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


@command("open-port", "PORT[/PROTOCOL]…", endpoints=str, format=str)
def open_port(context: Context, arguments: Arguments) -> None:
    """Opens ports on the application's Service when the hook commits."""
    ports = _ports(arguments)
    context.later(lambda: _set_ports(context, {*context.row["ports"]} | ports))


@command("close-port", "PORT[/PROTOCOL]…", endpoints=str, format=str)
def close_port(context: Context, arguments: Arguments) -> None:
    """Closes ports on the application's Service when the hook commits."""
    ports = _ports(arguments)
    context.later(lambda: _set_ports(context, {*context.row["ports"]} - ports))


def _set_ports(context: Context, ports: set[str]) -> None:
    context.db.run("UPDATE units SET ports = ? WHERE model = ? AND name = ?", sorted(ports),
                   context.model, context.unit)  # fmt: skip


@command("opened-ports", format=str, endpoints=bool)
def opened_ports(context: Context, arguments: Arguments) -> str:
    """Prints the ports that the unit has open."""
    return output(context.row["ports"], arguments.text("format"))


@command("storage-list", "[NAME]", format=str)
def storage_list(context: Context, arguments: Arguments) -> str:
    """Prints the unit's storage instances."""
    names = [
        row["id"]
        for row in storage.of_unit(context.db, context.model, context.unit)
        if not arguments.words or row["name"] == arguments.words[0]
    ]
    return output(names, arguments.text("format"))


@command("storage-get", "[KEY]", format=str, s=str)
def storage_get(context: Context, arguments: Arguments) -> str:
    """Prints a storage instance's kind and location."""
    identity = arguments.text("s") or _own_storage(context)
    for row in storage.of_unit(context.db, context.model, context.unit):
        if row["id"] == identity:
            found = {"kind": row["kind"], "location": row["location"]}
            value = found.get(arguments.words[0]) if arguments.words else found
            return output(value, arguments.text("format"))
    raise CommandError(f'invalid value "{identity}" for option -s: storage not found', 2)


def _own_storage(context: Context) -> str:
    return context.hook.storage if context.hook else ""


# ops 2 learns from the help which storage its hook is of.
DEFAULTS["storage-get", "s"] = _own_storage


@command("state-get", "[KEY]", format=str)
def state_get(context: Context, arguments: Arguments) -> str:
    """Prints the unit's stored state, or one key of it."""
    state = _state(context)
    if not arguments.words or arguments.words[0] == "-":
        return output(state, arguments.text("format"))
    return output(state.get(arguments.words[0]), arguments.text("format"))


def _state(context: Context) -> dict[str, str]:
    return dict(context.row["state"] if context.unit_state is None else context.unit_state)


@command("state-set", "KEY=VALUE…", file=str)
def state_set(context: Context, arguments: Arguments) -> None:
    """Stores state of the unit when the hook commits."""
    changes = pairs(arguments.stdin) if arguments.text("file") else {}
    changes |= dict(word.split("=", 1) for word in arguments.words if "=" in word)
    context.unit_state = _state(context) | changes


@command("state-delete", "KEY…")
def state_delete(context: Context, arguments: Arguments) -> None:
    """Deletes stored state of the unit when the hook commits."""
    state = _state(context)
    for key in arguments.words:
        state.pop(key, None)
    context.unit_state = state


@command("credential-get", format=str)
def credential_get(context: Context, arguments: Arguments) -> None:
    """Would print the cloud's credential; Juju refuses it on Kubernetes."""
    del context, arguments
    raise CommandError(
        'cannot access cloud credentials: credential-get on a "caas" model not supported'
    )
