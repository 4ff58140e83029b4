"""Profiles and the rights in them, through the Kubernetes API with the unit's own rights.

A contributor is what access management makes of one: a RoleBinding to a role of users with the
annotations `user` and `role`, and an AuthorizationPolicy of the same name.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Annotated, Any, Literal

import msgspec
import yaml

from charmed_mlops import ActionFailed, kubernetes
from charmed_mlops.conditions import conditions
from charmed_mlops.fields import Parsed
from charmed_mlops.results import as_text, listing

Role = Literal["admin", "edit", "view"]
PROFILES = "/apis/kubeflow.org/v1/profiles"
GROUP = "group:"
_BINDING_GROUP = "rbac.authorization.k8s.io"
# The first labels are how our other charms, and upstream's, know a tenant's namespace.
_LABELS = {
    "app.kubernetes.io/part-of": "kubeflow-profile",
    "katib.kubeflow.org/metrics-collector-injection": "enabled",
    "serving.kubeflow.org/inferenceservice": "enabled",
    "pipelines.kubeflow.org/enabled": "true",
}
_KEY = re.compile(r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?")
_VALUE = re.compile(r"([A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?)?")
# What a deletion is about; lists of kinds that the cluster lacks are empty.
_CONTENTS = {
    "persistentvolumeclaims": "/api/v1",
    "pods": "/api/v1",
    "notebooks": "/apis/kubeflow.org/v1",
    "experiments": "/apis/kubeflow.org/v1beta1",
    "inferenceservices": "/apis/serving.kserve.io/v1beta1",
    "trainjobs": "/apis/trainer.kubeflow.org/v1alpha1",
    "tensorboards": "/apis/tensorboard.kubeflow.org/v1alpha1",
    "workflows": "/apis/argoproj.io/v1alpha1",
}

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")]
User = Annotated[str, msgspec.Meta(pattern=r"^[^\s,'\"]{1,253}\Z")]
Amounts = dict[
    Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][\w./-]*\Z")],
    Annotated[str, msgspec.Meta(pattern=r"^\d+(\.\d+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?\Z")],
]


def _amounts(given: object) -> object:
    """A quota's YAML text as its map, numbers as text."""
    if isinstance(given, str):
        try:
            given = yaml.safe_load(given) or {}
        except yaml.YAMLError:
            raise ValueError("must be a YAML map such as {cpu: 8, memory: 16Gi}") from None
    if not isinstance(given, dict):
        raise ValueError("must be a YAML map such as {cpu: 8, memory: 16Gi}")
    return {str(key): str(value) for key, value in given.items()}


Hard = Annotated[Amounts, Parsed(_amounts)]


class Create(msgspec.Struct, kw_only=True):
    """A profile to be made."""

    name: Name
    owner: User
    quota: Hard = {}


class Delete(msgspec.Struct, kw_only=True):
    """A profile to be deleted."""

    name: Name
    confirm: bool = False


class Contributor(msgspec.Struct, kw_only=True):
    """Somebody in a profile."""

    profile: Name
    user: User


class Add(Contributor):
    """Somebody with a role in a profile."""

    role: Role = "edit"


class Quota(msgspec.Struct, kw_only=True):
    """A profile's quota."""

    profile: Name
    quota: Hard = {}


def labels(pod_security: str, text: str) -> str:
    """The controller's file of labels.

    Raises:
        ValueError: the text is no YAML map of labels.
    """
    try:
        more = yaml.safe_load(text or "{}")
    except yaml.YAMLError:
        raise ValueError("not YAML") from None
    if not isinstance(more, dict):
        raise ValueError("must be a YAML map of labels")
    for key, value in more.items():
        if not _KEY.fullmatch(str(key)) or not _VALUE.fullmatch(str(value)):
            raise ValueError(f"{key}: {value} is not a label")
        if str(key) in _LABELS:
            raise ValueError(f"{key} is set by this charm")
    found = {"pod-security.kubernetes.io/enforce": pod_security, **more, **_LABELS}
    return yaml.safe_dump({str(key): str(value) for key, value in found.items()})


def create(params: Create) -> dict[str, str]:
    """Make the profile; the controller makes its namespace."""
    if exists(f"/api/v1/namespaces/{params.name}"):
        # the controller would leave it to whom it belongs, and the profile would be without
        raise ActionFailed(f"there is a namespace {params.name} already: choose another name")
    profile = {
        "apiVersion": "kubeflow.org/v1",
        "kind": "Profile",
        "metadata": {"name": params.name},
        "spec": {"owner": subject(params.owner), "resourceQuotaSpec": {"hard": params.quota}},
    }
    kubernetes.post(PROFILES, profile)
    return {"profile": params.name, "owner": params.owner}


def delete(params: Delete) -> dict[str, str]:
    """Delete the profile, or say what would go."""
    profile = kubernetes.get(f"{PROFILES}/{params.name}")
    found: Counter[str] = Counter()
    for plural, group in _CONTENTS.items():
        try:
            found[plural] = len(kubernetes.items(f"{group}/namespaces/{params.name}/{plural}"))
        except kubernetes.NotFound:
            continue
    contents = {f"{key}": str(count) for key, count in found.items() if count}
    contents["owner"] = profile["spec"]["owner"]["name"]
    if not params.confirm:
        return {"would-delete": params.name, **contents}
    kubernetes.delete(f"{PROFILES}/{params.name}")
    return {"deleted": params.name, **contents}


def listed() -> dict[str, Any]:
    """Every profile."""
    found = [
        {
            "name": name,
            "owner": profile["spec"]["owner"]["name"],
            "state": _state(profile),
            "contributors": contributors(name),
            "quota": hard(profile),
        }
        for name, profile in sorted(current().items())
    ]
    return listing("profiles", found)


def current() -> dict[str, dict[str, Any]]:
    """The profiles by name."""
    return {each["metadata"]["name"]: each for each in kubernetes.items(PROFILES)}


def hard(profile: dict[str, Any]) -> dict[str, str]:
    """A profile's quota."""
    return (profile["spec"].get("resourceQuotaSpec") or {}).get("hard") or {}


def contributors(profile: str) -> dict[str, str]:
    """Who has which role in a profile beside its owner."""
    return {user: role for user, (role, _) in _bindings(profile).items()}


def add(params: Add) -> dict[str, str]:
    """Give the role, in place of another one."""
    profile = kubernetes.get(f"{PROFILES}/{params.profile}")
    if params.user == owner(profile):
        raise ActionFailed(f"{params.user} owns {params.profile}")
    role, names = _bindings(params.profile).get(params.user, ("", []))
    if role != params.role:
        _bind(params)
        for name in names:
            _unbind(params.profile, name)
    return {"profile": params.profile, "user": params.user, "role": params.role}


def remove(params: Contributor) -> dict[str, str]:
    """Take the role."""
    kubernetes.get(f"{PROFILES}/{params.profile}")
    found = _bindings(params.profile).get(params.user)
    if found is None:
        raise ActionFailed(f"{params.user} is no contributor of {params.profile}")
    for name in found[1]:
        _unbind(params.profile, name)
    return {"profile": params.profile, "removed": params.user}


def set_quota(params: Quota) -> dict[str, str]:
    """Set the quota; what the new one does not name is no longer limited."""
    path = f"{PROFILES}/{params.profile}"
    gone = dict.fromkeys(hard(kubernetes.get(path)), None)
    kubernetes.patch(path, {"spec": {"resourceQuotaSpec": {"hard": {**gone, **params.quota}}}})
    return {"profile": params.profile, "quota": as_text(params.quota)}


def subject(user: str) -> dict[str, str]:
    """Kubernetes' subject for a user, or for a group that is written `group:NAME`."""
    kind = "Group" if user.startswith(GROUP) else "User"
    return {"apiGroup": _BINDING_GROUP, "kind": kind, "name": user.removeprefix(GROUP)}


def owner(profile: dict[str, Any]) -> str:
    """A profile's owner as `subject` takes it."""
    return _user(profile["spec"]["owner"])


def exists(path: str) -> bool:
    """Whether there is such an object."""
    try:
        kubernetes.get(path)
    except kubernetes.NotFound:
        return False
    return True


def _user(found: dict[str, Any]) -> str:
    return (GROUP if found.get("kind") == "Group" else "") + found["name"]


def _state(profile: dict[str, Any]) -> str:
    found = conditions(profile)
    return f"{found[-1].type} {found[-1].message}".strip() if found else "Unknown"


def _bindings(profile: str) -> dict[str, tuple[str, list[str]]]:
    """Role and names of the bindings of each contributor; the controller's own are left out."""
    found: dict[str, tuple[str, list[str]]] = {}
    path = f"/apis/{_BINDING_GROUP}/v1/namespaces/{profile}/rolebindings"
    for each in kubernetes.items(path):
        name = each["metadata"]["name"]
        notes = each["metadata"].get("annotations") or {}
        if "user" not in notes or "role" not in notes or name == "namespaceAdmin":
            continue
        user = _user(each["subjects"][0])
        found.setdefault(user, (notes["role"], []))[1].append(name)
    return found


def _bind(params: Add) -> None:
    given = subject(params.user)
    text = f"{given['kind']}-{given['name']}-clusterrole-{params.role}".lower()
    notes = {"user": given["name"], "role": params.role}
    metadata = {"name": re.sub(r"[^a-z0-9]", "-", text), "annotations": notes}
    role = {"apiGroup": _BINDING_GROUP, "kind": "ClusterRole", "name": f"kubeflow-{params.role}"}
    condition = {"key": "request.headers[kubeflow-userid]", "values": [given["name"]]}
    kubernetes.post(
        f"/apis/security.istio.io/v1beta1/namespaces/{params.profile}/authorizationpolicies",
        {
            "apiVersion": "security.istio.io/v1beta1",
            "kind": "AuthorizationPolicy",
            "metadata": metadata,
            "spec": {"rules": [{"when": [condition]}]},
        },
        present=True,
    )
    kubernetes.post(
        f"/apis/{_BINDING_GROUP}/v1/namespaces/{params.profile}/rolebindings",
        {
            "apiVersion": f"{_BINDING_GROUP}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": role,
            "subjects": [given],
        },
        present=True,
    )


def _unbind(profile: str, name: str) -> None:
    kubernetes.delete(f"/apis/{_BINDING_GROUP}/v1/namespaces/{profile}/rolebindings/{name}")
    kubernetes.delete(
        f"/apis/security.istio.io/v1beta1/namespaces/{profile}/authorizationpolicies/{name}"
    )
