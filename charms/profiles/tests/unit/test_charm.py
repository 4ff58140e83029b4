"""Profiles: the two programs, the roles of users, and the actions on a Kubernetes API."""

from __future__ import annotations

import pytest
import yaml
from ops import testing

from charmed_mlops.testing import relation

NAMESPACES = "/api/v1/namespaces"
PROFILES = "/apis/kubeflow.org/v1/profiles"
RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces"
ISTIO = "/apis/security.istio.io/v1beta1/namespaces"
TENANTS = """
users: [ann, bob, carl]
profiles:
  team-a: {owner: ann, quota: {cpu: 8}, contributors: {bob: edit, "group:auditors": view}}
  team-b: {owner: carl}
""".replace("carl]", 'carl, "group:auditors"]')


@pytest.fixture
def cluster(api):
    """A cluster whose controller makes a namespace of each profile."""
    api.lists |= {PROFILES: {}, NAMESPACES: {}}

    def controller(path, body):
        name = body["metadata"]["name"]
        if path == PROFILES:
            api.add(NAMESPACES, {"metadata": {"name": name}})
            notes = {"user": "x", "role": "admin"}
            owner = {"metadata": {"name": "namespaceAdmin", "annotations": notes}}
            bindings(api, name)["namespaceAdmin"] = {**owner, "subjects": [body["spec"]["owner"]]}

    api.created = controller
    return api


def act(charm, action, **params):
    return charm.act(action, charm.state(), **params)


def bindings(cluster, profile):
    return cluster.lists.setdefault(f"{RBAC}/{profile}/rolebindings", {})


# the programs


def test_the_controller_runs_with_the_header_of_the_gateway_and_elects_a_leader(charm):
    out = charm.settled()
    words = charm.service(out).command.split()
    assert words[0] == "/manager"
    assert "-userid-header=kubeflow-userid" in words
    assert "-userid-prefix=" in words
    assert "-leader-elect" in words
    assert "-leader-election-namespace=shop" in words
    assert "-namespace-labels-path=/tmp/namespace-labels.yaml" in words


def test_access_management_runs_beside_it(charm):
    access = testing.Relation("access-management", remote_app_name="dashboard")
    out = charm.settled(access, config={"cluster-admin": "root@example.com"})
    assert charm.service(out, "access-management").command == (
        "/access-management -cluster-admin=root@example.com "
        "-userid-header=kubeflow-userid -userid-prefix="
    )
    assert charm.published(out, "access-management")["port"] == "8081"
    assert charm.published(out, "access-management")["host"].startswith("profiles--serving.shop.")


def test_namespaces_get_the_labels_that_the_other_charms_select(charm):
    out = charm.settled(config={"namespace-labels": "{istio-injection: enabled}"})
    assert yaml.safe_load(charm.file(out, "/tmp/namespace-labels.yaml")) == {
        "app.kubernetes.io/part-of": "kubeflow-profile",
        "katib.kubeflow.org/metrics-collector-injection": "enabled",
        "serving.kubeflow.org/inferenceservice": "enabled",
        "pipelines.kubeflow.org/enabled": "true",
        "pod-security.kubernetes.io/enforce": "baseline",
        "istio-injection": "enabled",
    }


def test_its_own_role_is_not_cluster_admin(charm):
    rules = charm.manifest(charm.settled(), "ClusterRole", "shop-profiles-controller")["rules"]
    assert not [rule for rule in rules if "*" in str(rule)]
    (bind,) = [rule for rule in rules if "bind" in rule["verbs"]]
    assert bind["resourceNames"] == ["kubeflow-admin", "kubeflow-edit", "kubeflow-view"]
    assert not [rule for rule in rules if "secrets" in rule.get("resources", ())]


def test_the_roles_of_users_collect_each_the_one_below(charm):
    out = charm.settled()
    prefix = "rbac.authorization.kubeflow.org/aggregate-to-kubeflow-"
    for level, above in (("admin", None), ("edit", "admin"), ("view", "edit")):
        role = charm.manifest(out, "ClusterRole", f"kubeflow-{level}")
        (selector,) = role["aggregationRule"]["clusterRoleSelectors"]
        assert selector == {"matchLabels": {f"{prefix}{level}": "true"}}
        given = role["metadata"].get("labels")
        assert given == ({f"{prefix}{above}": "true"} if above else None)


def test_what_a_tenant_runs_answers_her_namespace_and_the_applications_here(charm):
    (fence,) = charm.tenant_manifests(charm.settled())
    (rule,) = fence["spec"]["ingress"]
    assert rule["from"] == [
        {"podSelector": {}},
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}},
    ]
    # notebooks, models, Spark's pods and viewers have closer ones: policies add
    selected = fence["spec"]["podSelector"]["matchExpressions"]
    assert {each["key"]: each["operator"] for each in selected} == {
        "notebook-name": "DoesNotExist",
        "serving.kserve.io/inferenceservice": "DoesNotExist",
        "sparkoperator.k8s.io/launched-by-spark-operator": "DoesNotExist",
        "app.kubernetes.io/part-of": "NotIn",
    }


def test_a_mesh_may_do_that_instead(charm):
    out = charm.settled(config={"isolate-namespaces": False})
    assert charm.tenant_manifests(out) == []


def test_only_related_applications_reach_the_program_that_believes_the_header(charm):
    out = charm.settled(relation("access-management", "dashboard"))
    (rule,) = charm.manifest(out, "NetworkPolicy")["spec"]["ingress"]
    assert rule == {
        "from": [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "dashboard"}}}]
    }


@pytest.mark.parametrize(
    "given, message",
    [
        ({"namespace-labels": "a"}, "config namespace-labels: must be a YAML map"),
        ({"namespace-labels": "{"}, "config namespace-labels: not YAML"),
        ({"namespace-labels": "{a b: c}"}, "config namespace-labels: a b: c is not a label"),
        (
            {"namespace-labels": "{app.kubernetes.io/part-of: x}"},
            "config namespace-labels: app.kubernetes.io/part-of is set",
        ),
        ({"pod-security": "none"}, "config pod-security=none: must be one of"),
        ({"cluster-admin": "a b"}, "config cluster-admin=a b: must match"),
    ],
)
def test_a_wrong_option_blocks_and_says_why(charm, given, message):
    out = charm.settled(config=given)
    assert out.unit_status.name == "blocked"
    assert out.unit_status.message.startswith(message)


# actions


def test_a_profile_is_made_with_its_owner_and_quota(charm, cluster):
    act(charm, "create-profile", name="team-a", owner="ann@example.com", quota="{cpu: 8}")
    assert cluster.get(PROFILES, "team-a")["spec"] == {
        "owner": {
            "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ann@example.com",
        },
        "resourceQuotaSpec": {"hard": {"cpu": "8"}},
    }  # fmt: skip


@pytest.mark.parametrize(
    "params, message",
    [
        ({"name": "kube-system", "owner": "ann"}, "there is a namespace kube-system already"),
        ({"name": "Team A", "owner": "ann"}, "name=Team A: must match"),
        ({"name": "team-a", "owner": ""}, "owner=: must match"),
        ({"name": "team-a", "owner": "ann", "quota": "8"}, "quota=8: must be a YAML map"),
        ({"name": "team-a", "owner": "ann", "quota": "{cpu: lots}"}, "quota.cpu=lots: must be a"),
    ],
)
def test_a_profile_that_cannot_be_is_refused_before_anything_is_made(
    charm, cluster, params, message
):
    cluster.add(NAMESPACES, {"metadata": {"name": "kube-system"}})
    with pytest.raises(testing.ActionFailed) as failed:
        act(charm, "create-profile", **params)
    assert failed.value.message.startswith(message)
    assert not [call for call in cluster.calls if call.startswith("POST")]


def test_delete_says_what_it_would_delete_and_deletes_only_when_confirmed(charm, cluster):
    act(charm, "create-profile", name="team-a", owner="ann")
    cluster.add(f"{NAMESPACES}/team-a/persistentvolumeclaims", {"metadata": {"name": "data"}})
    told = act(charm, "delete-profile", name="team-a")
    assert told == {"would-delete": "team-a", "persistentvolumeclaims": "1", "owner": "ann"}
    assert "team-a" in cluster.lists[PROFILES]
    assert act(charm, "delete-profile", name="team-a", confirm=True)["deleted"] == "team-a"
    assert "team-a" not in cluster.lists[PROFILES]


def test_a_contributor_is_what_access_management_makes_of_one(charm, cluster):
    act(charm, "create-profile", name="team-a", owner="ann")
    act(charm, "add-contributor", profile="team-a", user="Bob@example.com")
    name = "user-bob-example-com-clusterrole-edit"
    binding = bindings(cluster, "team-a")[name]
    assert binding["roleRef"]["name"] == "kubeflow-edit"
    assert binding["metadata"]["annotations"] == {"user": "Bob@example.com", "role": "edit"}
    assert binding["subjects"][0]["name"] == "Bob@example.com"
    assert name in cluster.lists[f"{ISTIO}/team-a/authorizationpolicies"]


def test_another_role_takes_the_place_of_the_first(charm, cluster):
    act(charm, "create-profile", name="team-a", owner="ann")
    for role in ("edit", "view", "view"):
        act(charm, "add-contributor", profile="team-a", user="bob", role=role)
    assert set(bindings(cluster, "team-a")) == {"namespaceAdmin", "user-bob-clusterrole-view"}
    act(charm, "remove-contributor", profile="team-a", user="bob")
    assert set(bindings(cluster, "team-a")) == {"namespaceAdmin"}
    assert cluster.lists[f"{ISTIO}/team-a/authorizationpolicies"] == {}


@pytest.mark.parametrize(
    "action, params, message",
    [
        ("remove-contributor", {"user": "bob"}, "bob is no contributor of team-a"),
        ("add-contributor", {"user": "ann"}, "ann owns team-a"),
        ("add-contributor", {"user": "bob", "role": "root"}, "role=root: must be one of"),
        ("add-contributor", {"user": "b c"}, "user=b c: must match"),
    ],
)
def test_a_change_of_contributors_that_makes_no_sense_fails(
    charm, cluster, action, params, message
):
    act(charm, "create-profile", name="team-a", owner="ann")
    with pytest.raises(testing.ActionFailed) as failed:
        act(charm, action, profile="team-a", **params)
    assert failed.value.message.startswith(message)


@pytest.mark.parametrize("action", ["add-contributor", "remove-contributor"])
def test_a_profile_that_is_not_there_is_named(charm, cluster, action):
    with pytest.raises(testing.ActionFailed, match="there is no nowhere"):
        act(charm, action, profile="nowhere", user="bob")


def test_a_new_quota_takes_the_place_of_the_old_one(charm, cluster):
    act(charm, "create-profile", name="team-a", owner="ann", quota="{cpu: 8, memory: 1Gi}")
    act(charm, "set-quota", profile="team-a", quota="{cpu: 4}")
    assert act(charm, "list-profiles")["profiles"]["1"]["quota"] == "cpu=4"


def test_what_the_api_server_refuses_is_said(charm, cluster):
    cluster.forbidden.add(PROFILES)
    with pytest.raises(testing.ActionFailed, match=r"answers 403 to POST .*: no right"):
        act(charm, "create-profile", name="team-a", owner="ann")


# all tenants in one text


def test_a_dry_run_prints_the_plan_and_changes_nothing(charm, cluster):
    told = act(charm, "apply-tenants", tenants=TENANTS, dry_run=True)
    assert told["would-change"] == "4"
    assert told["plan"].splitlines() == [
        "+ profile team-a of ann",
        "+ bob edit in team-a",
        "+ group:auditors view in team-a",
        "+ profile team-b of carl",
    ]
    assert not [call for call in cluster.calls if not call.startswith("GET")]


def test_applying_twice_changes_nothing_the_second_time(charm, cluster):
    assert act(charm, "apply-tenants", tenants=TENANTS)["changed"] == "4"
    group = bindings(cluster, "team-a")["group-auditors-clusterrole-view"]
    assert group["subjects"][0]["kind"] == "Group"
    assert act(charm, "apply-tenants", tenants=TENANTS) == {"changed": "0", "plan": ""}


def test_a_change_of_the_text_changes_just_that(charm, cluster):
    act(charm, "apply-tenants", tenants=TENANTS)
    text = TENANTS.replace("cpu: 8", "cpu: 4").replace("bob: edit, ", "carl: admin, ")
    told = act(charm, "apply-tenants", tenants=text)
    assert told["plan"].splitlines() == [
        "~ quota of team-a: {'cpu': '8'} becomes {'cpu': '4'}",
        "+ carl admin in team-a",
        "- bob in team-a",
    ]
    assert act(charm, "apply-tenants", tenants=text)["changed"] == "0"


def test_a_profile_that_the_text_does_not_name_is_kept(charm, cluster):
    act(charm, "apply-tenants", tenants=TENANTS)
    assert act(charm, "apply-tenants", tenants="profiles: {}")["changed"] == "0"
    assert "team-a" in cluster.lists[PROFILES]


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "tenants: "),
        ("[]", "tenants: "),
        ("profils: {}", "tenants: profils: is unknown"),
        ("profiles: {a: {owner: x, quotta: {}}}", "tenants: profiles.a.quotta: is unknown"),
        ("profiles: {a: {}}", "tenants: profiles.a.owner: is missing"),
        ("{users: [x], profiles: {a: {owner: y}}}", "tenants: profiles.a: y is not among users"),
        ("profiles: {a: {owner: x, contributors: {x: edit}}}", "tenants: profiles.a: x owns it"),
        (
            "profiles: {a: {owner: x, contributors: {y: all}}}",
            "tenants: profiles.a.contributors.y",
        ),
        ("profiles: {a: {owner: x}, a: {owner: y}}", "tenants: a is there twice"),
        ("profiles: {old: {owner: x}}", "there is a namespace old already"),
        ("profiles: {team-b: {owner: x}}", "profile team-b belongs to carl"),
    ],
)
def test_a_text_with_an_error_changes_nothing_and_names_it(charm, cluster, text, message):
    cluster.add(NAMESPACES, {"metadata": {"name": "old"}})
    act(charm, "create-profile", name="team-b", owner="carl")
    cluster.calls.clear()
    with pytest.raises(testing.ActionFailed) as failed:
        act(charm, "apply-tenants", tenants=text)
    assert failed.value.message.startswith(message)
    assert not [call for call in cluster.calls if not call.startswith("GET")]


def test_a_namespace_that_does_not_come_is_said(charm, cluster):
    cluster.created = lambda path, body: None
    with pytest.raises(testing.ActionFailed, match="team-a has no namespace yet: apply again"):
        act(charm, "apply-tenants", tenants=TENANTS)
