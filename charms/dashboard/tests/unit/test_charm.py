"""The dashboard: its environment, its menu, and what it may not see."""

from __future__ import annotations

import json

import pytest
from ops import testing

from charmed_mlops.testing import address, relation


def links(*entries: object, app: str = "mlflow"):
    data = {"dashboard_links": json.dumps(entries)}
    return testing.Relation("links", remote_app_name=app, remote_app_data=data)


def shown(charm, *relations):
    data = charm.manifest(charm.settled(*relations), "ConfigMap", "dashboard-menu")["data"]
    return json.loads(data["links"])


def test_it_asks_access_management_and_takes_the_user_whom_the_gateway_names(charm):
    out = charm.settled(address("access-management", 8081))
    service = charm.service(out)
    assert service.command == "npm start"
    assert service.working_dir == "/usr/src/app"
    assert charm.environment(out) == {
        "NODE_ENV": "production",
        "PORT_1": "8082",
        "PROFILES_KFAM_SERVICE_HOST": "access-management.shop",
        "PROFILES_KFAM_SERVICE_PORT": "8081",
        "USERID_HEADER": "kubeflow-userid",
        "USERID_PREFIX": "",
        "REGISTRATION_FLOW": "false",
        "COLLECT_METRICS": "true",
        "LOGOUT_URL": "/oauth2/sign_out",
        "POD_NAMESPACE": "shop",
        "DASHBOARD_CONFIGMAP": "dashboard-menu",
    }


def test_it_has_the_gateway_s_root_for_who_is_logged_in(charm):
    out = charm.settled(relation("gateway"))
    (route,) = json.loads(charm.published(out, "gateway")["routes"])
    assert (route["prefix"], route["access"], route["port"]) == ("/", "user", 8082)


def test_the_menu_has_what_the_applications_publish(charm):
    found = shown(
        charm,
        links({"text": "MLflow", "link": "/mlflow/", "icon": "assessment"}),
        links(
            {"text": "Manual", "link": "https://a.example", "location": "documentation",
             "desc": "All of it"},
            app="manual",
        ),
    )  # fmt: skip
    assert found["menuLinks"] == [
        {"type": "item", "text": "MLflow", "link": "/mlflow/", "icon": "assessment"}
    ]
    assert found["documentationItems"] == [
        {"text": "Manual", "link": "https://a.example", "desc": "All of it"}
    ]
    assert found["quickLinks"] == found["externalLinks"] == []


@pytest.mark.parametrize(
    "entry",
    [
        {"text": "Bad", "link": "javascript:alert(1)"},
        {"text": "Bad", "link": "/bad/", "location": "nowhere"},
        "no entry",
    ],
)
def test_what_is_no_link_is_left_out_and_the_others_stay(charm, entry):
    found = shown(charm, links(entry, {"text": "MLflow", "link": "/mlflow/"}))
    assert [each["text"] for place in found.values() for each in place] == ["MLflow"]


def test_a_user_may_make_her_namespace_where_the_option_says_so(charm):
    out = charm.settled(config={"registration": True})
    assert charm.environment(out)["REGISTRATION_FLOW"] == "true"


def test_it_reads_neither_events_nor_secrets_nor_other_configuration(charm):
    out = charm.settled()
    everywhere = charm.manifest(out, "ClusterRole", "shop-dashboard-controller")["rules"]
    assert [each["resources"] for each in everywhere] == [["namespaces", "nodes"]]
    (own,) = charm.manifest(out, "Role", "dashboard-menu")["rules"]
    assert (own["resources"], own["resourceNames"]) == (["configmaps"], ["dashboard-menu"])
    assert {verb for rule in [*everywhere, own] for verb in rule["verbs"]} == {
        "get", "list", "watch",
    }  # fmt: skip


def test_only_the_gateway_can_say_who_the_user_is(charm):
    out = charm.settled(relation("gateway", "gateway"))
    (rule,) = charm.manifest(out, "NetworkPolicy")["spec"]["ingress"]
    assert rule == {
        "from": [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "gateway"}}}]
    }
