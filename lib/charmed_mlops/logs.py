"""Forwards the workloads' output to Loki, over interface `loki_push_api`.

Each unit of the provider writes `endpoint` into its unit databag: JSON with key `url`, the URL of
the push API. Source: library loki_push_api v1 (loki-k8s).
"""

from __future__ import annotations

import json
import urllib.parse
from typing import Any

import ops

ENDPOINT = "logging"


class LogForwarding:
    """What a Pebble layer needs to send its services' output to every related Loki."""

    def __init__(self, charm: ops.CharmBase, endpoint: str = ENDPOINT):
        self._charm = charm
        self._endpoint = endpoint

    def targets(self) -> dict[str, Any]:
        """The `log-targets` of a layer, one for each URL: units behind one ingress share it."""
        charm = self._charm
        if self._endpoint not in charm.meta.requires:
            return {}
        found: dict[str, Any] = {}
        urls = set()
        for relation in charm.model.relations[self._endpoint]:
            units = sorted(relation.units, key=lambda unit: unit.name) if relation.active else []
            for unit in units:
                url = _url(relation.data[unit].get("endpoint", ""))
                if url and url not in urls:
                    urls.add(url)
                    found[f"loki-{relation.id}-{unit.name.replace('/', '-')}"] = {
                        "override": "replace",
                        "type": "loki",
                        "location": url,
                        "services": ["all"],
                        "labels": {
                            "juju_model": charm.model.name,
                            "juju_model_uuid": charm.model.uuid,
                            "juju_application": charm.app.name,
                            "juju_unit": charm.unit.name,
                            "juju_charm": charm.meta.name,
                        },
                    }
        return found


def _url(text: str) -> str:
    """The URL of a databag's endpoint, empty unless it is one that Pebble can ask."""
    try:
        url = json.loads(text)["url"]
        parts = urllib.parse.urlsplit(url)
        asks = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        # nothing that urlsplit passes over, or that Pebble would give back as something else
        plain = url.isascii() and url.isprintable() and " " not in url
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ""
    return url if asks and plain else ""
