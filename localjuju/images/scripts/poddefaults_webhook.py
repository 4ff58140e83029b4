"""Stand-in for Kubeflow's PodDefaults webhook 1.10: merges a namespace's PodDefaults into pods.

A pod whose labels a PodDefault selects gets what the PodDefault holds. A pod that has the same
thing with another value is refused, as upstream refuses it.
"""

import json

import admission
import stand_in
from stand_in import ApiError, Kubernetes, log

PREFIX = "poddefault.admission.kubeflow.org"
PROXY = "istio-proxy"  # a mesh's own container keeps its command
# Lists of a pod or a container, and what makes two items the same one.
POD_LISTS = {
    "volumes": "name", "tolerations": "key", "imagePullSecrets": "name", "initContainers": "name",
}  # fmt: skip


class ConflictError(Exception):
    """Pod and PodDefaults do not agree."""


def matches(selector, labels):
    """Whether a label selector means an object; an empty one means all. Raises ValueError."""
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for each in selector.get("matchExpressions") or []:
        key, operator, values = each["key"], each["operator"], each.get("values") or []
        if operator == "In":
            fits = key in labels and labels[key] in values
        elif operator == "NotIn":  # codespell:ignore
            fits = key not in labels or labels[key] not in values
        elif operator == "Exists":
            fits = key in labels
        elif operator == "DoesNotExist":
            fits = key not in labels
        else:
            raise ValueError(f"{operator!r} is not a valid label selector operator")
        if not fits:
            return False
    return True


def merge_list(what, key, present, added):
    """The list with what is added to it, once.

    Args:
        what: how a refusal names the list.
        key: the field that names an item.
        present: the pod's items.
        added: pairs of a PodDefault's name and its item.
    """
    merged = list(present or [])
    known = {each.get(key, ""): each for each in merged}
    for default, item in added:
        name = item.get(key, "")
        if name not in known:
            known[name] = item
            merged.append(item)
        elif known[name] != item:
            raise ConflictError(f"merging {what} for {default} has a conflict on {name}")
    return merged


def merge_map(what, present, added):
    """As `merge_list`, of maps."""
    merged = dict(present or {})
    for default, values in added:
        for key, value in values.items():
            if merged.setdefault(key, value) != value:
                raise ConflictError(f"merging {what} for {default} has a conflict on {key}")
    return merged


def applied(pod, defaults):
    """The pod with the PodDefaults merged into it. Raises ConflictError."""
    pod = json.loads(json.dumps(pod))
    specs = [(each["metadata"]["name"], each["spec"]) for each in defaults]

    def all_of(field):
        return [(name, item) for name, spec in specs for item in spec.get(field) or []]

    for field, key in POD_LISTS.items():
        put(pod["spec"], field, merge_list(field, key, pod["spec"].get(field), all_of(field)))
    for container in pod["spec"]["containers"]:
        put(container, "env", merge_list("env", "name", container.get("env"), all_of("env")))
        mounts = merge_list(
            "volume mounts", "name", container.get("volumeMounts"), all_of("volumeMounts")
        )
        # no two at one path, either
        merge_list(
            "volume mounts", "mountPath", container.get("volumeMounts"), all_of("volumeMounts")
        )
        put(container, "volumeMounts", mounts)
        sources = [item for _, item in all_of("envFrom")]
        put(container, "envFrom", [*(container.get("envFrom") or []), *sources])
        if container["name"] != PROXY:
            for field in ("command", "args"):
                given = [spec[field] for _, spec in specs if spec.get(field) is not None]
                if not container.get(field) and given:
                    container[field] = given[0]
    put(
        pod["spec"],
        "containers",
        merge_list("sidecars", "name", pod["spec"]["containers"], all_of("sidecars")),
    )
    for _, spec in specs:
        if spec.get("serviceAccountName"):
            pod["spec"]["serviceAccountName"] = spec["serviceAccountName"]
        if spec.get("automountServiceAccountToken") is not None:
            pod["spec"]["automountServiceAccountToken"] = spec["automountServiceAccountToken"]
    metadata = pod["metadata"]
    for field in ("annotations", "labels"):
        given = [(name, spec.get(field) or {}) for name, spec in specs]
        put(metadata, field, merge_map(field, metadata.get(field), given))
    for each in defaults:
        mark = f"{PREFIX}/poddefault-{each['metadata']['name']}"
        metadata["annotations"] = metadata.get("annotations") or {}
        metadata["annotations"][mark] = each["metadata"]["resourceVersion"]
    return pod


def put(owner, field, value):
    """Sets a field, where there is something to set."""
    if value:
        owner[field] = value


def response(request, defaults):
    """What the webhook answers to an admission request of a pod."""
    pod = request["object"]
    labels = pod["metadata"].get("labels") or {}
    annotations = pod["metadata"].get("annotations") or {}
    answer = {"uid": request["uid"], "allowed": True}
    if "kubernetes.io/config.mirror" in annotations or (
        annotations.get(f"{PREFIX}/exclude") == "true"
    ):
        return answer
    try:
        found = [each for each in defaults if matches(each["spec"].get("selector") or {}, labels)]
        if not found:
            return answer
        made = applied(pod, found)
    except (ConflictError, ValueError) as error:
        name = pod["metadata"].get("name") or pod["metadata"].get("generateName")
        message = f"conflict occurred while applying poddefaults on pod {name}: {error}"
        return {**answer, "allowed": False, "status": {"message": message}}
    return {**answer, **admission.patched(metadata=made["metadata"], spec=made["spec"])}


class Webhook(stand_in.Handler):
    """Answers admission reviews."""

    api: Kubernetes

    def defaults(self, namespace):
        path = f"/apis/kubeflow.org/v1alpha1/namespaces/{namespace}/poddefaults"
        return self.api.call("GET", path)["items"]

    def do_POST(self):
        if self.path.partition("?")[0] != "/apply-poddefault":
            self.answer(404, "not found", "text/plain")
            return
        try:
            review = self.body()
            request = review["request"]
            namespace = request["namespace"]
            made = response(request, self.defaults(namespace))
        except (KeyError, TypeError, ValueError) as error:
            self.answer(400, f"malformed: {error!r}", "text/plain")
            return
        except ApiError as error:
            self.answer(500, str(error), "text/plain")  # the API server refuses the pod
            return
        if not made["allowed"]:
            log(f"refused in {namespace}: {made['status']['message']}")
        # as upstream's, it names no version: the API server refuses that for v1, not for v1beta1
        self.answer(200, {"response": made})


def main():
    """Serves until it is ended."""
    given = stand_in.flags(
        {
            "webhookPort": "4443",
            "tlsCertFile": "/etc/webhook/certs/cert.pem",
            "tlsKeyFile": "/etc/webhook/certs/key.pem",
        }
    )
    files = (given["tlsCertFile"], given["tlsKeyFile"])
    Webhook.api = Kubernetes()
    log(f"stand-in for the PodDefaults webhook: serving on {given['webhookPort']}")
    admission.serve(int(given["webhookPort"]), Webhook, *files)


if __name__ == "__main__":
    main()
