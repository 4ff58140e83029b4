"""The TensorBoards page: where it is, and that it makes no more than TensorBoards."""

from __future__ import annotations

import json

from charmed_mlops.testing import relation


def test_it_is_where_the_gateway_sends_its_path(charm):
    out = charm.settled(relation("gateway"), relation("dashboard-links"))
    assert charm.environment(out)["APP_PREFIX"] == "/tensorboards"
    (route,) = json.loads(charm.published(out, "gateway")["routes"])
    assert (route["prefix"], route["rewrite"], route["port"]) == ("/tensorboards/", "/", 5000)
    (link,) = json.loads(charm.published(out, "dashboard-links")["dashboard_links"])
    assert link["link"] == route["prefix"]


def test_what_it_changes_are_tensorboards_only(charm):
    role = charm.manifest(charm.settled(), "ClusterRole", "shop-tensorboards-ui-controller")
    changed = {
        resource
        for rule in role["rules"]
        if set(rule["verbs"]) - {"get", "list", "watch"}
        for resource in rule["resources"]
    }
    assert changed == {"tensorboards", "subjectaccessreviews"}


def test_only_the_gateway_can_say_who_the_user_is(charm):
    out = charm.settled(relation("gateway", "gateway"))
    (rule,) = charm.manifest(out, "NetworkPolicy")["spec"]["ingress"]
    assert rule == {
        "from": [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "gateway"}}}]
    }
