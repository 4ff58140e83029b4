"""Stand-in for Kubeflow's profile-controller 1.10: a Profile becomes a namespace of its owner.

It makes what upstream's makes, without cloud plugins: the namespace with its labels, the service
accounts default-editor and default-viewer, role bindings, an AuthorizationPolicy, a quota. Every
replica works; the objects are the same, so no leader is needed.
"""

import re
import sys

import stand_in
from stand_in import ApiError, Kubernetes, log

PROFILES = "/apis/kubeflow.org/v1/profiles"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
POLICIES = "/apis/security.istio.io/v1beta1"
FINALIZER = "profile-finalizer"


def labels(path):
    """The labels of every namespace: a flat YAML map, which is all that upstream takes."""
    found = {}
    try:
        with open(path) as file:
            lines = file.read().splitlines()
    except OSError as error:
        sys.exit(f"cannot read namespace labels: {error}")
    for line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = re.fullmatch(r"""["']?([\w./-]+)["']?:\s*["']?([\w.-]*)["']?\s*""", line)
        if not match:
            sys.exit(f"namespace labels: not a label and a value: {line}")
        found[match[1]] = match[2]
    return found


def reconcile(api, profile, wanted, header, prefix):
    """Brings one profile's objects to their state."""
    name, spec = profile["metadata"]["name"], profile["spec"]
    owner = spec["owner"]
    if profile["metadata"].get("deletionTimestamp"):
        # the namespace goes with its owner: the garbage collector deletes it
        rest = [f for f in profile["metadata"].get("finalizers") or [] if f != FINALIZER]
        api.merge(f"{PROFILES}/{name}", {"metadata": {"finalizers": rest}})
        return
    if FINALIZER not in (profile["metadata"].get("finalizers") or []):
        api.merge(f"{PROFILES}/{name}", {"metadata": {"finalizers": [FINALIZER]}})
    reference = {
        "apiVersion": "kubeflow.org/v1", "kind": "Profile", "name": name, "controller": True,
        "blockOwnerDeletion": True, "uid": profile["metadata"]["uid"],
    }  # fmt: skip
    namespace = api.get(f"/api/v1/namespaces/{name}")
    if namespace is None:
        given = {key: value for key, value in wanted.items() if value}
        body = {
            "metadata": {
                "name": name,
                "annotations": {"owner": owner["name"]},
                "labels": {"istio-injection": "enabled", **given},
                "ownerReferences": [reference],
            }
        }
        api.create("/api/v1/namespaces", body)
    else:
        annotations = namespace["metadata"].get("annotations") or {}
        if annotations.get("owner") != owner["name"]:
            fail(
                api,
                profile,
                f"namespace already exist, but not owned by profile creator {owner['name']}",
            )
            return
        present = namespace["metadata"].get("labels") or {}
        patch = {key: value for key, value in wanted.items() if value and key not in present}
        patch |= {key: None for key, value in wanted.items() if not value and key in present}
        if patch:
            api.merge(f"/api/v1/namespaces/{name}", {"metadata": {"labels": patch}})
    policy = {
        "apiVersion": "security.istio.io/v1beta1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "ns-owner-access-istio", "ownerReferences": [reference]},
        "spec": {
            "action": "ALLOW",
            "rules": [
                {
                    "when": [
                        {"key": f"request.headers[{header}]", "values": [prefix + owner["name"]]}
                    ]
                },
                {"from": [{"source": {"namespaces": [name]}}]},
            ],
        },
    }
    # upstream's controller fails without this kind, and so does this
    api.create(f"{POLICIES}/namespaces/{name}/authorizationpolicies", policy)
    for account, role in (
        ("default-editor", "kubeflow-edit"),
        ("default-viewer", "kubeflow-view"),
    ):
        api.create(
            f"/api/v1/namespaces/{name}/serviceaccounts",
            {"metadata": {"name": account, "ownerReferences": [reference]}},
        )
        subject = {"kind": "ServiceAccount", "name": account, "namespace": name}
        bind(api, name, account, role, subject, reference, {})
    admin = {"user": owner["name"], "role": "admin"}
    bind(api, name, "namespaceAdmin", "kubeflow-admin", owner, reference, admin)
    quota(api, name, spec.get("resourceQuotaSpec") or {}, reference)
    if (profile.get("status") or {}).get("conditions"):
        api.merge(f"{PROFILES}/{name}/status", {"status": {"conditions": None}})


def bind(api, namespace, name, role, subject, reference, annotations):
    """A RoleBinding to one of the users' ClusterRoles."""
    subject = {key: value for key, value in subject.items() if value}
    if subject["kind"] != "ServiceAccount":
        subject.setdefault("apiGroup", "rbac.authorization.k8s.io")
    body = {
        "metadata": {"name": name, "annotations": annotations, "ownerReferences": [reference]},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [subject],
    }
    path = f"{RBAC}/namespaces/{namespace}/rolebindings"
    if api.create(path, body) is None:
        present = api.get(f"{path}/{name}")
        if present and present.get("subjects") != body["subjects"]:
            api.merge(f"{path}/{name}", {"subjects": body["subjects"]})


def quota(api, namespace, spec, reference):
    """The namespace's quota, as the profile has it."""
    path = f"/api/v1/namespaces/{namespace}/resourcequotas"
    present = api.get(f"{path}/kf-resource-quota")
    if not spec.get("hard"):
        if present:
            api.delete(f"{path}/kf-resource-quota")
        return
    if present is None:
        metadata = {"name": "kf-resource-quota", "ownerReferences": [reference]}
        api.create(path, {"metadata": metadata, "spec": spec})
    elif present["spec"].get("hard") != spec["hard"]:
        body = {"spec": {**dict.fromkeys(present["spec"]), **spec}}
        body["spec"]["hard"] = {**dict.fromkeys(present["spec"].get("hard") or {}), **spec["hard"]}
        api.merge(f"{path}/kf-resource-quota", body)


def fail(api, profile, message):
    """Says in the profile why it is not carried out."""
    conditions = [{"type": "Failed", "status": "True", "message": message}]
    if (profile.get("status") or {}).get("conditions") != conditions:
        name = profile["metadata"]["name"]
        api.merge(f"{PROFILES}/{name}/status", {"status": {"conditions": conditions}})


def main():
    """Serves probes and works until it is ended."""
    given = stand_in.flags(
        {
            "metrics-bind-address": ":8080",
            "health-probe-bind-address": ":9876",
            "leader-elect": False,
            "leader-election-namespace": "",
            "userid-header": "x-goog-authenticated-user-email",
            "userid-prefix": "accounts.google.com:",
            "workload-identity": "",
            "namespace-labels-path": "/etc/profile-controller/namespace-labels.yaml",
        }
    )
    labels(given["namespace-labels-path"])
    stand_in.serve_health(int(given["health-probe-bind-address"].rpartition(":")[2]))
    stand_in.serve_health(int(given["metrics-bind-address"].rpartition(":")[2]), ("/metrics",))
    api = Kubernetes()
    log("stand-in for profile-controller: watching profiles")
    for _ in api.changes(PROFILES):
        try:
            wanted = labels(given["namespace-labels-path"])
            for profile in api.call("GET", PROFILES)["items"]:
                try:
                    reconcile(api, profile, wanted, given["userid-header"], given["userid-prefix"])
                except ApiError as error:
                    log(f"profile {profile['metadata']['name']}: {error}")
        except ApiError as error:
            log(f"cannot list profiles: {error}")


if __name__ == "__main__":
    main()
