"""The broker against a real API server: applying, refusing, pruning, and leaving nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import ops
import pytest
import yaml
from api_objects import KINDS, objects  # pyright: ignore[reportMissingImports]
from ops import testing

from charmed_mlops.interfaces.manifests import (
    APPLICATION_KEY,
    CONTENT_KEY,
    SECRET_FIELD,
    digest,
    pack,
)
from charmed_mlops.testing import loaded

CHARM = Path(__file__).parents[2]
META = yaml.safe_load((CHARM / "charmcraft.yaml").read_text())
RBAC = "rbac.authorization.k8s.io/v1"


def names(cluster: Any) -> set[str]:
    return {f"{item['kind']}/{item['metadata']['name']}" for item in objects(cluster)}


def thing(api: str, kind: str, name: str, **rest: Any) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}, **rest}


SCHEMA = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
DEFINITION = thing(
    "apiextensions.k8s.io/v1",
    "CustomResourceDefinition",
    "pots.tea.example.com",
    spec={
        "group": "tea.example.com",
        "names": {"kind": "Pot", "plural": "pots"},
        "scope": "Namespaced",
        "versions": [{"name": "v1", "served": True, "storage": True, "schema": SCHEMA}],
    },
)
ROLE = thing(
    RBAC,
    "ClusterRole",
    "shop-maker",
    rules=[{"apiGroups": ["tea.example.com"], "resources": ["pots"], "verbs": ["get", "list"]}],
)
BINDING = thing(
    RBAC,
    "ClusterRoleBinding",
    "shop-maker",
    roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "shop-maker"},
    subjects=[{"kind": "ServiceAccount", "name": "maker", "namespace": "shop"}],
)
POT = thing("tea.example.com/v1", "Pot", "default")
ALL = [POT, BINDING, ROLE, DEFINITION, thing("v1", "ConfigMap", "maker-settings", data={"a": "1"})]


def relate(manifests: list[dict], application: str = "maker") -> testing.Relation:
    request = {"manifests": pack(manifests), "hash": digest(manifests)}
    data = {key: json.dumps(value) for key, value in request.items()}
    return testing.Relation("manifests", remote_app_name=application, remote_app_data=data)


def run(context: testing.Context, event: Any, *relations: testing.RelationBase, **state: Any):
    model = testing.Model("shop", uuid="7d2e4f66-2d0c-4c0d-8a52-3e0f3c1b9a10")
    given = {"leader": True, "model": model, "relations": relations}
    given = {**given, "containers": [testing.Container("watcher")], **state}
    return context.run(event, testing.State(**given))


def answer(out: testing.State, relation: testing.Relation) -> dict:
    data = out.get_relation(relation.id).local_app_data
    return {key: json.loads(value) for key, value in data.items()}


def put(cluster: Any, modules: dict[str, Any], namespace: str, name: str, **metadata: Any) -> None:
    """A custom resource that a user made."""
    ref = modules["kube"].Ref("tea.example.com/v1", "Pot", namespace, name)
    body = {**thing(ref.api, ref.kind, name), "metadata": {"name": name, "namespace": namespace}}
    body["metadata"].update(metadata)
    cluster.apply(ref, body, "user")


@pytest.mark.engine
def test_what_is_declared_is_applied_and_answered(context, cluster):
    relation = relate(ALL)
    out = run(context, context.on.relation_changed(relation, remote_unit=0), relation)
    assert out.unit_status == ops.ActiveStatus()
    answered = answer(out, relation)
    assert (answered["hash"], answered["problems"]) == (digest(ALL), [])
    declared = {f"{item['kind']}/{item['metadata']['name']}" for item in ALL}
    assert declared | {"Secret/resource-broker.maker"} == names(cluster)


@pytest.mark.engine
def test_a_follower_does_nothing(context, cluster):
    relation = relate(ALL)
    out = run(context, context.on.update_status(), relation, leader=False)
    assert (out.unit_status, names(cluster)) == (ops.ActiveStatus(), set())


@pytest.mark.engine
def test_what_is_no_longer_declared_is_pruned_and_what_was_deleted_comes_back(
    context, cluster, modules
):
    run(context, context.on.update_status(), relate(ALL))
    fewer = [item for item in ALL if item["kind"] != "ConfigMap"]
    run(context, context.on.config_changed(), relate(fewer))
    assert "ConfigMap/maker-settings" not in names(cluster)
    cluster.delete(modules["kube"].Ref(RBAC, "ClusterRole", "", "shop-maker"))
    run(context, context.on.update_status(), relate(fewer))
    assert "ClusterRole/shop-maker" in names(cluster)


@pytest.mark.engine
def test_a_refused_object_keeps_all_of_them_out(context, cluster):
    bad = {**ROLE, "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]}
    manifests = [DEFINITION, bad]
    relation = relate(manifests)
    out = run(context, context.on.update_status(), relation)
    (problem,) = answer(out, relation)["problems"]
    assert (problem["object"], problem["outcome"]) == ("ClusterRole/shop-maker", "refused")
    assert names(cluster) == set()
    lifted = {"allow": "maker: [{object: ClusterRole/shop-maker}]"}
    out = run(context, context.on.config_changed(), relation, config=lifted)
    assert answer(out, relation)["problems"] == []


NETWORK = thing(
    "networking.k8s.io/v1",
    "NetworkPolicy",
    "maker",
    spec={"podSelector": {"matchLabels": {"app.kubernetes.io/name": "maker"}}},
)


@pytest.mark.engine
def test_network_policies_can_be_switched_off_and_on_again(context, cluster):
    relation = relate([ALL[-1], NETWORK])
    out = run(context, context.on.config_changed(), relation)
    assert "NetworkPolicy/maker" in names(cluster)
    (answered,) = out.relations
    out = run(context, context.on.config_changed(), answered, config={"network-policies": False})
    assert "NetworkPolicy/maker" not in names(cluster)
    assert "ConfigMap/maker-settings" in names(cluster)
    (answered,) = out.relations
    out = run(context, context.on.config_changed(), answered)
    assert "NetworkPolicy/maker" in names(cluster)
    assert out.unit_status == ops.ActiveStatus()


@pytest.mark.engine
def test_an_object_of_a_kind_that_another_application_defines_comes_when_the_kind_is_there(
    context, cluster
):
    allow = {"allow": "maker: [{kind: Pot, group: tea.example.com}]"}
    maker, potter = relate([POT, NETWORK]), relate([DEFINITION], "potter")
    out = run(context, context.on.config_changed(), maker, config=allow)
    (problem,) = answer(out, maker)["problems"]
    assert (problem["object"], problem["outcome"]) == ("Pot/default", "deferred")
    assert "NetworkPolicy/maker" in names(cluster)  # the others do not wait for it
    (waiting,) = out.relations
    out = run(context, context.on.config_changed(), potter, waiting, config=allow)
    (waiting,) = [each for each in out.relations if each.id == maker.id]
    out = run(context, context.on.update_status(), potter, waiting, config=allow)
    assert answer(out, maker)["problems"] == []
    assert "Pot/default" in names(cluster)


@pytest.mark.engine
def test_another_application_s_object_is_not_taken(context, cluster):
    first, second = relate([DEFINITION]), relate([DEFINITION], "thief")
    out = run(context, context.on.update_status(), first, second)
    assert answer(out, first)["problems"] == []
    (problem,) = answer(out, second)["problems"]
    assert problem["outcome"] == "refused"
    assert "application maker's of model shop" in problem["reason"]


@pytest.mark.engine
def test_a_secret_s_content_comes_from_the_juju_secret(context, cluster):
    secret = testing.Secret(
        {APPLICATION_KEY: "maker", CONTENT_KEY: json.dumps({"password": "sesame"})}
    )
    relation = relate([{**thing("v1", "Secret", "maker-key"), SECRET_FIELD: secret.id}])
    run(context, context.on.update_status(), relation, secrets=[secret])
    (found,) = [item for item in objects(cluster) if item["metadata"]["name"] == "maker-key"]
    assert found["data"] == {"password": "c2VzYW1l"}


@pytest.mark.engine
def test_the_end_of_a_relation_leaves_only_what_users_made(context, cluster, modules):
    run(context, context.on.update_status(), relate(ALL))
    relation = relate(ALL)
    out = run(context, context.on.relation_broken(relation), relation)
    assert out.unit_status == ops.ActiveStatus()
    assert names(cluster) == set()

    run(context, context.on.update_status(), relate(ALL))
    put(cluster, modules, "shop", "mine", finalizers=["tea.example.com/hold"])
    run(context, context.on.relation_broken(relation), relation)
    assert names(cluster) == {"Pot/mine", "CustomResourceDefinition/pots.tea.example.com"}
    (pot,) = cluster.list("tea.example.com/v1", "Pot")
    assert "finalizers" not in pot["metadata"]  # it would keep the model's namespace from going


@pytest.mark.engine
@pytest.mark.parametrize("everything", [False, True])
def test_custom_resources_elsewhere_stay_unless_the_administrator_says_so(
    context, cluster, modules, everything
):
    run(context, context.on.update_status(), relate(ALL))
    put(cluster, modules, "other", "theirs")
    config = {"remove-custom-resources": everything}
    run(context, context.on.update_status(), config=config)
    kept = {"Pot/theirs", "CustomResourceDefinition/pots.tea.example.com"}
    assert names(cluster) == (set() if everything else kept)
    if not everything:  # whoever declares it next may have it
        relation = relate(ALL, "successor")
        bound = [item for item in ALL if item["kind"] != "ClusterRoleBinding"]
        relation = relate(bound, "successor")
        out = run(context, context.on.update_status(), relation)
        assert answer(out, relation)["problems"] == []
        (found,) = cluster.list(*KINDS[0], "charmed-mlops.io/application=successor")
        assert "charmed-mlops.io/kept" not in found["metadata"]["labels"]  # nobody else's now


@pytest.mark.engine
def test_a_running_controller_finishes_its_resources_itself(context, cluster, modules):
    run(context, context.on.update_status(), relate(ALL))
    put(cluster, modules, "shop", "mine", finalizers=["tea.example.com/hold"])
    pod = modules["kube"].Ref("v1", "Pod", "shop", "maker-0")
    containers = [{"name": "maker", "image": "maker"}]
    metadata = {"name": "maker-0", "labels": {"app.kubernetes.io/name": "maker"}}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}
    cluster.apply(pod, {**body, "spec": {"containers": containers}}, "test")
    ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    cluster._call(
        "PATCH", cluster._path(pod) + "/status", content=json.dumps(ready).encode(),
        headers={"Content-Type": "application/merge-patch+json"},
    )  # fmt: skip
    config = {"remove-custom-resources": True}
    out = run(context, context.on.update_status(), config=config)
    assert out.unit_status == ops.WaitingStatus("waiting for 1 custom resources to be finished")
    # all that the controller needs to finish is still there, its configuration too
    needed = {"Pot/mine", "ClusterRole/shop-maker", "ConfigMap/maker-settings"}
    assert needed <= names(cluster)
    cluster._call("DELETE", cluster._path(pod), params={"gracePeriodSeconds": "0"})
    out = run(context, context.on.update_status(), config=config)
    assert (out.unit_status, names(cluster)) == (ops.ActiveStatus(), set())


@pytest.mark.engine
@pytest.mark.parametrize(("units", "left"), [(0, False), (1, True)])
def test_the_broker_takes_all_with_it_only_if_the_application_goes(context, cluster, units, left):
    run(context, context.on.update_status(), relate(ALL))
    run(context, context.on.remove(), planned_units=units)
    assert bool(names(cluster)) is left


@pytest.mark.engine
def test_actions(context, cluster):
    relation = relate(ALL)
    run(context, context.on.update_status(), relation)
    run(context, context.on.action("inventory"), relation)
    assert context.action_results
    assert context.action_results["count"] == str(len(ALL))
    first = context.action_results["objects"]["1"]
    assert first == {"application": "maker", "object": first["object"]}
    run(context, context.on.action("leftovers"), relation)
    assert context.action_results == {"count": "0"}
    run(context, context.on.action("leftovers"))
    assert context.action_results["count"] == str(len(ALL))
    run(context, context.on.action("reapply", params={"application": "maker"}), relation)
    assert context.action_results == {"count": "0"}
    with pytest.raises(testing.ActionFailed, match="nobody is not related"):
        run(context, context.on.action("reapply", params={"application": "nobody"}), relation)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("maker: everything", "maker: Input should be a valid list"),
        ("maker: [{resources: [secrets]}]", "write resources and verbs"),
        ("maker: [{resources: [secrets], verbs: [get], scope: all}]", "scope 'all' is none of"),
        ("maker: [", "not YAML in line 1, column 9"),
        ("maker: [{resources: [secrets], verbs: [get], right: get}]", "maker.0.right: Extra"),
    ],
)
def test_a_grant_that_cannot_be_read_blocks(context, text, reason):
    out = run(context, context.on.config_changed(), config={"allow": text})
    assert isinstance(out.unit_status, ops.BlockedStatus)
    assert out.unit_status.message.startswith("config allow: ")
    assert reason in out.unit_status.message
    assert len(out.unit_status.message) <= 80


def test_what_the_status_leaves_out_is_in_the_log(context):
    text = "maker: [{resources: [secrets], verbs: [get], scope: everywhere}]"
    out = run(context, context.on.config_changed(), config={"allow": text})
    line = "config allow: maker.0: scope 'everywhere' is none of"
    assert out.unit_status.message.startswith(line)
    assert out.unit_status.message.endswith("…")
    logged = [each.message for each in context.juju_log if each.level == "WARNING"]
    assert f"{line} cluster, tenants, model, view, edit, admin" in logged


def test_without_trust_it_says_what_to_do(context, modules, monkeypatch):
    error = modules["kube"].ApiError(403, "secrets is forbidden")

    def refuse() -> None:
        raise error

    monkeypatch.setattr(modules["kube"].Cluster, "connect", staticmethod(refuse))
    out = run(context, context.on.config_changed())
    assert out.unit_status == ops.BlockedStatus(
        "no rights over the cluster: juju trust resource-broker --scope=cluster"
    )


@pytest.mark.engine
def test_kserve_controller_s_definitions_are_taken_by_a_real_api_server(cluster, modules):
    with loaded(CHARM.parent / "kserve-controller") as kserve:
        declared = kserve.manifests(kserve.settled())
    manifests = [each for each in declared if each["kind"] == "CustomResourceDefinition"]
    book = modules["inventory"].Book(cluster, "resource-broker", "shop")
    service = thing(
        "serving.kserve.io/v1beta1",
        "InferenceService",
        "wine",
        spec={
            "predictor": {"model": {"modelFormat": {"name": "sklearn"}, "env": [{"name": "A"}]}}
        },
    )
    assert modules["apply"].apply(cluster, book, "kserve", [*manifests, service], False) == []
    reference = modules["kube"].Ref(service["apiVersion"], service["kind"], "shop", "wine")
    found = cluster.get(reference)
    assert found["spec"] == service["spec"]  # nothing is pruned
    bad = {**service, "spec": {"predictor": {"minReplicas": "many"}}}
    (problem,) = modules["apply"].apply(cluster, book, "kserve", [*manifests, bad], False)
    assert "minReplicas" in problem.reason
    outcome = modules["removal"].remove(cluster, book, "kserve", everything=False, final=True)
    assert (outcome.pending, outcome.kept, names(cluster)) == ([], [], set())


def put_namespace(cluster: Any, modules: dict[str, Any], name: str, **labels: str) -> None:
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    cluster.apply(modules["kube"].Ref("v1", "Namespace", "", name), body, "test")


@pytest.mark.engine
def test_objects_for_tenants_are_in_each_of_their_namespaces(context, cluster, modules):
    profile = {"app.kubernetes.io/part-of": "kubeflow-profile"}
    put_namespace(cluster, modules, "alice", **profile)
    put_namespace(cluster, modules, "bob", **profile)
    put_namespace(cluster, modules, "stolen-system", **profile)  # never a tenant
    everybody = thing("v1", "ConfigMap", "hello", data={"who": "$(tenant)"})
    only = thing("v1", "ConfigMap", "only")
    only["metadata"]["namespace"] = "bob"
    tenants = [everybody, only]
    request = {"manifests": pack([]), "tenants": pack(tenants), "hash": digest([], tenants)}
    data = {key: json.dumps(value) for key, value in request.items()}
    relation = testing.Relation("manifests", remote_app_name="maker", remote_app_data=data)
    out = run(context, context.on.update_status(), relation)
    assert answer(out, relation)["tenants"] == ["alice", "bob"]
    assert answer(out, relation)["problems"] == []

    def found() -> set[tuple[str, str, str]]:
        selector = "charmed-mlops.io/application=maker"
        return {
            (i["metadata"]["namespace"], i["metadata"]["name"], i.get("data", {}).get("who", ""))
            for i in cluster.list("v1", "ConfigMap", selector)
        }

    mine = {("bob", "hello", "bob"), ("bob", "only", "")}
    assert found() == mine | {("alice", "hello", "alice")}
    # alice is no tenant any more: what she got is taken back
    put_namespace(cluster, modules, "alice")
    out = run(context, context.on.update_status(), out.get_relation(relation.id))
    assert found() == mine
    run(context, context.on.update_status())
    assert found() == set()


@pytest.mark.engine
def test_a_refused_definition_keeps_its_custom_resources_out(context, cluster, modules):
    foreign = modules["kube"].Ref(*KINDS[0], "", DEFINITION["metadata"]["name"])
    cluster.apply(foreign, DEFINITION, "somebody")
    cluster.wait_established(foreign, 5)
    relation = relate(ALL)
    out = run(context, context.on.update_status(), relation)
    (problem,) = answer(out, relation)["problems"]
    assert problem["outcome"] == "refused"
    assert "run the action adopt" in problem["reason"]
    assert names(cluster) == {"CustomResourceDefinition/pots.tea.example.com"}

    params = {"application": "maker", "objects": "CustomResourceDefinition/pots.tea.example.com"}
    out = run(context, context.on.action("adopt", params=params), relation)
    assert context.action_results == {"count": "1", "adopted": {"1": params["objects"]}}
    assert answer(out, relation)["problems"] == []
    assert "Pot/default" in names(cluster)


def api_server(modules, monkeypatch, answers: dict[str, int]) -> None:
    """Have an API server answer with these codes by path; the others are refused; 0 is nothing."""
    httpx = modules["kube"].httpx

    def answer(request: Any) -> Any:
        code = answers.get(request.url.path, answers[""])
        if not code:
            raise httpx.ConnectError("connection refused")
        return httpx.Response(code, json={"message": "what was asked for is forbidden"})

    client = httpx.Client(transport=httpx.MockTransport(answer), base_url="http://kubernetes")
    cluster = modules["kube"].Cluster(client)
    monkeypatch.setattr(modules["kube"].Cluster, "connect", staticmethod(lambda: cluster))


@pytest.mark.parametrize(
    "code", [pytest.param(403, id="no rights"), pytest.param(500, id="a webhook that has gone")]
)
def test_a_broker_that_is_refused_can_be_removed(context, modules, monkeypatch, code):
    api_server(modules, monkeypatch, {"": code, "/readyz": 200})
    run(context, context.on.remove(), planned_units=0)


def test_a_broker_without_a_token_can_be_removed(context, modules, monkeypatch):
    def refuse() -> None:
        raise modules["kube"].ApiError(0, "the pod has no ServiceAccount token")

    monkeypatch.setattr(modules["kube"].Cluster, "connect", staticmethod(refuse))
    run(context, context.on.remove(), planned_units=0)


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param({"": 0}, id="nobody answers"),
        pytest.param({"": 503}, id="not there"),
        pytest.param({"": 403, "/readyz": 500}, id="just started, without the roles"),
    ],
)
def test_its_removal_is_tried_again_while_the_api_server_is_away(
    context, modules, monkeypatch, answers
):
    api_server(modules, monkeypatch, answers)
    with pytest.raises(testing.errors.UncaughtCharmError) as error:
        run(context, context.on.remove(), planned_units=0)
    assert "ApiError" in repr(error.value.__cause__)


@pytest.mark.engine
def test_what_a_dead_model_left_is_removed(context, cluster, modules):
    ref = modules["kube"].Ref
    for model, name in (("ghost", "dead"), ("other", "alive")):
        labels = {"charmed-mlops.io/model": model, "app.kubernetes.io/managed-by": "b"}
        for api, kind in (KINDS[3], KINDS[1]):
            body = thing(api, kind, name)
            body["metadata"]["labels"] = labels
            cluster.apply(ref(api, kind, "", name), body, "test")
    run(context, context.on.update_status())
    kinds = ("ValidatingWebhookConfiguration", "ClusterRole")
    assert names(cluster) == {f"{kind}/alive" for kind in kinds}


@pytest.mark.engine
def test_the_guard_protects_the_units_of_those_that_are_related(context, cluster, modules):
    """And of nobody else: an upstream controller may call its pods as it likes."""

    def protected() -> set[str]:
        policies = cluster.list(modules["guard"].API, modules["guard"].POLICY)
        (model,) = (each for each in policies if each["metadata"]["name"].endswith(".model"))
        rule = "no pod may carry the labels by which Juju finds its units"
        (found,) = (each for each in model["spec"]["validations"] if each["message"] == rule)
        return set(re.findall(r'"([^"]+)"', found["expression"]))

    settings = thing("v1", "ConfigMap", "cups-settings")
    run(context, context.on.start(), relate(ALL), relate([settings], "cups"))
    assert protected() == {"resource-broker", "maker", "cups"}
    run(context, context.on.start(), relate(ALL))
    assert protected() == {"resource-broker", "maker"}


@pytest.mark.engine
def test_the_labels_of_juju_s_webhook_are_no_change_to_put_right(
    context, cluster, modules, hooked, monkeypatch
):
    monkeypatch.setattr(modules["kube"].Cluster, "connect", lambda: hooked)

    def found() -> dict[str, Any]:
        mark = modules["inventory"].APPLICATION
        ours = [item for kind in KINDS for item in cluster.list(*kind, mark)]
        return {f"{item['kind']} {item['metadata']['name']}": item["metadata"] for item in ours}

    relation = relate(ALL)
    out = run(context, context.on.start(), relation)
    assert answer(out, relation)["problems"] == []
    before = found()
    labels = {name: meta["labels"].get("app.juju.is/created-by") for name, meta in before.items()}
    assert {"Pot default", "ConfigMap maker-settings", "ClusterRole shop-maker"} < set(labels)
    assert set(labels.values()) == {"resource-broker"}
    run(context, context.on.update_status(), *out.relations)
    versions = {name: meta["resourceVersion"] for name, meta in before.items()}
    assert {name: meta["resourceVersion"] for name, meta in found().items()} == versions


@pytest.mark.engine
def test_what_is_applied_and_the_guard_carry_the_model_s_uuid(context, cluster, modules):
    mark, guard = modules["inventory"].MODEL_UUID, modules["guard"]

    def uuids() -> set[str]:
        kinds = [KINDS[1], (guard.API, guard.POLICY), (guard.API, guard.BINDING)]
        found = [item for kind in kinds for item in cluster.list(*kind, mark)]
        return {item["metadata"]["labels"][mark] for item in found}

    for uuid in ("1" * 32, "2" * 32):  # a later model of the same name takes all of it over
        model = testing.Model("shop", uuid=uuid)
        run(context, context.on.update_status(), relate([DEFINITION, ROLE]), model=model)
        run(context, context.on.action("reapply"), relate([DEFINITION, ROLE]), model=model)
        assert uuids() == {uuid}


@pytest.mark.engine
def test_what_an_earlier_model_of_the_same_name_left_is_removed(context, cluster, modules):
    removal, inventory = modules["removal"], modules["inventory"]
    shop = modules["kube"].Ref("v1", "Namespace", "", "shop")
    cluster.merge(shop, {"metadata": {"labels": {removal.JUJU_MODEL: "now"}}})
    for name, uuid in (("earlier", "then"), ("present", "now")):
        body = thing(RBAC, "ClusterRole", name)
        body["metadata"]["labels"] = {
            inventory.MODEL: "shop", inventory.MANAGED_BY: "b", inventory.MODEL_UUID: uuid
        }  # fmt: skip
        cluster.apply(modules["kube"].Ref(RBAC, "ClusterRole", "", name), body, "test")
    run(context, context.on.update_status(), model=testing.Model("shop", uuid="now"))
    assert names(cluster) == {"ClusterRole/present"}


@pytest.mark.engine
def test_a_role_of_a_binding_can_change(context, cluster):
    run(context, context.on.update_status(), relate([DEFINITION, ROLE, BINDING]))
    other = {**ROLE, "metadata": {"name": "shop-other"}}
    moved = {**BINDING, "roleRef": {**BINDING["roleRef"], "name": "shop-other"}}
    relation = relate([DEFINITION, other, moved])
    out = run(context, context.on.update_status(), relation)
    assert answer(out, relation)["problems"] == []


@pytest.mark.engine
def test_a_settled_request_is_not_looked_at_again(context, cluster, modules, monkeypatch):
    relation = relate(ALL)
    out = run(context, context.on.update_status(), relation)
    calls: list[str] = []
    call = modules["kube"].Cluster._call

    def counted(self: Any, method: str, path: str, **request: Any) -> Any:
        calls.append(method)
        return call(self, method, path, **request)

    monkeypatch.setattr(modules["kube"].Cluster, "_call", counted)
    run(context, context.on.config_changed(), out.get_relation(relation.id))
    assert set(calls) == {"GET"}
    assert len(calls) <= 6
