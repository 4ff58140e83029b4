"""The environment of a dispatch, as Juju's uniter makes it."""

from __future__ import annotations

from collections.abc import Mapping

from localjuju.agent.context import Context
from localjuju.agent.services import agent_folder
from localjuju.model import models, storage
from localkube.building import versions

_TOOLS = "/var/lib/juju/tools"
_PATH = f"{_TOOLS}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
AGENT_SOCKET = "/run/juju/agent.sock"
API_ADDRESS = "10.1.0.1:17070"  # charms read it for show; nothing listens there


def build(context: Context, extra: Mapping[str, str]) -> dict[str, str]:
    """Every variable the dispatch gets: nothing is inherited.

    Source: HookVars in Juju's internal/worker/uniter/runner/context/context.go.
    """
    charm_dir = f"{agent_folder(context.unit)}/charm"
    model = models.get(context.db, context.model)
    config = model["config"]
    environment = {
        "PATH": _PATH,
        "APT_LISTCHANGES_FRONTEND": "none",
        "DEBIAN_FRONTEND": "noninteractive",
        "LANG": "C.UTF-8",
        "TERM": "tmux-256color",
        "CHARM_DIR": charm_dir,
        "JUJU_CHARM_DIR": charm_dir,
        "JUJU_CONTEXT_ID": context.id,
        "JUJU_AGENT_SOCKET_ADDRESS": AGENT_SOCKET,
        "JUJU_AGENT_SOCKET_NETWORK": "unix",
        "JUJU_UNIT_NAME": context.unit,
        "JUJU_MODEL_UUID": model["uuid"],
        "JUJU_MODEL_NAME": context.model,
        "JUJU_API_ADDRESSES": API_ADDRESS,
        "JUJU_MACHINE_ID": "",
        "JUJU_PRINCIPAL_UNIT": "",
        "JUJU_AVAILABILITY_ZONE": "",
        "JUJU_VERSION": models.AGENT_VERSION,
        "CLOUD_API_VERSION": versions.KUBERNETES,
        "JUJU_CHARM_HTTP_PROXY": config.get("juju-http-proxy", ""),
        "JUJU_CHARM_HTTPS_PROXY": config.get("juju-https-proxy", ""),
        "JUJU_CHARM_FTP_PROXY": "",
        "JUJU_CHARM_NO_PROXY": config.get("juju-no-proxy", "127.0.0.1,localhost,::1"),
        **extra,
    }
    hook = context.hook
    if hook is not None:
        environment["JUJU_DISPATCH_PATH"] = hook.dispatch_path
        environment["JUJU_HOOK_NAME"] = "" if hook.kind == "action" else hook.name
        location = kind = ""
        for row in storage.of_unit(context.db, context.model, context.unit):
            if row["id"] == hook.storage:
                location, kind = row["location"], row["kind"]
        environment |= hook.variables(location, kind)
    return environment
