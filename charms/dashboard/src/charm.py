#!/usr/bin/env python3
"""Kubeflow's central dashboard: https://www.kubeflow.org/docs/components/central-dash/"""

from __future__ import annotations

import json
from collections.abc import Iterable

import msgspec
import ops

from charmed_mlops import (
    ClusterResources,
    GatewayRoute,
    Http,
    Link,
    Metrics,
    Route,
    ServiceCharm,
    ServiceRequirer,
)
from charmed_mlops.interfaces.dashboard_links import DashboardLinksProvider

PORT = 8082
VERSION = "1.10.0"
# Upstream's names for the places of the menu, by ours.
_PLACES = {
    "menu": "menuLinks",
    "external": "externalLinks",
    "quick": "quickLinks",
    "documentation": "documentationItems",
}


class Options(msgspec.Struct, kw_only=True):
    """The charm's options."""

    registration: bool


class Dashboard(ServiceCharm):
    """All units answer; they keep nothing."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container="dashboard", ports=(PORT,))
        self.cluster = ClusterResources(self, "manifests")
        self.management = ServiceRequirer(self, "access-management")
        self.links = DashboardLinksProvider(self)
        self.gateway = GatewayRoute(self)
        self.metrics = Metrics(self, port=PORT, path="/prometheus/metrics")

    def reconcile(self) -> None:
        options = self.options(Options)
        management = self.management.get()
        # the program reads the menu anew for each page
        self.cluster.apply(links=json.dumps(menu(self.links.get()), sort_keys=True))
        self.workload.run(
            command="npm start",
            working_dir="/usr/src/app",
            environment={
                "NODE_ENV": "production",
                "PORT_1": str(PORT),
                "PROFILES_KFAM_SERVICE_HOST": management.host,
                "PROFILES_KFAM_SERVICE_PORT": str(management.port),
                "USERID_HEADER": "kubeflow-userid",
                "USERID_PREFIX": "",
                "REGISTRATION_FLOW": str(options.registration).lower(),
                "COLLECT_METRICS": "true",
                "LOGOUT_URL": "/oauth2/sign_out",
                "POD_NAMESPACE": self.model.name,
                "DASHBOARD_CONFIGMAP": f"{self.app.name}-menu",
            },
            check=Http(PORT, "/healthz"),
            alive=Http(PORT, "/healthz"),
            version=VERSION,
        )
        self.gateway.publish(Route("web", "/", self.address, PORT))
        self.metrics.publish()


def menu(links: Iterable[Link]) -> dict[str, list[dict[str, str]]]:
    """The links as the program reads them."""
    found: dict[str, list[dict[str, str]]] = {place: [] for place in _PLACES.values()}
    for each in links:
        if each.location not in _PLACES:
            continue
        entry = {"text": each.text, "link": each.link}
        if each.location in ("menu", "external"):
            entry |= {"type": each.type, "icon": each.icon}
        if each.desc:
            entry["desc"] = each.desc
        found[_PLACES[each.location]].append(entry)
    return found


if __name__ == "__main__":
    ops.main(Dashboard)
