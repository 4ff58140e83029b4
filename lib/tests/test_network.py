"""Who reaches an application: its NetworkPolicy follows from its relations."""

from __future__ import annotations

from typing import Any

import ops
from ops import testing

from charmed_mlops.network import NOBODY, Reach, policy
from charmed_mlops.testing import MODEL

META = {
    "name": "store",
    "provides": {
        "service": {"interface": "service_address"},
        "metrics-endpoint": {"interface": "prometheus_scrape"},
        "grafana-dashboard": {"interface": "grafana_dashboard"},
    },
    "requires": {
        "database": {"interface": "mysql_client"},
        "gateway": {"interface": "gateway_route"},
        "dashboard-links": {"interface": "kubeflow_dashboard_links"},
    },
    "peers": {"peers": {"interface": "store_peers"}},
}


def ingress(
    *relations: testing.RelationBase, reach: Reach = NOBODY, event: Any = None
) -> list[dict[str, Any]]:
    """The policy's rules, as a charm with these relations makes them."""
    context = testing.Context(ops.CharmBase, meta=META)
    state = testing.State(relations=list(relations), model=MODEL, leader=True)
    with context(event(context) if event else context.on.start(), state) as manager:
        made = policy(manager.charm, reach)
    assert made["metadata"] == {"name": "store"}
    assert made["spec"]["podSelector"] == {"matchLabels": {"app.kubernetes.io/name": "store"}}
    assert made["spec"]["policyTypes"] == ["Ingress"]
    return made["spec"]["ingress"]


def pods_of(application: str) -> dict[str, Any]:
    return {"podSelector": {"matchLabels": {"app.kubernetes.io/name": application}}}


def test_an_application_without_clients_is_reached_by_nobody():
    peers = testing.PeerRelation("peers")
    database = testing.Relation("database", remote_app_name="mariadb")
    assert ingress(peers, database) == []


def test_applications_that_call_reach_every_port_of_it():
    relations = [
        testing.Relation("service", remote_app_name="ui"),
        testing.Relation("service", remote_app_name="api"),
        testing.Relation("gateway", remote_app_name="gateway"),
        testing.Relation("metrics-endpoint", remote_app_name="prometheus"),
    ]
    names = ["api", "gateway", "prometheus", "ui"]
    assert ingress(*relations) == [{"from": [pods_of(name) for name in names]}]


def test_applications_that_only_exchange_data_do_not_reach_it():
    relations = [
        testing.Relation("database", remote_app_name="mariadb"),
        testing.Relation("dashboard-links", remote_app_name="dashboard"),
        testing.Relation("grafana-dashboard", remote_app_name="grafana"),
    ]
    assert ingress(*relations) == []


def test_an_application_whose_relation_goes_does_not_reach_it_any_more():
    going = testing.Relation("service", remote_app_name="ui")
    assert ingress(going, event=lambda context: context.on.relation_broken(going)) == []


def test_a_client_of_another_model_is_let_in_from_all_namespaces_but_tenants():
    prometheus = testing.Relation(
        "metrics-endpoint",
        remote_app_name="prometheus-scrape",
        remote_model_uuid="5d0e6c0a-0f4b-4b26-8a3e-6f5a2f1c9b10",
    )
    (rule,) = ingress(prometheus)
    (source,) = rule["from"]
    a_namespace, no_tenant = source["namespaceSelector"]["matchExpressions"]
    assert no_tenant == {
        "key": "app.kubernetes.io/part-of",
        "operator": "NotIn",  # codespell:ignore
        "values": ["kubeflow-profile"],
    }
    # else Cilium lets in nodes and whatever is outside the cluster, too, as these lack the label
    assert a_namespace == {"key": "kubernetes.io/metadata.name", "operator": "Exists"}


def test_users_pods_reach_the_ports_that_are_for_them():
    tenants = {
        "namespaceSelector": {"matchLabels": {"app.kubernetes.io/part-of": "kubeflow-profile"}}
    }
    found = ingress(reach=Reach(pods=(7070,), tenants=(8887,)))
    assert found == [
        {"from": [{"podSelector": {}}, tenants], "ports": [{"protocol": "TCP", "port": 7070}]},
        {"from": [tenants], "ports": [{"protocol": "TCP", "port": 8887}]},
    ]


def test_further_namespaces_of_users_are_named_by_their_labels():
    (rule,) = ingress(reach=Reach(pods=(6789,), namespaces=(("collect", "enabled"),)))
    assert rule["from"][-1] == {"namespaceSelector": {"matchLabels": {"collect": "enabled"}}}


def test_a_port_for_anyone_has_no_condition():
    assert ingress(reach=Reach(anyone=(9443,))) == [{"ports": [{"protocol": "TCP", "port": 9443}]}]
