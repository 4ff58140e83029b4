"""What every agent works with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from localjuju.agent.hookserver import AgentSocket
from localjuju.agent.hub import Hub
from localjuju.agent.view import pod_name
from localjuju.model.charm import CharmFolder
from localjuju.model.db import Database
from localjuju.model.logs import ModelLog
from localjuju.model.substrate import Cluster


@dataclass(frozen=True)
class Services:
    """Shared by all units. `environment` is added to every hook's."""

    db: Database
    cluster: Cluster
    hub: Hub
    log: ModelLog
    charms: CharmFolder
    hooks: AgentSocket
    environment: Mapping[str, str] = field(default_factory=dict)


def agent_folder(unit: str) -> str:
    """The agent's folder as the charm container sees it."""
    return f"/var/lib/juju/agents/unit-{pod_name(unit)}"
