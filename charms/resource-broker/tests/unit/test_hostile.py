"""Whatever an application writes into its databag, nothing raises and nobody else is touched."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import ops
import pytest
import yaml
from ops import testing

from charmed_mlops.interfaces.manifests import (
    APPLICATION_KEY,
    CONTENT_KEY,
    SECRET_FIELD,
    InvalidManifests,
    digest,
    pack,
    unpack,
)

HERE = Path(__file__).parent
META = yaml.safe_load((HERE.parents[1] / "charmcraft.yaml").read_text())
sys.path.insert(0, str(HERE.parents[1] / "src"))
from policy import Policy  # pyright: ignore[reportMissingImports] # noqa: E402

hypothesis = pytest.importorskip("hypothesis")
st = pytest.importorskip("hypothesis.strategies")

KINDS = [
    ("v1", "ConfigMap"), ("v1", "Secret"), ("v1", "Service"), ("v1", "ServiceAccount"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"),
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
    ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration"),
]  # fmt: skip
FIELDS = [
    "rules", "webhooks", "spec", "roleRef", "subjects", "metadata", "labels", "name", "namespace",
    "aggregationRule", "clusterRoleSelectors", "matchLabels", "verbs", "resources", "apiGroups",
    "clientConfig", "service", "group", "names", "kind", "plural", "scope", "versions", "selector",
    "podSelector", "conversion", "webhook", "type", "objectSelector", "matchExpressions",
]  # fmt: skip
WORDS = ["*", "", "get", "pods", "m", "maker", "$(tenant)", "Cluster", "tea.example.com", "x"]
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(WORDS)
)
JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(FIELDS) | st.text(), inner, max_size=5)
    ),
    max_leaves=25,
)
OBJECTS = st.builds(
    lambda identity, metadata, rest: {
        **rest, "apiVersion": identity[0], "kind": identity[1], "metadata": metadata,
    },
    st.sampled_from(KINDS),
    st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=3).map(lambda d: {"name": "x", **d}),
    st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=5),
)  # fmt: skip
QUICK = hypothesis.settings(max_examples=2000, deadline=None, derandomize=True)


@QUICK
@hypothesis.given(JSON | st.lists(OBJECTS | JSON, max_size=4))
def test_no_json_in_a_request_raises(content: Any):
    """It is refused as malformed, or the policy speaks about it."""
    try:
        manifests = unpack(json.dumps(content) if isinstance(content, list) else pack([content]))
    except InvalidManifests:
        return
    for manifest, refusal in Policy("maker", "m").check(manifests, manifests):
        assert isinstance(manifest, dict)
        assert refusal.reason


@hypothesis.settings(max_examples=300, deadline=None)
@hypothesis.given(st.text())
def test_no_text_in_a_request_raises(text: str):
    try:
        unpack(text)
    except InvalidManifests:
        return


WATCHER = testing.Container("watcher")
CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "good"}}


@pytest.mark.engine
@pytest.mark.parametrize(
    "data",
    [
        {"hash": "not json", "manifests": "["},
        {"hash": "[1]", "manifests": '"x"'},
        {"hash": '"x"', "manifests": '["a"]'},
        {"hash": '"x"', "manifests": '"nonsense"'},
        {"hash": '"x"', "manifests": json.dumps("[" * 100_000)},
        {"hash": '"x"', "manifests": '"[]"', "version": "99"},
        {"hash": '"x"', "manifests": '"[]"', "version": '"one"'},
        {"hash": '"x"', "manifests": '"[]"', "tenants": '"{"'},
        {"hash": "[" * 100_000, "manifests": '"[]"'},
    ],
)
def test_a_hostile_application_harms_no_other(context, cluster, data):
    bad = testing.Relation("manifests", remote_app_name="evil", remote_app_data=data)
    content = {"manifests": pack([CONFIG_MAP]), "hash": digest([CONFIG_MAP])}
    given = {key: json.dumps(value) for key, value in content.items()}
    good = testing.Relation("manifests", remote_app_name="maker", remote_app_data=given)
    state = testing.State(
        leader=True, model=testing.Model("shop"), relations=[bad, good], containers=[WATCHER]
    )
    out = context.run(context.on.update_status(), state)
    assert out.unit_status == ops.ActiveStatus()
    answers = {
        each.remote_app_name: json.loads(each.local_app_data["problems"])  # type: ignore
        for each in out.relations
    }
    assert answers["maker"] == []
    assert [problem["outcome"] for problem in answers["evil"]] == ["refused"]


@pytest.mark.engine
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({APPLICATION_KEY: "mariadb", CONTENT_KEY: "{}"}, "is not maker's"),
        ({CONTENT_KEY: "{}"}, "is not maker's"),
        ({APPLICATION_KEY: "maker", CONTENT_KEY: "[1]"}, "holds no map of texts"),
        ({APPLICATION_KEY: "maker", CONTENT_KEY: '{"a": 1}'}, "holds no map of texts"),
        ({APPLICATION_KEY: "maker", CONTENT_KEY: "nonsense"}, "malformed"),
    ],
)
def test_another_s_secret_is_not_handed_out(context, cluster, content, reason):
    secret = testing.Secret(content)
    manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "k"}}
    manifests = [{**manifest, SECRET_FIELD: secret.id}]
    request = {"manifests": pack(manifests), "hash": "x"}
    given = {key: json.dumps(value) for key, value in request.items()}
    relation = testing.Relation("manifests", remote_app_name="maker", remote_app_data=given)
    state = testing.State(
        leader=True,
        model=testing.Model("shop"),
        relations=[relation],
        secrets=[secret],
        containers=[WATCHER],
    )
    out = context.run(context.on.update_status(), state)
    (problem,) = json.loads(out.get_relation(relation.id).local_app_data["problems"])
    assert problem["outcome"] == "refused"
    assert reason in problem["reason"]
