"""What the action `policy` tells of each application's request."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ops import testing

from charmed_mlops.interfaces.manifests import digest, pack

RBAC = "rbac.authorization.k8s.io/v1"
READ_SECRETS = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list"]}
READ_PODS = {"apiGroups": [""], "resources": ["pods", "services"], "verbs": ["get", "list"]}
SETTINGS = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}}


def role(*rules: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": "shop-maker"}
    return {"apiVersion": RBAC, "kind": "ClusterRole", "metadata": metadata, "rules": list(rules)}


def asks(*manifests: dict[str, Any], app: str = "maker", tenants: Any = None) -> testing.Relation:
    request: dict[str, Any] = {"manifests": pack(manifests), "hash": digest(manifests)}
    if tenants:
        request["tenants"] = pack(tenants)
    data = {key: json.dumps(value) for key, value in request.items()}
    return testing.Relation("manifests", remote_app_name=app, remote_app_data=data)


@pytest.fixture
def explained(context: testing.Context):
    """Runs the action, with no cluster at hand: it needs none."""

    def run(*relations: testing.Relation, allow: str = "", leader: bool = True, **params: str):
        state = testing.State(
            leader=leader,
            model=testing.Model("shop"),
            relations=relations,
            config={"allow": allow},
            containers=[testing.Container("watcher")],
        )
        context.run(context.on.action("policy", params=params), state)
        results = context.action_results
        assert results
        assert results["count"] == str(len(results["applications"]))
        return results["applications"]

    return run


def test_what_the_rules_give_is_told_by_kind_and_scope(explained):
    found = explained(asks(SETTINGS, role(READ_PODS)))["maker"]
    assert found == {
        "verdict": "allowed",
        "by-the-rules": {
            "objects": "1 ClusterRole, 1 ConfigMap",
            "rights": {"cluster": "get, list: pods, services"},
        },
    }


def test_objects_for_tenants_are_told_apart(explained):
    found = explained(asks(SETTINGS, tenants=[SETTINGS]))["maker"]["by-the-rules"]
    assert found == {"objects": "1 ConfigMap", "objects-for-each-tenant": "1 ConfigMap"}


def test_a_refusal_names_the_object_the_rule_and_the_reason(explained):
    found = explained(asks(SETTINGS, role(READ_SECRETS, READ_PODS)))["maker"]
    assert found["verdict"] == "refused as a whole, for ClusterRole/shop-maker"
    reason = "get, list on secrets (cluster): more than the rules give"
    entry = {"object": "ClusterRole/shop-maker", "rule": "right", "reason": reason}
    assert found["refused"] == {"1": entry}
    assert found["by-the-rules"]["rights"] == {"cluster": "get, list: pods, services"}


def test_an_exception_is_told_with_the_rule_that_it_lifts_and_why(explained):
    allow = "maker: [{resources: [secrets], verbs: [get, list]}]"
    found = explained(asks(role(READ_SECRETS)), allow=allow)["maker"]
    assert found == {
        "verdict": "allowed",
        "by-exception": {
            "1": {
                "allow": "{resources: [secrets], verbs: [get, list]}",
                "for": "ClusterRole/shop-maker",
                "rule": "right",
                "reason": "get, list on secrets (cluster): more than the rules give",
            }
        },
    }


def test_an_exception_that_is_too_narrow_leaves_the_rest_refused(explained):
    allow = "maker: [{resources: [secrets], verbs: [get]}]"
    found = explained(asks(role(READ_SECRETS)), allow=allow)["maker"]
    lifted, left = found["by-exception"]["1"]["reason"], found["refused"]["1"]["reason"]
    assert lifted == "get on secrets (cluster): more than the rules give"
    assert left == "list on secrets (cluster): more than the rules give"


def test_an_exception_that_nothing_needs_is_idle(explained):
    allow = "maker: [{object: ClusterRole/other}]"
    found = explained(asks(SETTINGS), allow=allow)["maker"]
    assert found["idle-exceptions"] == "{object: ClusterRole/other}"
    assert "by-exception" not in found


def test_an_exception_for_an_object_tells_every_rule_that_it_lifts(explained):
    bad = {**role(READ_SECRETS), "metadata": {"name": "shop-maker", "finalizers": ["x/y"]}}
    allow = "maker: [{object: ClusterRole/shop-maker}]"
    found = explained(asks(bad), allow=allow)["maker"]["by-exception"]["1"]
    assert found["rule"] == "kind, right"
    assert found["reason"].splitlines() == [
        "ownerReferences and finalizers may not be declared",
        "get, list on secrets (cluster): more than the rules give",
    ]


def test_without_an_application_every_related_one_is_told(explained):
    found = explained(asks(SETTINGS), asks(role(READ_SECRETS), app="thief"))
    assert {name: each["verdict"].split()[0] for name, each in found.items()} == {
        "maker": "allowed",
        "thief": "refused",
    }
    assert list(explained(asks(SETTINGS), asks(app="thief"), application="maker")) == ["maker"]


def test_what_an_unrelated_application_may_do_is_out_of_scope(explained):
    allow = "mlflow: [{resources: [secrets], verbs: [get]}]"
    found = explained(asks(SETTINGS), allow=allow, application="mlflow")
    assert list(found) == ["mlflow"]
    assert "out of the broker's scope" in found["mlflow"]["verdict"]
    assert found["mlflow"]["idle-exceptions"] == "{resources: [secrets], verbs: [get]}"


def test_a_request_that_cannot_be_read_is_said_so_and_the_others_are_told(explained):
    broken = testing.Relation(
        "manifests", remote_app_name="thief", remote_app_data={"manifests": '"?"', "hash": '"h"'}
    )
    found = explained(broken, asks(SETTINGS))
    assert found["thief"]["verdict"].startswith("refused, as its request cannot be read: ")
    assert found["maker"]["verdict"] == "allowed"


def test_what_the_cluster_has_against_an_object_is_told_by_the_leader(explained):
    problem = {"object": "ConfigMap/settings", "reason": "it exists", "outcome": "refused"}
    relation = asks(SETTINGS)
    answered = testing.Relation(
        "manifests",
        remote_app_name="maker",
        remote_app_data=relation.remote_app_data,
        local_app_data={"hash": '"h"', "problems": json.dumps([problem])},
    )
    found = explained(answered)["maker"]
    assert found["verdict"] == "allowed, but not all is applied"
    assert found["not-applied"] == "ConfigMap/settings: refused: it exists"
    assert explained(answered, leader=False)["maker"]["verdict"] == "allowed"
