"""What every agent works with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from localjuju.agent.hookserver import AgentSocket
from localjuju.agent.view import pod_name
from localjuju.model.charm import CharmFolder
from localjuju.model.db import Database
from localjuju.model.logs import ModelLog
from localjuju.model.substrate import Cluster, Node

CHARM_CONTAINER = "charm"
DATA_VOLUME = "charm-data"


@dataclass(frozen=True)
class Services:
    """Shared by all units. `environment` is added to every hook's."""

    db: Database
    cluster: Cluster
    node: Node
    log: ModelLog
    charms: CharmFolder
    hooks: AgentSocket
    environment: Mapping[str, str] = field(default_factory=dict)

    def agent_folder(self, model: str, unit: str) -> Path:
        """The host's path of the agent's folder in the unit's pod."""
        volume = self.node.volume_path(model, pod_name(unit), DATA_VOLUME)
        return volume / "var/lib/juju" / Path(agent_folder(unit)).relative_to("/var/lib/juju")

    def socket(self, model: str, unit: str, container: str) -> Path:
        """The host's path of a workload container's Pebble socket."""
        volume = self.node.volume_path(model, pod_name(unit), DATA_VOLUME)
        return volume / "charm/containers" / container / "pebble.socket"


def agent_folder(unit: str) -> str:
    """The agent's folder as the charm container sees it."""
    return f"/var/lib/juju/agents/unit-{pod_name(unit)}"
