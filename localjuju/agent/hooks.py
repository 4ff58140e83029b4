"""Hooks: what a unit's charm is told, and in which words."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

SECRET_KINDS = ("secret-expired", "secret-rotate", "secret-changed", "secret-remove")


@dataclass(frozen=True)
class Hook:
    """One dispatch. Fields that a kind does not use keep their defaults.

    `version` is the databag's version when the hook was chosen, `revision` a secret's,
    `boot` the boot id of a container's Pebble.
    """

    kind: str
    relation: int | None = None
    endpoint: str = ""
    remote_app: str = ""
    remote_unit: str = ""
    departing: str = ""
    version: int = 0
    storage: str = ""
    container: str = ""
    boot: str = ""
    notice_id: str = ""
    notice_type: str = ""
    notice_key: str = ""
    notice_time: str = ""
    check: str = ""
    secret: str = ""
    source: str = ""
    label: str = ""
    revision: int = 0
    task: int | None = None
    action: str = ""

    @property
    def name(self) -> str:
        """`db-relation-changed`, `web-pebble-ready`, `data-storage-attached`, `install`."""
        for prefix, text in (
            ("relation-", self.endpoint),
            ("pebble-", self.container),
            ("storage-", self.storage.partition("/")[0]),
        ):
            if self.kind.startswith(prefix):
                return f"{text}-{self.kind}"
        return self.action if self.kind == "action" else self.kind

    @property
    def dispatch_path(self) -> str:
        return f"actions/{self.action}" if self.kind == "action" else f"hooks/{self.name}"

    @property
    def title(self) -> str:
        """As status messages name it."""
        return f"action {self.action}" if self.kind == "action" else self.name

    def to_json(self) -> dict[str, Any]:
        """Only what differs from the defaults."""
        return {
            key: value
            for key, value in asdict(self).items()
            if value != getattr(Hook, key, None) or key == "kind"
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Hook:
        return cls(**values)

    def variables(self, location: str = "", kind: str = "") -> dict[str, str]:
        """The environment variables of this kind of event.

        Args:
            location: where a storage is mounted.
            kind: a storage's kind.
        """
        found: dict[str, str] = {}
        if self.relation is not None:
            found = {
                "JUJU_RELATION": self.endpoint,
                "JUJU_RELATION_ID": f"{self.endpoint}:{self.relation}",
                "JUJU_REMOTE_APP": self.remote_app,
                "JUJU_REMOTE_UNIT": self.remote_unit,
            }
            if self.departing:
                found["JUJU_DEPARTING_UNIT"] = self.departing
        if self.container:
            found["JUJU_WORKLOAD_NAME"] = self.container
        if self.notice_id:
            found |= {
                "JUJU_NOTICE_ID": self.notice_id,
                "JUJU_NOTICE_TYPE": self.notice_type,
                "JUJU_NOTICE_KEY": self.notice_key,
            }
        if self.check:
            found["JUJU_PEBBLE_CHECK_NAME"] = self.check
        if self.storage:
            found |= {
                "JUJU_STORAGE_ID": self.storage,
                "JUJU_STORAGE_LOCATION": location,
                "JUJU_STORAGE_KIND": kind,
            }
        if self.secret:
            uri = (
                f"secret://{self.source}/{self.secret}" if self.source else f"secret:{self.secret}"
            )
            found |= {"JUJU_SECRET_ID": uri, "JUJU_SECRET_LABEL": self.label}
            if self.revision and self.kind in ("secret-expired", "secret-remove"):
                found["JUJU_SECRET_REVISION"] = str(self.revision)
        if self.kind == "action":
            found |= {
                "JUJU_ACTION_NAME": self.action,
                "JUJU_ACTION_UUID": str(self.task),
                "JUJU_ACTION_TAG": f"action-{self.task}",
            }
        return found
