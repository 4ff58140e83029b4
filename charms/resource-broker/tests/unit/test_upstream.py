"""The policy against what upstream's components ask for: allowed, or a listed exception."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "src"))
from policy import Policy, grants  # pyright: ignore[reportMissingImports] # noqa: E402

RBAC = "rbac.authorization.k8s.io/v1"
UPSTREAM = yaml.safe_load((HERE / "upstream.yaml").read_text())
EXCEPTIONS_TEXT = (HERE.parents[1] / "exceptions.yaml").read_text()
EXCEPTIONS = grants(EXCEPTIONS_TEXT)
NAMED = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"]


def rule(text: str, kinds: list[str]) -> dict[str, Any]:
    """A rule of upstream, with names for `*`: our charms always name what they need."""
    parts = [part.split() for part in text.split(":")]
    if parts[0][0] == "url":
        return {"nonResourceURLs": parts[0][1:], "verbs": parts[1]}
    groups = ["" if group == "core" else group for group in parts[0]]
    if groups == ["*"]:
        groups = ["", "apps"]
    resources = kinds if parts[1] == ["*"] else parts[1]
    verbs = NAMED if parts[2] == ["*"] else parts[2]
    names = {"resourceNames": parts[3]} if len(parts) > 3 else {}
    return {"apiGroups": groups, "resources": resources, "verbs": verbs, **names}


def manifests(name: str) -> list[dict[str, Any]]:
    """The component's objects, as a charm named like the component would declare them."""
    component = UPSTREAM[name]
    found: list[dict[str, Any]] = []
    for text in component["crds"]:
        kind, full, scope = text.split()
        plural, _, group = full.partition(".")
        spec = {
            "group": group,
            "scope": scope,
            "names": {"kind": kind, "plural": plural},
            "versions": [{"name": "v1", "storage": True}],
        }
        found.append(thing("apiextensions.k8s.io/v1", "CustomResourceDefinition", full, spec=spec))
    kinds = [text.split()[1].partition(".")[0] for text in component["crds"]] or [
        "virtualservices"
    ]
    account = {"kind": "ServiceAccount", "name": name, "namespace": "m"}
    for role in component["roles"]:
        found.append(thing(RBAC, role["kind"], role["name"]))
        found[-1]["metadata"]["labels"] = dict.fromkeys(role.get("labels", ()), "true")
        found[-1]["rules"] = [rule(text, kinds) for text in role["rules"]]
        if "collects" in role:
            selectors = [{"matchLabels": {label: "true"}} for label in role["collects"]]
            found[-1]["aggregationRule"] = {"clusterRoleSelectors": selectors}
        for scope in role.get("bound", ["model"]):
            bound = "ClusterRoleBinding" if scope == "cluster" else "RoleBinding"
            reference = {"kind": role["kind"], "name": role["name"]}
            found.append(thing(RBAC, bound, role["name"], roleRef=reference, subjects=[account]))
    for webhook in component["webhooks"]:
        client = {"service": {"name": name, "namespace": "m"}}
        hooks = thing(
            "admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", webhook["name"],
            webhooks=[{**webhook, "clientConfig": client}],
        )  # fmt: skip
        found.append(hooks)
    return found


def thing(api: str, kind: str, name: str, **rest: Any) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}, **rest}


def refused(name: str, granted=()) -> list[str]:
    checked = Policy(name, "m", granted).check(manifests(name))
    return [f"{each['kind']}/{each['metadata']['name']}: {why.reason}" for each, why in checked]


@pytest.mark.parametrize("name", UPSTREAM)
def test_a_component_s_own_roles_and_webhooks_pass_with_its_exceptions(name: str):
    assert refused(name, EXCEPTIONS.get(name, ())) == []


@pytest.mark.parametrize(
    ("name", "number"),
    [(name, number) for name, found in EXCEPTIONS.items() for number in range(len(found))],
)
def test_every_listed_exception_is_needed(name: str, number: int):
    rest = [grant for index, grant in enumerate(EXCEPTIONS[name]) if index != number]
    assert refused(name, rest)


def test_a_component_that_is_not_in_the_table_needs_no_exception():
    plain = set(UPSTREAM) - set(EXCEPTIONS)
    assert {"notebook-controller", "tensorboard-controller", "admission-webhook"} <= plain
    assert set(EXCEPTIONS) <= set(UPSTREAM)
