"""config-get, network-get, resource-get, ports, storage, state, and what Kubernetes lacks."""

from __future__ import annotations

import json
import re
from typing import Any

from localjuju.agent.commands.arguments import Arguments, output, pairs
from localjuju.agent.commands.registry import DEFAULTS, command
from localjuju.agent.context import CommandError, Context
from localjuju.agent.view import pod_name
from localjuju.model import config, models, ports, storage

_PORT = re.compile(r"(\d+)(?:-(\d+))?(?:/(tcp|udp))?")


@command("config-get", "[KEY]", format=str, a=bool, all=bool)
def config_get(context: Context, arguments: Arguments) -> str:
    """Prints the application's configuration, or one option of it."""
    values: dict[str, Any] = config.effective(context.charm, context.application_row["config"])
    key = arguments.words[0] if arguments.words else ""
    if arguments.on("all") or arguments.on("a"):
        if key:
            raise CommandError(f'cannot use argument --all together with key "{key}"', 2)
        values = dict.fromkeys(sorted(context.charm.options)) | values
    value = values.get(key) if key else values
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


def _endpoints(context: Context, arguments: Arguments) -> set[str]:
    """The endpoints that ports are opened for; the empty name stands for all.

    Raises:
        CommandError: the charm has no such endpoint.
    """
    given = arguments.text("endpoints") or ""
    names = {name.strip() for name in given.split(",") if name.strip()}
    for name in sorted(names - {*context.charm.endpoints} - {ports.EVERY}):
        raise CommandError(f'charm endpoint "{name}" not found')
    return names - {ports.EVERY} or {""}


@command("open-port", "PORT[/PROTOCOL]…", endpoints=str, format=str)
def open_port(context: Context, arguments: Arguments) -> None:
    """Opens ports on the application's Service when the hook commits."""
    wanted, endpoints = _ports(arguments), _endpoints(context, arguments)
    context.change_ports(lambda opened: ports.opened(opened, wanted, endpoints))


@command("close-port", "PORT[/PROTOCOL]…", endpoints=str, format=str)
def close_port(context: Context, arguments: Arguments) -> None:
    """Closes ports on the application's Service when the hook commits."""
    wanted, endpoints = _ports(arguments), _endpoints(context, arguments)
    context.change_ports(lambda opened: ports.closed(opened, wanted, endpoints))


@command("opened-ports", format=str, endpoints=bool)
def opened_ports(context: Context, arguments: Arguments) -> str:
    """Prints the ports that the unit has open, those that this hook opened among them."""
    opened = context.ports()
    if arguments.on("endpoints"):
        return output(ports.with_endpoints(opened), arguments.text("format"))
    return output(ports.plain(opened), arguments.text("format"))


@command("storage-list", "[NAME]", format=str)
def storage_list(context: Context, arguments: Arguments) -> str:
    """Prints the unit's storage instances."""
    names = [
        row["id"]
        for row in storage.of_unit(context.db, context.model, context.unit)
        if not arguments.words or row["name"] == arguments.words[0]
    ]
    return output(names, arguments.text("format"))


@command("storage-add", "NAME[=COUNT]…")
def storage_add(context: Context, arguments: Arguments) -> None:
    """Asks for more storage when the hook commits; on Kubernetes it stays pending."""
    if not arguments.words:
        raise CommandError("storage add requires a storage directive", 2)
    wanted: dict[str, int] = {}
    for word in arguments.words:
        name, equals, count = word.partition("=")
        if name not in context.charm.storage:
            raise CommandError(f'charm "{context.charm.name}" has no store called "{name}"')
        if equals and not count.isdigit():
            raise CommandError(f'only count can be specified for "{name}"', 2)
        wanted[name] = int(count) if equals else 1

    def request() -> None:
        for name, count in wanted.items():
            storage.request(context.db, context.model, context.unit, context.charm, name, count)

    context.later(request)


@command("storage-get", "[KEY]", format=str, s=str)
def storage_get(context: Context, arguments: Arguments) -> str:
    """Prints a storage instance's kind and location."""
    identity = arguments.text("s") or _own_storage(context)
    for row in storage.of_unit(context.db, context.model, context.unit):
        if row["id"] == identity:
            if storage.pending(row):
                raise CommandError(f'storage "{identity}" not provisioned')
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
def credential_get(context: Context, arguments: Arguments) -> str:
    """Prints the cloud with the token of the pod's own ServiceAccount, where there is trust."""
    if not context.application_row["trust"]:
        raise CommandError("cannot access cloud credentials: permission denied")
    try:
        account = json.loads(arguments.stdin)
    except ValueError:
        raise CommandError(
            "cannot access cloud credentials: reading in-cluster config: no ServiceAccount here"
        ) from None
    found = {
        "type": "kubernetes",
        "name": models.CLOUD,
        "region": models.REGION,
        "endpoint": account["endpoint"],
        "is-controller-cloud": True,
        "credential": {"auth-type": "oauth2", "attrs": {"Token": account["token"]}},
        "cacertificates": [account["certificate"]],
    }
    return output(found, arguments.text("format"))
