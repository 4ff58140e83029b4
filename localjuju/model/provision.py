"""The Kubernetes objects of a model and of an application, as Juju makes them.

Sources, in internal/provider/kubernetes of juju/juju: application/application.go and its
spec368_test.go for the objects and the pod, application/constraints.go for memory and processors,
utils/annotations.go and utils/labels.go for what they are marked with.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from localjuju.model import models, storage
from localjuju.model.charm import Charm
from localjuju.model.substrate import ApplicationSpec

Manifest = dict[str, Any]
MANAGER = "juju"
CHARM_IMAGE = "docker.io/jujusolutions/charm-base:ubuntu-24.04"
AGENT_IMAGE = f"docker.io/jujusolutions/jujud-operator:{models.AGENT_VERSION}"
MODIFIED = "charm.juju.is/modified-version"
_POD_SPEC = {"charm.juju.is/pod-spec": "3"}  # raised when pods of before cannot stay
_NAME, _MODEL, _MANAGED = (
    "app.kubernetes.io/name", "model.juju.is/name", "app.kubernetes.io/managed-by",
)  # fmt: skip
_CHARM_USERS = {"root": 0, "sudoer": 171, "non-root": 170}
_GROUP = 170  # owns the volumes that the charm and its workloads share
_PEBBLE_PORT = 38812  # the charm container's own with Juju; those of workloads follow
_IDENTITIES = "charm.juju.is/pebble-identities"
_DATA_FOLDER, _PROGRAMS = "/var/lib/juju", "/charm/bin"
_IDENTITIES_FOLDER = "/charm/etc/pebble"
# Juju gives a probe one second. Here all pods share a machine of perhaps two cores with the
# cluster's own programs: an answer that is late there says nothing about Pebble.
_PROBE_TIMEOUT_SECONDS = 3
_AGENT_PROBE_PORT = 3856  # what Juju tells the charm container of its agent's own probes
_GRACE_SECONDS = 30
_CHARM_REQUEST_MIB, _CHARM_LIMIT_MIB = 64, 1024


def labels(model: str, application: str | None = None) -> dict[str, str]:
    found = {_MANAGED: MANAGER, _MODEL: model}
    return found | ({_NAME: application} if application else {})


def marks(model_uuid: str) -> dict[str, str]:
    """What Juju writes on every object that it makes."""
    return {
        "controller.juju.is/id": models.CONTROLLER_UUID, "model.juju.is/id": model_uuid,
        "juju.is/version": models.AGENT_VERSION,
    }  # fmt: skip


def namespace(model: str, uuid: str) -> Manifest:
    written = marks(uuid)
    del written["juju.is/version"]
    return {
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {
            "name": model, "labels": labels(model) | {"model.juju.is/id": uuid},
            "annotations": written,
        },
    }  # fmt: skip


def objects(spec: ApplicationSpec, agent_folder: str) -> list[Manifest]:
    """Everything of one application, in the order in which it is applied.

    Args:
        agent_folder: the host's folder with the socket of the hook commands.
    """
    return [
        *_rights(spec), _service(spec), _endpoints_service(spec), _stateful_set(spec, agent_folder)
    ]  # fmt: skip


def made_for(annotations: Mapping[str, str]) -> int:
    """The application's counter that a pod was made for.

    -1 for a pod that an engine with another pod spec made, or whose counter somebody else
    wrote, so that it is replaced.
    """
    if not _POD_SPEC.items() <= annotations.items():
        return -1
    try:
        return int(annotations.get(MODIFIED, "0"))
    except ValueError:
        return -1


def _meta(spec: ApplicationSpec, name: str | None = None, cluster: bool = False) -> Manifest:
    meta: Manifest = {
        "name": name or spec.name, "labels": labels(spec.model, spec.name),
        "annotations": marks(spec.model_uuid),
    }  # fmt: skip
    return meta if cluster else {**meta, "namespace": spec.model}


def cluster_name(model: str, application: str) -> str:
    return f"{model}-{application}"


def _rights(spec: ApplicationSpec) -> list[Manifest]:
    """Juju's small rights, or everything with trust.

    Source: internal/provider/kubernetes/application/trust.go in juju/juju. The account's token is
    mounted where a pod asks for it, as the application's own do.
    """
    everything = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
    role = everything if spec.trust else [
        {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "list"]},
        {"apiGroups": [""], "resources": ["pods", "services"], "verbs": ["get", "list", "patch"]},
        {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create"]},
    ]  # fmt: skip
    cluster_role = everything if spec.trust else [
        {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "list"]},
    ]  # fmt: skip
    group = "rbac.authorization.k8s.io"
    name = cluster_name(spec.model, spec.name)
    subjects = [{"kind": "ServiceAccount", "name": spec.name, "namespace": spec.model}]
    return [
        {
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": _meta(spec),
            "automountServiceAccountToken": False,
        },
        {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": _meta(spec), "rules": role},
        {
            "apiVersion": f"{group}/v1", "kind": "RoleBinding", "metadata": _meta(spec),
            "roleRef": {"apiGroup": group, "kind": "Role", "name": spec.name},
            "subjects": subjects,
        },
        {
            "apiVersion": f"{group}/v1", "kind": "ClusterRole",
            "metadata": _meta(spec, name, cluster=True), "rules": cluster_role,
        },
        {
            "apiVersion": f"{group}/v1", "kind": "ClusterRoleBinding",
            "metadata": _meta(spec, name, cluster=True),
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
            "subjects": subjects,
        },
    ]  # fmt: skip


def _service(spec: ApplicationSpec) -> Manifest:
    """The ports its units opened; Kubernetes wants at least one, Juju names that placeholder."""
    ports = []
    for text in spec.ports:
        number, _, protocol = text.partition("/")
        if number.isdigit():
            ports.append({
                "name": f"{protocol}-{number}", "port": int(number), "targetPort": int(number),
                "protocol": protocol.upper(),
            })  # fmt: skip
    placeholder = {"name": "placeholder", "port": 65535, "targetPort": 65535, "protocol": "TCP"}
    return {
        "apiVersion": "v1", "kind": "Service", "metadata": _meta(spec),
        "spec": {"type": "ClusterIP", "selector": {_NAME: spec.name},
                 "ports": ports or [placeholder]},
    }  # fmt: skip


def _endpoints_service(spec: ApplicationSpec) -> Manifest:
    meta = _meta(spec, f"{spec.name}-endpoints")
    meta["annotations"]["service.alpha.kubernetes.io/tolerate-unready-endpoints"] = "true"
    return {
        "apiVersion": "v1", "kind": "Service", "metadata": meta,
        "spec": {"clusterIP": "None", "publishNotReadyAddresses": True,
                 "selector": {_NAME: spec.name}},
    }  # fmt: skip


def _application_id(spec: ApplicationSpec) -> str:
    """Eight hexadecimal digits that are the application's own; Juju draws them by lot."""
    return hashlib.sha256(f"{spec.model_uuid}/{spec.name}".encode()).hexdigest()[:8]


def _stateful_set(spec: ApplicationSpec, agent_folder: str) -> Manifest:
    meta = _meta(spec)
    meta["annotations"]["app.juju.is/uuid"] = _application_id(spec)
    return {
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": meta,
        "spec": {
            "replicas": spec.scale,
            "serviceName": f"{spec.name}-endpoints",
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "RollingUpdate"},
            "selector": {"matchLabels": {_NAME: spec.name}},
            "persistentVolumeClaimRetentionPolicy": {
                "whenDeleted": "Retain", "whenScaled": "Retain",
            },
            "volumeClaimTemplates": [
                _claim(spec, name, index)
                for name, stored in sorted(spec.storage.items())
                for index in range(stored["count"])
            ],
            "template": {
                "metadata": {
                    "labels": labels(spec.model, spec.name),
                    "annotations": {
                        **marks(spec.model_uuid), MODIFIED: str(spec.modified),
                        **_POD_SPEC, **_identities(spec.charm),
                    },
                },
                "spec": _pod(spec, agent_folder),
            },
        },
    }  # fmt: skip


def _claim(spec: ApplicationSpec, name: str, index: int) -> Manifest:
    stored = spec.storage[name]
    # What was planned before pools had classes of another name has none here.
    named = stored.get("class", None if stored["pool"] == storage.POOL else stored["pool"])
    return {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": storage.claim_name(spec.name, name, index),
                     "labels": labels(spec.model, spec.name) | {"storage.juju.is/name": name}},
        "spec": {
            "accessModes": [stored.get("mode", "ReadWriteOnce")],
            "resources": {"requests": {"storage": f"{stored['size_mib']}Mi"}},
            **({"storageClassName": named} if named else {}),
        },
    }  # fmt: skip


def storage_class(
    model: str, name: str, provisioner: str, parameters: Mapping[str, str]
) -> Manifest:
    """The class of a pool that names its provisioner.

    Juju's keeps volumes and removes each itself when it is told to; here the cluster does.
    """
    return {
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {"name": name, "labels": labels(model)},
        "provisioner": provisioner, "parameters": dict(parameters), "reclaimPolicy": "Delete",
    }  # fmt: skip


def _pod(spec: ApplicationSpec, agent_folder: str) -> Manifest:
    volumes: list[Manifest] = [
        {"name": "charm-data", "emptyDir": {}},
        {"name": "agent", "hostPath": {"path": agent_folder, "type": "Directory"}},
    ]
    if spec.shared_venv:
        volumes.append({"name": "packages", "hostPath": {"path": spec.shared_venv}})
    if _identities(spec.charm):
        field = {"fieldPath": f"metadata.annotations['{_IDENTITIES}']"}
        items = [{"path": "identities.yaml", "fieldRef": field}]
        volumes.append({"name": "pebble-identities", "downwardAPI": {"items": items}})
    containers = [_charm_container(spec)]
    for number, (name, container) in enumerate(sorted(spec.charm.containers.items())):
        containers.append(_workload(spec, name, container, _PEBBLE_PORT + 1 + number))
    return {
        "serviceAccountName": spec.name,
        "automountServiceAccountToken": True,
        "terminationGracePeriodSeconds": _GRACE_SECONDS,
        "initContainers": [_init_container(spec)],
        "containers": containers,
        "volumes": volumes,
        **(
            {"securityContext": {"fsGroup": _GROUP, "supplementalGroups": [_GROUP]}}
            if spec.charm.chooses_users
            else {}
        ),
    }


def charm_ids(charm: Charm) -> tuple[int, int] | None:
    """User and group of the charm container; None for the image's own."""
    if charm.user is None:
        return None if charm.chooses_users else (0, 0)
    return _CHARM_USERS[charm.user], _CHARM_USERS[charm.user]


def _identities(charm: Charm) -> Manifest:
    """The annotation with whom the workloads' Pebbles let in besides root and themselves.

    It is a charm that does not run as root. Juju's init container writes the same file.
    """
    if charm.user in (None, "root"):
        return {}
    identity = {"access": "admin", "local": {"user-id": _CHARM_USERS[charm.user]}}
    return {_IDENTITIES: json.dumps({"identities": {"charm": identity}})}


def _security(ids: tuple[int | None, int | None] | None) -> Manifest:
    user, group = ids or (None, None)
    named = {"runAsUser": user, "runAsGroup": group}
    return {name: number for name, number in named.items() if number is not None}


def _names(spec: ApplicationSpec) -> Manifest:
    return {"name": "JUJU_CONTAINER_NAMES", "value": ",".join(sorted(spec.charm.containers))}


def _of_pod(name: str, field: str) -> Manifest:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": f"metadata.{field}"}}}


def _init_container(spec: ApplicationSpec) -> Manifest:
    """Puts the agent, Pebble and the hook commands where the others find them, as Juju's does."""
    made: Manifest = {
        "name": "charm-init",
        "image": AGENT_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "workingDir": _DATA_FOLDER,
        "command": ["/opt/containeragent"],
        "args": ["init", "--data-dir", _DATA_FOLDER, "--bin-dir", _PROGRAMS],
        "env": [
            _names(spec),
            _of_pod("JUJU_K8S_POD_NAME", "name"),
            _of_pod("JUJU_K8S_POD_UUID", "uid"),
        ],
        "volumeMounts": [
            {"name": "charm-data", "mountPath": _DATA_FOLDER, "subPath": "var/lib/juju"},
            {"name": "charm-data", "mountPath": _PROGRAMS, "subPath": "charm/bin"},
        ],
    }
    if spec.charm.chooses_users:
        made["securityContext"] = _security(charm_ids(spec.charm))
    return made


def _programs_mount(program: str = "") -> Manifest:
    below = f"/{program}" if program else ""
    return {
        "name": "charm-data", "mountPath": _PROGRAMS + below, "subPath": "charm/bin" + below,
        "readOnly": True,
    }  # fmt: skip


def _charm_container(spec: ApplicationSpec) -> Manifest:
    mounts = [
        _programs_mount(),
        {"name": "charm-data", "mountPath": "/charm/containers", "subPath": "charm/containers"},
        {"name": "charm-data", "mountPath": _DATA_FOLDER, "subPath": "var/lib/juju"},
        {"name": "charm-data", "mountPath": "/var/log/juju",
         "subPath": "containeragent/var/log/juju"},
        {"name": "agent", "mountPath": "/run/juju"},
    ]  # fmt: skip
    for name, stored in sorted(spec.storage.items()):
        for index in range(stored["count"]):
            mounts.append({
                "name": storage.claim_name(spec.name, name, index),
                "mountPath": spec.charm.storage_location(name, index),
            })  # fmt: skip
    if spec.shared_venv:
        mounts.append(
            {"name": "packages", "mountPath": spec.shared_venv, "readOnly": True}  # type: ignore
        )
    return {
        "name": "charm",
        "image": CHARM_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "workingDir": _DATA_FOLDER,
        "command": [f"{_PROGRAMS}/containeragent", "unit"],
        "env": [
            _names(spec),
            {"name": "HTTP_PROBE_PORT", "value": str(_AGENT_PROBE_PORT)},
            _of_pod("POD_UID", "uid"),
        ],
        "volumeMounts": mounts,
        "securityContext": _security(charm_ids(spec.charm)),
        "resources": _charm_resources(spec),
    }


def _charm_resources(spec: ApplicationSpec) -> Manifest:
    """Since Juju 3.6.8: 64 MiB are asked for, and 1 GiB or the constraint `mem` is the bound.

    Kubernetes takes no request above its limit: of a smaller `mem`, all is asked for.
    """
    limit = models.mebibytes("mem", spec.constraints.get("mem", "")) or _CHARM_LIMIT_MIB
    return {
        "requests": {"memory": f"{min(_CHARM_REQUEST_MIB, limit)}Mi"},
        "limits": {"memory": f"{limit}Mi"},
    }  # fmt: skip


def _workload(spec: ApplicationSpec, name: str, container: Manifest, port: int) -> Manifest:
    folder = f"charm/containers/{name}"
    mounts: list[Manifest] = [
        _programs_mount("pebble"),
        {"name": "charm-data", "mountPath": "/charm/container", "subPath": folder},
    ]
    for mount in container.get("mounts") or []:
        stored = spec.storage[mount["storage"]]
        for index in range(stored["count"]):
            location = mount.get("location") or spec.charm.storage_location(
                mount["storage"], index
            )
            if index:
                location = f"{location}/{index}"
            mounts.append({
                "name": storage.claim_name(spec.name, mount["storage"], index),
                "mountPath": location,
            })  # fmt: skip

    # requireSecurityContext in application.go
    ids = (container.get("uid"), container.get("gid")) if spec.charm.chooses_users else (0, 0)
    image = spec.resources.get(container.get("resource", ""), CHARM_IMAGE)
    identities: list[str] = []
    if _identities(spec.charm):
        identities = ["--identities", f"{_IDENTITIES_FOLDER}/identities.yaml"]
        mounts.append({
            "name": "pebble-identities", "mountPath": _IDENTITIES_FOLDER, "readOnly": True,
        })  # fmt: skip
    made: Manifest = {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": [f"{_PROGRAMS}/pebble"],
        "args": [
            "run", "--create-dirs", "--hold", "--http", f":{port}", "--verbose", *identities,
        ],
        "env": [
            {"name": "JUJU_CONTAINER_NAME", "value": name},
            {"name": "PEBBLE_SOCKET", "value": "/charm/container/pebble.socket"},
            {"name": "PEBBLE", "value": "/charm/container/pebble"},
            {"name": "PEBBLE_COPY_ONCE", "value": "/var/lib/pebble/default"},
        ],
        "startupProbe": _probe("alive", port, period=1, failures=30),
        "livenessProbe": _probe("alive", port, period=5, failures=3),
        "readinessProbe": _probe("ready", port, period=5, failures=1),
        "volumeMounts": mounts,
        "securityContext": _security(ids),
    }  # fmt: skip
    if resources := _constrained(spec):
        made["resources"] = resources
    return made


def _probe(level: str, port: int, *, period: int, failures: int) -> Manifest:
    """A probe of Pebble's health, as Juju has made it since 3.6: from the start, without delay.

    Source: ApplicationPodSpec in application.go.
    """
    return {
        "httpGet": {"path": f"/v1/health?level={level}", "port": port},
        "periodSeconds": period, "timeoutSeconds": _PROBE_TIMEOUT_SECONDS,
        "successThreshold": 1, "failureThreshold": failures,
    }  # fmt: skip


def _constrained(spec: ApplicationSpec) -> Manifest:
    """`mem` is request and limit, as with Juju; `cpu-power` is in thousandths of a core."""
    wanted = spec.constraints
    limits = {}
    if memory := models.mebibytes("mem", wanted.get("mem", "")):
        limits["memory"] = f"{memory}Mi"
    if wanted.get("cores"):
        limits["cpu"] = wanted["cores"]
    elif wanted.get("cpu-power"):
        limits["cpu"] = f"{wanted['cpu-power']}m"
    return {"requests": limits, "limits": limits} if limits else {}
