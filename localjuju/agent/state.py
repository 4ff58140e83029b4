"""What a unit's agent remembers between hooks; it is committed together with a hook's effects."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class RelationState:
    """How far a unit is with one relation.

    `joined` holds the databag version last told per remote unit; `changed` names the unit whose
    `changed` must follow its `joined` at once.
    """

    created: bool = False
    joined: dict[str, int] = field(default_factory=dict)
    changed: str = ""
    application_version: int = 0


@dataclass
class AgentState:
    """Everything but the model itself that choosing the next hook needs.

    `pod` is the uid of the pod the charm was put into; `charm` and `modified` say which charm and
    which counter of its application; `upgrade` that `upgrade-charm` is due; `pending` is a hook
    that began and was not committed; `again` how often its dispatch was interrupted and when it is
    run again; `error` a hook that failed; `updated` when the unit last told
    its status because it was time.
    """

    installed: bool = False
    started: bool = False
    stopped: bool = False
    removed: bool = False
    pod: str = ""
    charm: str = ""
    modified: int = 0
    upgrade: bool = False
    leader: bool | None = None
    queued: list[str] = field(default_factory=list)
    pending: dict[str, Any] | None = None
    again: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    resolved: str = ""
    config_hash: str = ""
    boots: dict[str, str] = field(default_factory=dict)
    notices: dict[str, str] = field(default_factory=dict)
    relations: dict[str, RelationState] = field(default_factory=dict)
    updated: str = ""
    status_set: bool = False

    def relation(self, number: int) -> RelationState:
        return self.relations.setdefault(str(number), RelationState())

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> AgentState:
        state = cls(**{k: v for k, v in values.items() if k != "relations"})
        state.relations = {k: RelationState(**v) for k, v in values.get("relations", {}).items()}
        return state
