"""Definitions of custom resources outlive the model, as Juju would delete what users made."""

from __future__ import annotations

from typing import Any

import pytest

POTS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "pots.tea.example.com"},
}
SETTINGS = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}}
PERSISTENT = {"juju-resource-lifecycle": "persistent"}


class Written:
    """The API server, as far as it takes objects."""

    def __init__(self) -> None:
        self.labels: dict[str, dict[str, str]] = {}

    def apply(self, ref: Any, body: dict[str, Any], _: str) -> dict[str, Any]:
        self.merge(ref, body)
        return body

    def merge(self, ref: Any, body: dict[str, Any]) -> None:
        self.labels[ref.name] = body["metadata"]["labels"]


@pytest.fixture
def book(modules: dict[str, Any]) -> Any:
    return modules["inventory"].Book(Written(), "resource-broker", "shop", ["maker"])


def test_a_definition_is_applied_so_that_juju_leaves_it_and_another_object_is_not(modules, book):
    cluster, inventory = Written(), modules["inventory"].Inventory("maker")
    for body, namespace in ((POTS, ""), (SETTINGS, "shop")):
        name = body["metadata"]["name"]
        ref = modules["kube"].Ref(body["apiVersion"], body["kind"], namespace, name)
        assert modules["apply"]._apply_one(cluster, book, inventory, ref, body, ()) is None
    assert PERSISTENT.items() <= cluster.labels["pots.tea.example.com"].items()
    assert not PERSISTENT.keys() & cluster.labels["settings"].keys()


def test_one_of_an_earlier_revision_is_marked_when_it_is_kept(modules, book):
    cluster = Written()
    name = POTS["metadata"]["name"]
    ref = modules["kube"].Ref(POTS["apiVersion"], POTS["kind"], "", name)
    modules["removal"]._keep(cluster, book, "maker", ref)
    assert PERSISTENT.items() <= cluster.labels[name].items()
