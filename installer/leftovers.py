"""What a model that is gone has left in the cluster, and its removal: `./mlops doctor --fix`.

Juju's `destroy-model --force` does not wait for the hooks that would remove the cluster objects of
resource-broker. Webhooks that nobody answers then refuse what they were asked about, and roles go
on giving rights. The next broker of any model removes them; this does it where there is none.

Only what carries the broker's labels counts, and only when its model's namespace is not there, or
is that of a later model of the same name. The labels are those of the broker's inventory.py; a
test compares them. The installer cannot import them: it runs without the charms' library, and a
packed charm has no installer.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from installer import kubectl, target
from localkube.host.errors import EngineError

MODEL = "charmed-mlops.io/model"
MODEL_UUID = "charmed-mlops.io/model-uuid"
MANAGED_BY = "app.kubernetes.io/managed-by"
JUJU_MODEL = "model.juju.is/id"
_ADMISSION, _ROLES = "admissionregistration.k8s.io", "rbac.authorization.k8s.io"
# In the order of removal: what refuses requests, what gives rights, what those refer to.
_RESOURCES = {
    "ValidatingWebhookConfiguration": f"validatingwebhookconfigurations.{_ADMISSION}",
    "MutatingWebhookConfiguration": f"mutatingwebhookconfigurations.{_ADMISSION}",
    "ValidatingAdmissionPolicyBinding": f"validatingadmissionpolicybindings.{_ADMISSION}",
    "ValidatingAdmissionPolicy": f"validatingadmissionpolicies.{_ADMISSION}",
    "ClusterRoleBinding": f"clusterrolebindings.{_ROLES}",
    "RoleBinding": f"rolebindings.{_ROLES}",
    "ClusterRole": f"clusterroles.{_ROLES}",
    "Role": f"roles.{_ROLES}",
    "CustomResourceDefinition": "customresourcedefinitions.apiextensions.k8s.io",
}


@dataclass(frozen=True)
class Leftover:
    """One object of a model that is gone.

    Attributes:
        kind: its kind.
        namespace: "" for an object of the whole cluster.
        name: its name.
        uid: tells it from a later object of that name.
        model: whose it was.
        kept: why it has to stay; "" when it may go.
    """

    kind: str
    namespace: str
    name: str
    uid: str
    model: str
    kept: str = ""

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}" + (f" in {self.namespace}" if self.namespace else "")


def find(on: target.Target) -> list[Leftover]:
    """The leftovers, in the order of removal.

    Raises:
        EngineError: the cluster does not answer.
    """
    items = _get(on, ",".join(_RESOURCES.values()), f"{MODEL},{MANAGED_BY}")
    namespaces = {  # after the objects: a model made meanwhile must not look gone
        item["metadata"]["name"]: _labels(item).get(JUJU_MODEL, "")
        for item in _get(on, "namespaces")
    }
    found = [
        _kept(on, item, _leftover(item)) for item in items if _is_gone(_labels(item), namespaces)
    ]
    order = list(_RESOURCES)
    return sorted(found, key=lambda each: (order.index(each.kind), each.namespace, each.name))


def by_model(found: Iterable[Leftover]) -> dict[str, list[Leftover]]:
    """Leftovers of each model."""
    models: dict[str, list[Leftover]] = {}
    for each in found:
        models.setdefault(each.model, []).append(each)
    return dict(sorted(models.items()))


def summary(model: str, found: Sequence[Leftover]) -> str:
    """One line for one model's leftovers."""
    going = [each for each in found if not each.kept]
    text = f"{len(found)} objects of model {model}, which is gone"
    if len(found) == 1:
        text = f"1 object of model {model}, which is gone"
    if going:
        listed = ", ".join(map(str, going[:3])) + (", …" if going[3:] else "")
        text += f" ({listed}): ./mlops doctor --fix removes {'it' if len(found) == 1 else 'them'}"
    kept = [f"{each} stays: {each.kept}" for each in found if each.kept]
    return "; ".join([text, *kept])


def fix(on: target.Target, *, ask: bool) -> None:
    """Remove the leftovers that may go; say what stays.

    Raises:
        EngineError: the cluster does not answer, or nobody is there to be asked.
    """
    found = find(on)
    for each in found:
        if each.kept:
            _say(f"stays: {each}: {each.kept}")
        else:
            _say(f"to remove: {each}, of model {each.model}")
    going = {each.uid for each in found if not each.kept}
    if not going:
        _say("nothing to remove")
        return
    if ask and not _agreed(len(going)):
        _say("nothing is removed")
        return
    # again, as time has passed: a new broker may have made one its own
    for each in find(on):
        if each.uid in going and not each.kept:
            _delete(on, each)
            _say(f"removed: {each}")


def _agreed(count: int) -> bool:
    if not sys.stdin.isatty():
        raise EngineError("nobody is here to be asked: add --yes to remove these")
    print(f"Remove {count}? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # standard output is the table's, or JSON


def _delete(on: target.Target, each: Leftover) -> None:
    where = ["--namespace", each.namespace] if each.namespace else []
    kubectl.output(
        "delete", _RESOURCES[each.kind], each.name, *where, "--ignore-not-found", "--wait=false",
        on=on,
    )  # fmt: skip


def _get(on: target.Target, resources: str, selector: str = "") -> list[Mapping[str, Any]]:
    chosen = ["--selector", selector] if selector else []
    text = kubectl.output(
        "get", resources, "--all-namespaces", *chosen, "-o", "json", "--request-timeout=30s", on=on
    )
    return json.loads(text)["items"]


def _labels(item: Mapping[str, Any]) -> Mapping[str, str]:
    return item["metadata"].get("labels") or {}


def _is_gone(labels: Mapping[str, str], namespaces: Mapping[str, str]) -> bool:
    if labels[MODEL] not in namespaces:
        return True
    then, now = labels.get(MODEL_UUID), namespaces[labels[MODEL]]
    return bool(then and now) and then != now


def _leftover(item: Mapping[str, Any]) -> Leftover:
    metadata = item["metadata"]
    return Leftover(
        kind=item["kind"],
        namespace=metadata.get("namespace", ""),
        name=metadata["name"],
        uid=metadata["uid"],
        model=_labels(item)[MODEL],
    )


def _kept(on: target.Target, item: Mapping[str, Any], found: Leftover) -> Leftover:
    """A definition stays while there is a custom resource of it, or that cannot be told."""
    if found.kind != "CustomResourceDefinition":
        return found
    spec = item["spec"]
    version = next((each["name"] for each in spec["versions"] if each["served"]), None)
    if version is None:
        return replace(found, kept="no version of it is served, so nobody can look")
    path = f"/apis/{spec['group']}/{version}/{spec['names']['plural']}?limit=1"
    try:
        answer = json.loads(kubectl.output("get", "--raw", path, on=on))
    except EngineError as error:
        return replace(found, kept=f"its custom resources cannot be listed ({error})")
    if not answer["items"]:
        return found
    more = answer["metadata"].get("remainingItemCount") or 0
    return replace(found, kept=f"custom resources of it are left: {len(answer['items']) + more}")
