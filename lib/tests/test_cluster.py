"""Declaring cluster objects: every answer of the broker becomes a status."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import textwrap
import typing

import ops
import pytest
from ops import testing

from charmed_mlops import ClusterResources, ServiceCharm
from charmed_mlops.interfaces.manifests import (
    APPLICATION_KEY,
    SECRET_FIELD,
    TENANT,
    VERSION,
    unpack,
)

MODEL = testing.Model("shop")
META = {
    "name": "maker",
    "requires": {"manifests": {"interface": "cluster_resources", "limit": 1}},
}
TEMPLATE = """
apiVersion: v1
kind: ConfigMap
metadata: {name: "{{ app }}", namespace: "{{ namespace }}"}
data: {color: "{{ color }}"}
---
apiVersion: v1
kind: Secret
metadata: {name: key}
stringData: {password: "{{ color }}-sesame"}
"""


class Maker(ServiceCharm):
    """Declares a ConfigMap and a Secret."""

    color = "green"

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container=None)
        self.cluster = ClusterResources(self)

    def reconcile(self) -> None:
        self.cluster.apply(color=self.color)


@pytest.fixture
def context(tmp_path: pathlib.Path) -> testing.Context[Maker]:
    folder = tmp_path / "src" / "manifests"
    folder.mkdir(parents=True)
    (folder / "objects.yaml.j2").write_text(TEMPLATE)
    return testing.Context(Maker, meta=META, charm_root=tmp_path)


def relate(**answer) -> testing.Relation:
    data = {key: json.dumps(value) for key, value in answer.items()}
    return testing.Relation("manifests", remote_app_name="broker", remote_app_data=data)


def run(context: testing.Context[Maker], relation: testing.Relation, **state) -> testing.State:
    given = testing.State(**{"leader": True, "relations": [relation], "model": MODEL, **state})
    return context.run(context.on.relation_changed(relation), given)


def asked(out: testing.State, relation: testing.Relation) -> dict:
    data = out.get_relation(relation.id).local_app_data
    return {key: json.loads(value) for key, value in data.items()}


def test_without_a_broker_it_is_blocked_and_says_how_to_go_on(context):
    out = context.run(context.on.start(), testing.State(leader=True))
    assert out.unit_status == ops.BlockedStatus(
        "missing relation manifests: juju integrate maker:manifests resource-broker"
    )


def test_the_leader_asks_and_waits(context):
    relation = relate()
    out = run(context, relation)
    assert out.unit_status == ops.WaitingStatus("waiting for broker to apply the cluster objects")
    request = asked(out, relation)
    network, config_map, secret = unpack(request["manifests"])
    assert (network["kind"], network["metadata"]) == ("NetworkPolicy", {"name": "maker"})
    assert config_map["data"] == {"color": "green"}
    assert request["version"] == VERSION
    (kept,) = out.secrets
    assert secret == {**secret, SECRET_FIELD: kept.id}
    assert "sesame" not in json.dumps(unpack(request["manifests"]))
    assert kept.latest_content[APPLICATION_KEY] == "maker"
    assert json.loads(kept.latest_content["content"]) == {"password": "green-sesame"}
    assert kept.remote_grants == {relation.id: {"broker"}}


@pytest.mark.parametrize(
    ("problems", "status"),
    [
        ([], ops.ActiveStatus()),
        (
            [{"object": "Role/x", "reason": "no *", "outcome": "refused"}],
            ops.BlockedStatus("broker refuses Role/x: no *"),
        ),
        (
            [{"object": "Role/x", "reason": "timeout", "outcome": "failed"}],
            ops.WaitingStatus("waiting for Role/x: timeout"),
        ),
        (
            [{"object": "Thing/x", "reason": "failed calling webhook", "outcome": "deferred"}],
            ops.ActiveStatus(),
        ),
    ],
)
@pytest.mark.parametrize("leader", [True, False])
def test_an_answer_becomes_a_status(context, problems, status, leader):
    relation = relate()
    first = run(context, relation)
    answered = relate(hash=asked(first, relation)["hash"], problems=problems)
    out = run(context, answered, leader=leader)
    assert out.unit_status == status
    assert bool(asked(out, answered)) is leader


def test_an_answer_to_an_older_request_does_not_count(context, monkeypatch):
    relation = relate()
    first = run(context, relation)
    monkeypatch.setattr(Maker, "color", "red")
    answered = relate(hash=asked(first, relation)["hash"], problems=[])
    out = run(context, answered, secrets=first.secrets)
    assert isinstance(out.unit_status, ops.WaitingStatus)
    assert asked(out, answered)["hash"] != asked(first, relation)["hash"]


def test_a_follower_takes_an_answer_to_another_revision_and_waits_without_any(context):
    """While an application is refreshed its units differ: a new follower has to serve too."""
    answered = relate(hash="of another revision", problems=[])
    assert run(context, answered, leader=False).unit_status == ops.ActiveStatus()
    assert isinstance(run(context, relate(), leader=False).unit_status, ops.WaitingStatus)


def test_objects_for_tenants_travel_beside_the_others(context, tmp_path):
    folder = tmp_path / "src" / "manifests" / "tenants"
    folder.mkdir()
    text = """
        apiVersion: v1
        kind: Secret
        metadata: {name: key, namespace: $(tenant)}
        stringData: {password: sesame}
    """
    (folder / "key.yaml.j2").write_text(textwrap.dedent(text))
    relation = relate()
    out = run(context, relation)
    request = asked(out, relation)
    (secret,) = unpack(request["tenants"])
    assert secret["metadata"]["namespace"] == TENANT
    assert len({each.id for each in out.secrets} & {secret[SECRET_FIELD]}) == 1
    assert len(list(out.secrets)) == 2
    answered = relate(hash=request["hash"], problems=[], tenants=["alice", "bob"])
    with context(context.on.update_status(), testing.State(relations=[answered])) as manager:
        assert manager.charm.cluster.tenants == ["alice", "bob"]


def test_who_has_templates_for_tenants_is_told_their_names_even_without_an_object(
    context, tmp_path
):
    relation = relate()
    assert asked(run(context, relation), relation)["tenants"] is None
    folder = tmp_path / "src" / "manifests" / "tenants"
    folder.mkdir()
    (folder / "none.yaml.j2").write_text("")
    relation = relate()
    assert unpack(asked(run(context, relation), relation)["tenants"]) == []


@pytest.mark.parametrize(
    "answer, known",
    [
        ({}, False),
        ({"hash": "x", "problems": [{"reason": "no API server"}], "tenants": []}, False),
        ({"hash": "x", "problems": [{"reason": "no"}], "tenants": ["alice"]}, True),
        ({"hash": "x", "problems": [], "tenants": []}, True),
    ],
)
def test_a_broker_that_could_not_ask_says_of_no_tenant_that_it_has_gone(context, answer, known):
    state = testing.State(relations=[relate(**answer)])
    with context(context.on.update_status(), state) as manager:
        assert manager.charm.cluster.gone_known is known


def test_the_juju_secret_of_a_secret_that_is_no_longer_declared_goes(context, tmp_path):
    relation = relate()
    first = run(context, relation)
    file = tmp_path / "src" / "manifests" / "objects.yaml.j2"
    file.write_text(TEMPLATE.split("---")[0])
    data = first.get_relation(relation.id).local_app_data
    kept = testing.Relation("manifests", remote_app_name="broker", local_app_data=data)
    assert not list(run(context, kept, secrets=first.secrets).secrets)


def test_a_secret_with_data_is_an_error_of_the_charm(context, tmp_path):
    file = tmp_path / "src" / "manifests" / "objects.yaml.j2"
    file.write_text(TEMPLATE.replace("stringData", "data"))
    with pytest.raises(testing.errors.UncaughtCharmError, match="write its content as stringData"):
        run(context, relate())


class Counted(str):
    """A color that counts how often a template prints it."""

    printed = 0

    def __str__(self) -> str:
        Counted.printed += 1
        return super().__str__()


def again(context: testing.Context[Maker], out: testing.State) -> testing.State:
    return context.run(context.on.update_status(), out)


@pytest.fixture
def rendered(context, monkeypatch) -> testing.State:
    """The state after a first request, from a color that is counted."""
    monkeypatch.setattr(Maker, "color", Counted("green"))
    monkeypatch.setattr(Counted, "printed", 0)
    out = run(context, relate())
    assert Counted.printed > 0
    return out


def hashes(out: testing.State) -> str:
    (relation,) = out.relations
    return asked(out, typing.cast(testing.Relation, relation))["hash"]


def test_what_was_rendered_from_the_same_is_not_rendered_again(context, rendered):
    before = Counted.printed
    out = again(context, rendered)
    assert Counted.printed == before
    assert (out.relations, out.secrets) == (rendered.relations, rendered.secrets)


def test_a_new_pod_of_the_leader_renders_nothing_either(rendered, tmp_path):
    before = Counted.printed
    again(testing.Context(Maker, meta=META, charm_root=tmp_path), rendered)
    assert Counted.printed == before


@pytest.mark.parametrize("place", ["src/manifests/objects.yaml.j2", "src/charm.py"])
def test_new_templates_and_new_code_render_again(context, rendered, tmp_path, place):
    text = TEMPLATE.replace("-sesame", "-open") if place.endswith(".j2") else "# a new revision"
    (tmp_path / place).write_text(text)
    before = Counted.printed
    again(context, rendered)
    assert Counted.printed > before


def test_what_a_refresh_leaves_equal_is_remembered_for_the_new_code(context, rendered, tmp_path):
    (tmp_path / "src" / "charm.py").write_text("# a new revision")
    out = again(context, rendered)
    before = Counted.printed
    again(context, out)
    assert Counted.printed == before


def test_what_apply_is_given_renders_again_when_it_differs(context, rendered, monkeypatch):
    monkeypatch.setattr(Maker, "color", Counted("red"))
    assert hashes(again(context, rendered)) != hashes(rendered)


def test_who_reaches_it_is_asked_for_anew_when_a_client_comes(tmp_path, rendered):
    meta = {**META, "provides": {"service": {"interface": "service_address"}}}
    context = testing.Context(Maker, meta=meta, charm_root=tmp_path)
    client = testing.Relation("service", remote_app_name="ui")
    out = again(context, dataclasses.replace(rendered, relations=[*rendered.relations, client]))
    asking = out.get_relation(next(iter(rendered.relations)).id)
    network = unpack(asked(out, typing.cast(testing.Relation, asking))["manifests"])[0]
    (rule,) = network["spec"]["ingress"]
    assert rule == {"from": [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "ui"}}}]}


def test_a_request_of_an_older_library_is_rendered_once_and_kept(context, rendered):
    (relation,) = rendered.relations
    older = dataclasses.replace(
        relation, local_app_data={**relation.local_app_data, "inputs": '""'}
    )
    out = again(context, dataclasses.replace(rendered, relations=[older]))
    assert hashes(out) == hashes(rendered)
    before = Counted.printed
    again(context, out)
    assert Counted.printed == before


def test_a_value_that_cannot_be_compared_is_rendered_each_time(context, rendered, monkeypatch):
    class Opaque:
        text = "green"

        def __str__(self) -> str:
            return self.text

    monkeypatch.setattr(Maker, "color", Opaque())
    out = again(context, rendered)
    monkeypatch.setattr(Opaque, "text", "red")
    assert hashes(again(context, out)) != hashes(out)


def test_what_has_no_form_in_json_is_rendered_each_time(context, monkeypatch):
    class Login:
        def __init__(self, password: str):
            self.password = password

        def __str__(self) -> str:
            return self.password

    monkeypatch.setattr(Maker, "color", Login("one"))
    out = run(context, relate())
    monkeypatch.setattr(Maker, "color", Login("two"))
    assert hashes(again(context, out)) != hashes(out)
