"""Katib's web app: its command and environment, its way through the gateway."""

from __future__ import annotations

import json

from charmed_mlops.testing import address, relation


def test_it_asks_kubernetes_for_the_rights_of_the_user_whom_the_gateway_names(charm):
    out = charm.settled(address("db-manager", 6789, "grpc"))
    assert charm.service(out).command == "./katib-ui --port=8080"
    assert charm.environment(out) == {
        "KATIB_CORE_NAMESPACE": "shop",
        "KATIB_DB_MANAGER_SERVICE_NAMESPACE": "shop",
        "KATIB_DB_MANAGER_SERVICE_IP": "db-manager",
        "KATIB_DB_MANAGER_SERVICE_PORT": "6789",
        "APP_DISABLE_AUTH": "false",
        "USERID_HEADER": "kubeflow-userid",
        "USERID_PREFIX": "",
    }


def test_it_is_behind_the_gateway_for_users_only_and_in_the_dashboard(charm):
    out = charm.settled(relation("gateway"), relation("dashboard-links"))
    (route,) = json.loads(charm.published(out, "gateway")["routes"])
    assert (route["prefix"], route["port"], route["access"]) == ("/katib/", 8080, "user")
    assert route["rewrite"] is None  # the program serves below this prefix itself
    (link,) = json.loads(charm.published(out, "dashboard-links")["dashboard_links"])
    assert link["link"] == "/katib/"
