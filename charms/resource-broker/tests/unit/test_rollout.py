"""How Kubernetes is to replace the pods of refreshed applications, on a real API server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from ops import testing

from charmed_mlops.interfaces.manifests import digest, pack

JUJUS = {"app.kubernetes.io/managed-by": "juju"}
SETTINGS = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}}


class StatefulSets:
    """Those of namespace `shop`."""

    def __init__(self, cluster: Any, kube: Any):
        self._cluster, self._kube = cluster, kube

    def _ref(self, name: str) -> Any:
        return self._kube.Ref("apps/v1", "StatefulSet", "shop", name)

    def add(self, name: str, **labels: str) -> None:
        selector = {"app.kubernetes.io/name": name}
        container = {"name": "charm", "image": "charm"}
        spec = {
            "replicas": 3,
            "selector": {"matchLabels": selector},
            "template": {"metadata": {"labels": selector}, "spec": {"containers": [container]}},
        }
        body = {"apiVersion": "apps/v1", "kind": "StatefulSet", "spec": spec}
        metadata = {"name": name, "labels": labels}
        self._cluster.apply(self._ref(name), {**body, "metadata": metadata}, "juju")

    def seconds(self, name: str) -> int:
        return self._cluster.get(self._ref(name))["spec"].get("minReadySeconds", 0)

    def remove(self) -> None:
        for each in self._cluster.list("apps/v1", "StatefulSet", namespace="shop"):
            self._cluster.delete(self._ref(each["metadata"]["name"]))


@pytest.fixture
def sets(cluster: Any, modules: dict[str, Any]) -> Iterator[StatefulSets]:
    found = StatefulSets(cluster, modules["kube"])
    yield found
    found.remove()


def asks(application: str, *, serving: bool) -> testing.Relation:
    """The relation of one whose Service leads to pods that serve, or of another."""
    request = {"manifests": pack([SETTINGS]), "hash": digest([SETTINGS]), "serving": serving}
    data = {key: json.dumps(value) for key, value in request.items()}
    return testing.Relation("manifests", remote_app_name=application, remote_app_data=data)


def run(context: testing.Context, event: Any, *relations: testing.RelationBase) -> testing.State:
    model = testing.Model("shop", uuid="7d2e4f66-2d0c-4c0d-8a52-3e0f3c1b9a10")
    containers = [testing.Container("watcher")]
    return context.run(
        event,
        testing.State(leader=True, model=model, relations=relations, containers=containers),
    )


@pytest.mark.engine
def test_the_next_pod_waits_for_one_whose_readiness_says_that_it_serves(context, sets):
    for name in ("tea", "cups"):
        sets.add(name, **JUJUS)
    run(context, context.on.start(), asks("tea", serving=True), asks("cups", serving=False))
    assert (sets.seconds("tea"), sets.seconds("cups")) == (30, 0)


@pytest.mark.engine
def test_what_juju_has_not_made_is_left_alone(context, sets):
    sets.add("tea")
    run(context, context.on.start(), asks("tea", serving=True))
    assert sets.seconds("tea") == 0


@pytest.mark.engine
def test_one_that_is_made_anew_is_seen_to_at_the_next_update_status_and_not_before(context, sets):
    """A hook in which nothing has changed asks the cluster nothing."""
    sets.add("tea", **JUJUS)
    out = run(context, context.on.config_changed(), asks("tea", serving=True))
    assert sets.seconds("tea") == 30
    sets.remove()
    sets.add("tea", **JUJUS)
    out = run(context, context.on.config_changed(), *out.relations)
    assert sets.seconds("tea") == 0
    run(context, context.on.update_status(), *out.relations)
    assert sets.seconds("tea") == 30


class Hooked:
    """A StatefulSet in a model where Juju's webhook labels what an application changes."""

    def __init__(self, seconds: int = 0, **labels: str):
        self.metadata = {"name": "tea", "labels": {**JUJUS, **labels}}
        self.spec = {"minReadySeconds": seconds}
        self.writes = 0

    def list(self, *_: str) -> list[dict[str, Any]]:
        return [{"metadata": self.metadata, "spec": self.spec}]

    def merge(self, _: Any, patch: dict[str, Any]) -> None:
        self.writes += 1
        before = self.metadata["labels"]
        after = {**before, **patch["metadata"]["labels"]}
        after = {key: value for key, value in after.items() if value is not None}
        if not all("model.juju.is/disable-webhook" in labels for labels in (before, after)):
            after["app.juju.is/created-by"] = "resource-broker"
        self.metadata["labels"] = after
        self.spec |= patch.get("spec", {})

    @property
    def goes_with_the_broker(self) -> bool:
        return "app.juju.is/created-by" in self.metadata["labels"]


@pytest.mark.parametrize(
    "found",
    [
        Hooked(),
        # by an earlier revision, or a hook that was killed between two writes
        Hooked(30, **{"app.juju.is/created-by": "resource-broker"}),
    ],
)
def test_no_application_is_marked_as_made_by_the_broker_which_juju_would_remove_with_it(
    modules, found
):
    modules["rollout"].pace(found, "shop", {"tea"})
    assert (found.spec["minReadySeconds"], found.goes_with_the_broker) == (30, False)
    writes = found.writes
    modules["rollout"].pace(found, "shop", {"tea"})
    assert found.writes == writes


@pytest.mark.engine
@pytest.mark.parametrize("before", [{}, {"app.juju.is/created-by": "resource-broker"}])
def test_juju_s_webhook_marks_no_paced_application_as_the_broker_s(modules, sets, hooked, before):
    sets.add("tea", **JUJUS, **before)
    modules["rollout"].pace(hooked, "shop", {"tea"})
    found = hooked.get(modules["kube"].Ref("apps/v1", "StatefulSet", "shop", "tea"))
    assert found["spec"]["minReadySeconds"] == 30
    assert "app.juju.is/created-by" not in found["metadata"]["labels"]


@pytest.mark.engine
def test_whoever_only_changes_a_statefulset_has_it_marked_as_its_own(modules, sets, hooked):
    """What the broker has to undo."""
    sets.add("tea", **JUJUS)
    ref = modules["kube"].Ref("apps/v1", "StatefulSet", "shop", "tea")
    hooked.merge(ref, {"spec": {"minReadySeconds": 30}})
    labels = hooked.get(ref)["metadata"]["labels"]
    assert labels["app.juju.is/created-by"] == "resource-broker"
