"""Interface `kubeflow_dashboard_links`: entries in the dashboard's menu.

| side | field of the application's databag | meaning |
| --- | --- | --- |
| requirer | dashboard_links | JSON list of entries with the fields of Link |

The dashboard provides the interface; the applications that it links to require it.
Source: library kubeflow_dashboard_links v0 (kubeflow-dashboard).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import ops

from charmed_mlops.interfaces import _common

FIELD = "dashboard_links"
LOCATIONS = ("menu", "external", "quick", "documentation")


@dataclass(frozen=True)
class Link:
    """One entry.

    Attributes:
        text: what is shown.
        link: a path behind the gateway, or a whole URL for location `external`.
        location: menu, external, quick or documentation.
        icon: name of an icon of the dashboard's set.
        type: the dashboard's kind of entry.
        desc: a second line, which quick links and documentation show.
    """

    text: str
    link: str
    location: str = "menu"
    icon: str = "assessment"
    type: str = "item"
    desc: str = ""


class DashboardLinks:
    """Publishes an application's links on every relation of an endpoint."""

    def __init__(self, charm: ops.CharmBase, endpoint: str = "dashboard-links"):
        self._charm = charm
        self._endpoint = endpoint

    def publish(self, *links: Link) -> None:
        """Write what differs; only the leader does."""
        if self._charm.unit.is_leader():
            text = json.dumps([asdict(each) for each in links], sort_keys=True)
            for relation in _common.live(self._charm, self._endpoint):
                _common.write(relation.data[self._charm.app], FIELD, text)


class DashboardLinksProvider:
    """Reads the links of all related applications."""

    def __init__(self, charm: ops.CharmBase, endpoint: str = "links"):
        self._charm = charm
        self._endpoint = endpoint

    def get(self) -> list[Link]:
        """The links by text; what is not one is passed over."""
        found = [
            link
            for relation in _common.live(self._charm, self._endpoint)
            for link in _links(relation.data[relation.app].get(FIELD, ""))
        ]
        return sorted(set(found), key=lambda link: (link.location, link.text))


def _links(text: str) -> Iterable[Link]:
    try:
        entries = json.loads(text or "[]")
    except ValueError:
        return
    for entry in entries if isinstance(entries, list) else ():
        if not isinstance(entry, dict):
            continue
        known = {key: entry[key] for key in Link.__dataclass_fields__ if key in entry}
        if not all(isinstance(value, str) for value in known.values()):
            continue
        # a link such as javascript:… would run in the person's session
        link = known.get("link", "")
        if known.get("text") and link.startswith(("/", "http://", "https://")):
            yield Link(**known)
