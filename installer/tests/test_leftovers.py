"""What a model that was destroyed by force left behind: `doctor` lists it, `--fix` removes it."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from installer import doctor, kubectl, leftovers, target
from installer.pack import ROOT
from localkube.host import paths
from localkube.host.errors import EngineError

LOCAL = target.Target("local")
RBAC = "rbac.authorization.k8s.io/v1"
ADMISSION = "admissionregistration.k8s.io/v1"
CRD = "CustomResourceDefinition"
WEBHOOK = {
    "name": "pots.tea.example.com",
    "admissionReviewVersions": ["v1"],
    "sideEffects": "None",
    "failurePolicy": "Fail",
    "clientConfig": {"service": {"name": "maker", "namespace": "ghost"}},
    "rules": [
        {
            "apiGroups": ["tea.example.com"],
            "apiVersions": ["v1"],
            "operations": ["CREATE"],
            "resources": ["pots"],
        }
    ],
}


def marked(api: str, kind: str, name: str, model: str = "ghost", **rest: Any) -> dict[str, Any]:
    """An object with the broker's marks."""
    labels = {
        leftovers.MODEL: model,
        leftovers.MANAGED_BY: "resource-broker",
        **rest.pop("labels", {}),
    }
    metadata = {"name": name, "labels": labels, **rest.pop("metadata", {})}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **rest}


def webhook(name: str = "pots", **rest: Any) -> dict[str, Any]:
    kind = "ValidatingWebhookConfiguration"
    return marked(ADMISSION, kind, name, webhooks=[WEBHOOK], **rest)


def role(name: str = "maker", **rest: Any) -> dict[str, Any]:
    return marked(RBAC, "ClusterRole", name, rules=[], **rest)


def binding(name: str = "maker", **rest: Any) -> dict[str, Any]:
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "maker"}
    return marked(RBAC, "ClusterRoleBinding", name, roleRef=ref, subjects=[], **rest)


def definition(plural: str = "pots", **rest: Any) -> dict[str, Any]:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True}
    version["schema"] = {"openAPIV3Schema": schema}
    spec = {
        "group": "tea.example.com",
        "names": {"kind": plural[:-1].title(), "plural": plural},
        "scope": "Cluster",
        "versions": [version],
    }
    return marked("apiextensions.k8s.io/v1", CRD, f"{plural}.tea.example.com", spec=spec, **rest)


def namespace(name: str, uuid: str = "") -> dict[str, Any]:
    labels = {leftovers.JUJU_MODEL: uuid} if uuid else {}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": labels},
    }


class Cluster:
    """The API server, by kubectl; it removes what was made."""

    def __init__(self) -> None:
        self._made: list[dict[str, Any]] = []

    def put(self, *objects: dict[str, Any]) -> None:
        for each in objects:
            self._run(["apply", "-f", "-"], each)
            self._made.append(each)

    def names(self) -> set[str]:
        """`Kind/name` of what was made and is still there."""
        return {
            f"{each['kind']}/{each['metadata']['name']}"
            for each in self._made
            if kubectl.output(*_address("get", each), "-o", "name", "--ignore-not-found", on=LOCAL)
        }

    def clear(self) -> None:
        for each in reversed(self._made):
            kubectl.output(*_address("delete", each), "--ignore-not-found", on=LOCAL)

    @staticmethod
    def _run(arguments: list[str], document: dict[str, Any]) -> None:
        with kubectl.kubeconfig("default") as file:
            subprocess.run(
                [kubectl._program(), *arguments],
                env={**os.environ, "KUBECONFIG": str(file)},
                input=json.dumps(document),
                text=True,
                check=True,
                capture_output=True,
            )


def _address(verb: str, each: dict[str, Any]) -> list[str]:
    return [verb, each["kind"], each["metadata"]["name"]]


@pytest.fixture
def cluster(engine: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setenv("CHARMED_MLOPS_STATE", str(engine))
    found = Cluster()
    yield found
    found.clear()


def test_the_broker_and_the_installer_know_the_same_marks():
    source = (ROOT / "charms/resource-broker/src/inventory.py").read_text()
    written = {
        node.targets[0].id: node.value.value
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
    }
    for name in ("MODEL", "MODEL_UUID", "MANAGED_BY"):
        assert getattr(leftovers, name) == written[name]


def test_doctor_names_what_a_dead_model_left_and_removes_nothing(cluster: Cluster):
    cluster.put(webhook(), role(), binding())
    (finding,) = doctor.left_behind(LOCAL)
    assert finding.level == "warning"
    assert finding.text == (
        "3 objects of model ghost, which is gone (ValidatingWebhookConfiguration/pots, "
        "ClusterRoleBinding/maker, ClusterRole/maker): ./mlops doctor --fix removes them"
    )
    assert len(cluster.names()) == 3


def test_fix_removes_webhooks_bindings_roles_and_unused_definitions(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
):
    inner = marked(RBAC, "RoleBinding", "m", metadata={"namespace": "default"}, subjects=[])
    inner["roleRef"] = binding()["roleRef"]
    cluster.put(webhook(), role(), binding(), inner, definition())
    leftovers.fix(LOCAL, ask=False)
    assert cluster.names() == set()
    removed = [line for line in capsys.readouterr().err.splitlines() if line.startswith("removed")]
    assert removed[0] == "removed: ValidatingWebhookConfiguration/pots"
    assert removed[-1] == f"removed: {CRD}/pots.tea.example.com"
    assert "removed: RoleBinding/m in default" in removed


def test_a_definition_with_custom_resources_stays_and_is_told(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
):
    cluster.put(definition(), role())
    kubectl.output("wait", "--for=condition=Established", "crd/pots.tea.example.com", on=LOCAL)
    pot = {"apiVersion": "tea.example.com/v1", "kind": "Pot", "metadata": {"name": "mine"}}
    cluster.put(pot)
    leftovers.fix(LOCAL, ask=False)
    told = f"stays: {CRD}/pots.tea.example.com: custom resources of it are left: 1"
    assert told in capsys.readouterr().err.splitlines()
    assert cluster.names() == {f"{CRD}/pots.tea.example.com", "Pot/mine"}


def test_nothing_of_a_living_model_and_nothing_without_our_marks_goes(cluster: Cluster):
    living = role("alive", model="living", labels={leftovers.MODEL_UUID: "1"})
    older = role("no-uuid", model="living")  # by a broker that did not say the model's UUID
    foreign = role("foreign")
    del foreign["metadata"]["labels"][leftovers.MODEL]
    half = role("half")
    del half["metadata"]["labels"][leftovers.MANAGED_BY]
    cluster.put(namespace("living", uuid="1"), living, older, foreign, half)
    before = cluster.names()
    leftovers.fix(LOCAL, ask=False)
    assert cluster.names() == before
    assert [each.level for each in doctor.left_behind(LOCAL)] == ["ok"]


def test_a_later_model_of_the_same_name_is_another_model(cluster: Cluster):
    cluster.put(
        namespace("again", uuid="2"),
        role("old", model="again", labels={leftovers.MODEL_UUID: "1"}),
        role("new", model="again", labels={leftovers.MODEL_UUID: "2"}),
    )
    leftovers.fix(LOCAL, ask=False)
    assert cluster.names() == {"Namespace/again", "ClusterRole/new"}


def test_where_nobody_can_answer_fix_needs_yes(cluster: Cluster, monkeypatch: pytest.MonkeyPatch):
    cluster.put(role())
    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        with pytest.raises(EngineError, match="add --yes"):
            leftovers.fix(LOCAL, ask=True)
    assert cluster.names() == {"ClusterRole/maker"}


@pytest.mark.parametrize(("answer", "left"), [("n\n", {"ClusterRole/maker"}), ("y\n", set())])
def test_fix_asks_on_a_terminal(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, answer: str, left: set[str]
):
    cluster.put(role())
    master, slave = os.openpty()
    os.write(master, answer.encode())
    with os.fdopen(slave) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        leftovers.fix(LOCAL, ask=True)
    os.close(master)
    assert cluster.names() == left


def test_on_a_cluster_the_user_s_own_kubectl_is_used(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    cluster.put(role())
    programs = sorted(paths.cache().glob("builds/kubernetes-*"))[-1]
    (tmp_path / "kubectl").symlink_to(programs / "kubectl")
    with kubectl.kubeconfig("default") as file:
        monkeypatch.setenv("KUBECONFIG", str(file))
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        leftovers.fix(target.Target("juju"), ask=False)
    assert cluster.names() == set()


def test_without_an_engine_there_is_nothing_to_look_at(state: Path):
    assert doctor.left_behind(LOCAL) == []


def test_a_cluster_that_does_not_answer_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    (finding,) = doctor.left_behind(target.Target("juju"))
    assert finding.text.startswith("not looked at: kubectl is not on the PATH")
