"""The guard: admission policies that fence the model's applications, made before anything else.

Juju gives every application `pods/exec create` and `pods, services get, list, patch` in the
model's namespace, and the policy lets controllers make workloads anywhere. Without the guard each
of them could run commands in the broker's pod, or start a pod as the broker, and so be cluster
administrator. The API server asks the guard for every write and every exec; what is read it
cannot fence, so the policy gives nobody rights to read Secrets there.

Tenants are checked in one thing: their Services lead to their own pods. The gateway lets a user
open what a name in her namespace leads to; it would lead her to another tenant's pod, by the
gateway's address, past that tenant's NetworkPolicy.

Trusted are those who are cluster administrators already (Juju's controller is; the broker is),
the cluster's own controllers, and nodes. Everybody else is checked.
"""

# ruff: noqa: E501 (an expression is easier to read in one line)
from __future__ import annotations

import json
from collections.abc import Collection

from inventory import APPLICATION, CREATED_BY, MANAGED_BY, MODEL, MODEL_UUID
from kinds import NAME_LABEL
from kube import ApiError, Cluster, Object, Ref

from charmed_mlops.interfaces.manifests import TENANT_LABEL, digest

API = "admissionregistration.k8s.io/v1"
POLICY, BINDING = "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"
_DIGEST = "charmed-mlops.io/digest"

# Namespaces that belong to the cluster, to its add-ons and to Juju's controllers.
PROTECTED = r"^(kube-.*|.*-system|controller-.*|cert-manager|local-path-storage)$"
# Juju's own ServiceAccounts in a model's namespace: of `juju ssh`, and of the model's agent.
_SSH, _AGENT = "model-exec", "modeloperator"
# On the Kubernetes backend the content of a Juju secret is a Secret ID-REVISION. A unit writes it
# with an account that Juju makes for that, see `keepers`.
_CONTENT = r"[0-9a-v]{20}-[0-9]+"
# Credentials of images' registries: of the model's, and of each container's own image.
# Source: juju/juju, internal/provider/kubernetes/constants, `CAASImageRepoSecretName`, and
# internal/provider/kubernetes/application/application.go, `imagePullSecretName`.
_REGISTRY = "juju-image-pull-secret"

_TRUSTED = (
    "request.userInfo.username in ['system:kube-controller-manager', 'system:kube-scheduler']"
    " || request.userInfo.groups.exists(group, group in ['system:masters', 'system:nodes',"
    " 'system:serviceaccounts:kube-system'])"
    " || authorizer.group('*').resource('*').check('*').allowed()"
)
_WORKLOADS = ["deployments", "statefulsets", "daemonsets", "replicasets"]
_TEMPLATES = (
    "object.kind == 'Pod' ? object.spec"
    " : object.kind == 'CronJob' ? object.spec.jobTemplate.spec.template.spec"
    " : object.kind in ['Deployment', 'StatefulSet', 'DaemonSet', 'ReplicaSet', 'Job',"
    " 'ReplicationController'] && has(object.spec.template) ? object.spec.template.spec"
    " : object.kind == 'PodTemplate' ? object.template.spec : {}"
)
_LABEL = f"?metadata.?labels[?'{NAME_LABEL}'].orValue('')"
_CONTAINERS = (
    "(has(variables.pod.containers) ? variables.pod.containers : [])"
    " + (has(variables.pod.initContainers) ? variables.pod.initContainers : [])"
    " + (has(variables.pod.ephemeralContainers) ? variables.pod.ephemeralContainers : [])"
)
_BASELINE_CAPABILITIES = [
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD",
    "NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
]  # fmt: skip


def manifests(
    namespace: str, broker: str, uuid: str = "", applications: Collection[str] = ()
) -> list[Object]:
    """The admission policies of a model's broker, with their bindings."""
    made: list[Object] = []
    model = _model(namespace, broker, sorted({broker, *applications}))
    for name, spec, scope in (
        (f"{namespace}.{broker}.model", model, _within(namespace)),
        (f"{namespace}.{broker}.reach", _reach(namespace), {}),
        (f"{namespace}.{broker}.tenants", _tenants(), dict([TENANT_LABEL])),
    ):
        selector = {"matchLabels": scope} if scope else {}
        binding = {
            "policyName": name,
            "validationActions": ["Deny"],
            **({"matchResources": {"namespaceSelector": selector}} if selector else {}),
        }
        for kind, content in ((POLICY, spec), (BINDING, binding)):
            body = {"apiVersion": API, "kind": kind, "spec": content}
            labels = {MANAGED_BY: broker, MODEL: namespace}
            if uuid:
                labels[MODEL_UUID] = uuid
            annotations = {_DIGEST: digest([body])[:32]}
            metadata = {"name": name, "labels": labels, "annotations": annotations}
            made.append({**body, "metadata": metadata})
    return made


def ensure(
    cluster: Cluster,
    namespace: str,
    broker: str,
    uuid: str = "",
    applications: Collection[str] = (),
) -> None:
    """Have the guard as it should be; two requests when it is.

    Args:
        cluster: the API server.
        namespace: the model's.
        broker: the broker's name.
        uuid: the model's.
        applications: those that are related to the broker.

    Raises:
        ApiError: it cannot be made; without it the broker must not serve.
    """
    selector = f"{MANAGED_BY}={broker},{MODEL}={namespace}"
    present = {
        (item["kind"], item["metadata"]["name"]): (
            (item["metadata"].get("annotations") or {}).get(_DIGEST),
            item["metadata"]["labels"].get(MODEL_UUID, ""),
        )
        for kind in (POLICY, BINDING)
        for item in cluster.list(API, kind, selector)
    }
    for body in manifests(namespace, broker, uuid, applications):
        kind, metadata = body["kind"], body["metadata"]
        expected = metadata["annotations"][_DIGEST]
        if present.get((kind, metadata["name"])) == (expected, uuid):
            continue
        try:
            cluster.apply(Ref(API, kind, "", metadata["name"]), body, broker)
        except ApiError as error:
            if error.code == 404:
                text = "the cluster has no ValidatingAdmissionPolicy: Kubernetes 1.30 or newer"
                raise ApiError(404, text) from None
            raise


def remove(cluster: Cluster, namespace: str, broker: str) -> None:
    """Take the guard away; nothing is left that it protects."""
    for body in reversed(manifests(namespace, broker)):
        cluster.delete(Ref(API, body["kind"], "", body["metadata"]["name"]))


def keepers(namespace: str) -> str:
    """What matches the accounts with which Juju keeps the content of secrets.

    Since 3.6.19 each is for one set of secrets: `juju-secret-consumer-UUID`. Before, a unit had
    `unit-APPLICATION-NUMBER`, which no application can be called, and users `model-NAME`, with
    six digits more where that was another's. Source: juju/juju,
    internal/secrets/provider/kubernetes/provider.go.
    """
    old = rf"(unit-.+-[0-9]+|model-{namespace})(-[0-9a-f]{{6}})?"
    return rf"({old}|juju-secret-consumer-[0-9a-f-]{{36}})"


def _unit(item: str) -> str:
    """Whose unit Juju takes an object's pods for, "" for nobody's: it finds them by one label.

    A pod too many hangs when its application is scaled or removed. Source: juju/juju,
    internal/provider/kubernetes/application/application.go, `State` and `Units`.
    """
    return (
        f"{item} == null ? '' : {item}.kind == 'Pod' ? {item}.{_LABEL}"
        f" : {item}.kind == 'CronJob' ? {item}.spec.jobTemplate.spec.template.{_LABEL}"
        f" : {item}.kind == 'PodTemplate' ? {item}.template.{_LABEL}"
        f" : {item}.?spec.?template.{_LABEL}"
    )


def _model(namespace: str, broker: str, applications: list[str]) -> Object:
    """Protects the broker, Juju's own objects and other applications' pods in the model."""
    keeping = keepers(namespace)
    guarded = rf"^({broker}|{_SSH}|{_AGENT}|{keeping})$"
    registry = rf"{_REGISTRY}|({'|'.join(applications)})-.+-secret"
    secrets = rf"^({broker}\\..*|.*-application-config|{_SSH}.*|{_AGENT}.*|{_CONTENT}|{registry})$"
    pod = rf"^{broker}-[0-9]+$"
    return {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "namespaceSelector": {"matchLabels": _within(namespace)},
            "resourceRules": [
                _rule("", ["pods", "pods/ephemeralcontainers", "pods/resize", "pods/binding"],
                      "CREATE", "UPDATE", "DELETE"),
                _rule("", ["pods/exec", "pods/attach", "pods/portforward", "pods/proxy"], "CONNECT"),
                _rule("", ["services", "serviceaccounts", "secrets", "replicationcontrollers",
                           "podtemplates"], "CREATE", "UPDATE", "DELETE"),
                _rule("", ["serviceaccounts/token"], "CREATE"),
                _rule("apps", [*_WORKLOADS, *(f"{each}/scale" for each in _WORKLOADS)],
                      "CREATE", "UPDATE", "DELETE"),
                _rule("batch", ["jobs", "cronjobs"], "CREATE", "UPDATE", "DELETE"),
                _rule("rbac.authorization.k8s.io", ["roles", "rolebindings"],
                      "CREATE", "UPDATE", "DELETE"),
            ],
        },
        "matchConditions": [{"name": "not-trusted", "expression": f"!({_TRUSTED})"}],
        "variables": [
            {"name": "prefix", "expression": f"'system:serviceaccount:{namespace}:'"},
            {"name": "application", "expression":
             "request.userInfo.username.startsWith(variables.prefix)"
             " ? request.userInfo.username.substring(size(variables.prefix)) : ''"},
            {"name": "keeps", "expression":
             f"variables.application.matches('^{keeping}$') && request.name.matches('^{_CONTENT}$')"},
            {"name": "pod", "expression": f"object == null ? {{}} : {_TEMPLATES}"},
            {"name": "containers", "expression": _CONTAINERS},
            {"name": "unit", "expression": _unit("object")},
            {"name": "was", "expression": _unit("oldObject")},
            {"name": "label", "expression":
             "oldObject != null && has(oldObject.metadata.labels)"
             f" && '{NAME_LABEL}' in oldObject.metadata.labels"
             f" ? oldObject.metadata.labels['{NAME_LABEL}'] : ''"},
            # Not what an application made, though it is labelled so; but Juju's own Services stay
            # Juju's when their application changes them, whose name they bear.
            {"name": "juju", "expression":
             "oldObject != null && has(oldObject.metadata.labels)"
             f" && '{MANAGED_BY}' in oldObject.metadata.labels"
             f" && oldObject.metadata.labels['{MANAGED_BY}'] == 'juju'"
             f" && (!('{CREATED_BY}' in oldObject.metadata.labels)"
             " || oldObject.metadata.name == variables.label"
             " || oldObject.metadata.name == variables.label + '-endpoints')"},
            {"name": "declared", "expression":
             "oldObject != null && has(oldObject.metadata.labels)"
             f" && '{MANAGED_BY}' in oldObject.metadata.labels"
             f" && oldObject.metadata.labels['{MANAGED_BY}'] == '{broker}'"
             f" && '{APPLICATION}' in oldObject.metadata.labels"
             f" ? oldObject.metadata.labels['{APPLICATION}'] : ''"},
        ],
        "validations": [
            _deny("nobody may reach into the broker's pod",
                  f"request.resource.resource == 'pods' && request.name.matches('{pod}')"),
            _deny("an application may reach into its own units only",
                  "request.operation == 'CONNECT'"
                  f" && !(variables.application in ['', '{_SSH}'])"
                  " && !request.name.matches('^' + variables.application + '-[0-9]+$')"),
            _deny("a unit's pod may be changed by its own application only",
                  "request.resource.resource == 'pods' && oldObject != null"
                  " && variables.label != ''"
                  " && oldObject.metadata.name.matches('^' + variables.label + '-[0-9]+$')"
                  " && variables.label != variables.application"),
            _deny("a Service of Juju may be changed by its own application only",
                  "request.resource.resource == 'services' && variables.juju"
                  " && variables.label != variables.application"),
            _deny("an application may not change a Service that another one declares",
                  "request.resource.resource == 'services' && variables.application != ''"
                  " && variables.declared != '' && variables.declared != variables.application"),
            _deny("only Juju changes its workloads",
                  "request.resource.group == 'apps' && (variables.juju"
                  f" || request.name == '{broker}')"),
            _deny("no pod may run as the broker or as Juju",
                  "(has(variables.pod.serviceAccountName)"
                  f" && variables.pod.serviceAccountName.matches('{guarded}'))"
                  " || (has(variables.pod.serviceAccount)"
                  f" && variables.pod.serviceAccount.matches('{guarded}'))"),
            _deny("no pod may carry the labels by which Juju finds its units",
                  f"variables.unit in {json.dumps(applications)}"
                  " && variables.unit != variables.was"),
            _deny("no pod may mount the Secrets of Juju or of the broker",
                  "(has(variables.pod.volumes) && variables.pod.volumes.exists(volume,"
                  f" (has(volume.secret) && volume.secret.secretName.matches('{secrets}'))"
                  " || (has(volume.projected) && has(volume.projected.sources)"
                  " && volume.projected.sources.exists(source, has(source.secret)"
                  f" && source.secret.name.matches('{secrets}')))))"
                  " || variables.containers.exists(container,"
                  " (has(container.envFrom) && container.envFrom.exists(source,"
                  f" has(source.secretRef) && source.secretRef.name.matches('{secrets}')))"
                  " || (has(container.env) && container.env.exists(entry,"
                  " has(entry.valueFrom) && has(entry.valueFrom.secretKeyRef)"
                  f" && entry.valueFrom.secretKeyRef.name.matches('{secrets}'))))"),
            _deny("no Secret may hold a ServiceAccount's token",
                  "request.resource.resource == 'secrets' && object != null"
                  " && ((has(object.type) && object.type == 'kubernetes.io/service-account-token')"
                  " || (has(object.metadata.annotations) && 'kubernetes.io/service-account.name'"
                  " in object.metadata.annotations))"),
            _deny("the Secrets of Juju and of the broker are theirs",
                  "request.resource.resource == 'secrets'"
                  f" && request.name.matches('{secrets}') && !variables.keeps"),
            _deny("the ServiceAccounts of the broker and of Juju are theirs",
                  "request.resource.resource == 'serviceaccounts'"
                  f" && request.name.matches('{guarded}')"),
            _deny("an application's roles are given by the broker",
                  "request.resource.group == 'rbac.authorization.k8s.io'"
                  " && variables.application != ''"),
        ],
    }  # fmt: skip


def _reach(namespace: str) -> Object:
    """Keeps the model's applications off the cluster's own namespaces, other models and hosts."""
    capabilities = json.dumps(_BASELINE_CAPABILITIES)
    return {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "resourceRules": [
                {"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"],
                 "operations": ["CREATE", "UPDATE", "DELETE", "CONNECT"], "scope": "*"},
            ],
        },
        "matchConditions": [
            {"name": "of-the-model", "expression":
             f"request.userInfo.groups.exists(group, group == 'system:serviceaccounts:{namespace}')"},
            {"name": "not-trusted", "expression": f"!({_TRUSTED})"},
        ],
        "variables": [
            {"name": "within", "expression":
             "request.resource.resource == 'namespaces' ? request.name"
             " : has(request.namespace) ? request.namespace : ''"},
            {"name": "core", "expression":
             "request.resource.group in ['', 'apps', 'batch'] && object != null"
             " && request.resource.resource in ['pods', 'replicationcontrollers', 'podtemplates',"
             " 'deployments', 'statefulsets', 'daemonsets', 'replicasets', 'jobs', 'cronjobs']"
             # a label on a pod that somebody else made gives nobody anything
             " && !(request.resource.resource == 'pods' && request.operation == 'UPDATE'"
             " && object.spec == oldObject.spec)"},
            {"name": "pod", "expression": f"variables.core ? ({_TEMPLATES}) : {{}}"},
            {"name": "containers", "expression": _CONTAINERS},
        ],
        "validations": [
            _deny("the namespace is the cluster's or Juju's",
                  f"variables.within.matches('{PROTECTED}')"
                  " && request.resource.resource != 'events'"),
            _deny("the namespace is another model's",
                  "namespaceObject != null && has(namespaceObject.metadata.labels)"
                  " && 'model.juju.is/name' in namespaceObject.metadata.labels"
                  f" && namespaceObject.metadata.name != '{namespace}'"),
            _deny("a model's namespace is Juju's",
                  "request.resource.resource == 'namespaces' && oldObject != null"
                  f" && (request.name == '{namespace}' || (has(oldObject.metadata.labels)"
                  " && 'model.juju.is/name' in oldObject.metadata.labels))"),
            _deny("no access to the host: hostNetwork, hostPID, hostIPC",
                  "['hostNetwork', 'hostPID', 'hostIPC'].exists(field,"
                  " field == 'hostNetwork' && has(variables.pod.hostNetwork) && variables.pod.hostNetwork"
                  " || field == 'hostPID' && has(variables.pod.hostPID) && variables.pod.hostPID"
                  " || field == 'hostIPC' && has(variables.pod.hostIPC) && variables.pod.hostIPC)"),
            _deny("no access to the host: hostPath",
                  "has(variables.pod.volumes)"
                  " && variables.pod.volumes.exists(volume, has(volume.hostPath))"),
            _deny("no privileged containers, and no capabilities beyond the baseline",
                  "variables.containers.exists(container, has(container.securityContext) && ("
                  "(has(container.securityContext.privileged)"
                  " && container.securityContext.privileged)"
                  " || (has(container.securityContext.capabilities)"
                  " && has(container.securityContext.capabilities.add)"
                  " && container.securityContext.capabilities.add.exists(each,"
                  f" !(each in {capabilities})))))"),
            _deny("no PersistentVolume on a host",
                  "request.resource.resource == 'persistentvolumes' && object != null"
                  " && (has(object.spec.hostPath) || has(object.spec.local))"),
        ],
    }  # fmt: skip


def _tenants() -> Object:
    """Keeps what a name in a tenant's namespace leads to within that namespace.

    Kubernetes took Endpoints from its role `edit` for the same reason (CVE-2021-25740). Who makes
    Services in every namespace is a controller, such as Knative's; a tenant has no such right.
    """
    return {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "namespaceSelector": {"matchLabels": dict([TENANT_LABEL])},
            "resourceRules": [
                _rule("", ["services", "endpoints"], "CREATE", "UPDATE"),
                _rule("discovery.k8s.io", ["endpointslices"], "CREATE", "UPDATE"),
            ],
        },
        "matchConditions": [
            {"name": "not-trusted", "expression": f"!({_TRUSTED})"},
            {"name": "no-controller", "expression":
             "!authorizer.group('').resource('services').check('create').allowed()"},
        ],
        "variables": [
            {"name": "service", "expression":
             "request.resource.resource == 'services'"
             " && (oldObject == null || object.spec != oldObject.spec)"},
        ],
        "validations": [
            _deny("a Service leads to pods of its own namespace: no ExternalName",
                  "variables.service && object.spec.type == 'ExternalName'"),
            _deny("a Service has the cluster's addresses: no externalIPs",
                  "variables.service && has(object.spec.externalIPs)"
                  " && size(object.spec.externalIPs) > 0"),
            _deny("a Service leads to the pods that it selects: no Endpoints of one's own",
                  "request.resource.resource != 'services'"),
        ],
    }  # fmt: skip


def _within(namespace: str) -> dict[str, str]:
    """The label that the API server gives a namespace."""
    return {"kubernetes.io/metadata.name": namespace}


def _rule(group: str, resources: list[str], *operations: str) -> Object:
    return {
        "apiGroups": [group],
        "apiVersions": ["*"],
        "resources": resources,
        "operations": list(operations),
        "scope": "Namespaced",
    }


def _deny(message: str, when: str) -> Object:
    return {"expression": f"!({when})", "message": message, "reason": "Forbidden"}
