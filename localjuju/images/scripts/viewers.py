"""What the stand-ins share that make a Deployment, a Service and a VirtualService of an object."""

from stand_in import ApiError

PLURALS = {
    "Deployment": "deployments",
    "Service": "services",
    "VirtualService": "virtualservices",
}


def owned(owner, name, labels=None):
    """Metadata of what belongs to an object and goes with it."""
    metadata = owner["metadata"]
    return {
        "name": name,
        "namespace": metadata["namespace"],
        "labels": labels or {},
        "ownerReferences": [
            {
                "apiVersion": owner["apiVersion"], "kind": owner["kind"],
                "name": metadata["name"], "uid": metadata["uid"], "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }  # fmt: skip


def route(owner, name, gateway, host, prefix, rewrite, place, timeout, labels=None):
    """The VirtualService that upstream's controllers make; a mesh would read it."""
    rule = {
        "match": [{"uri": {"prefix": prefix}}],
        "rewrite": {"uri": rewrite},
        "route": [{"destination": {"host": place, "port": {"number": 80}}}],
        "timeout": timeout,
    }
    return {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "VirtualService",
        "metadata": owned(owner, name, labels),
        "spec": {"hosts": [host], "gateways": [gateway], "http": [rule]},
    }


def affinity_of_claim(api, namespace, claim, but=None):
    """Prefers the node where a running pod has the volume, if that can be on one node only.

    Args:
        api: Kubernetes.
        namespace: the claim's.
        claim: its name.
        but: a label and its value, of pods that do not count.

    Raises:
        ApiError: also where there is no such claim.
    """
    found = api.call("GET", f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{claim}")
    if (found.get("status") or {}).get("accessModes") != ["ReadWriteOnce"]:
        return None
    for pod in api.call("GET", f"/api/v1/namespaces/{namespace}/pods")["items"]:
        volumes = pod["spec"].get("volumes") or []
        claims = [(each.get("persistentVolumeClaim") or {}).get("claimName") for each in volumes]
        label, value = but or ("", None)
        skipped = but and (pod["metadata"].get("labels") or {}).get(label) == value
        if claim not in claims or skipped or pod["status"].get("phase") != "Running":
            continue
        expression = {
            "key": "kubernetes.io/hostname",
            "operator": "In",
            "values": [pod["spec"]["nodeName"]],
        }
        preference = {"weight": 100, "preference": {"matchExpressions": [expression]}}
        return {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [preference]}}
    return None


class Objects:
    """What is made of an object."""

    def __init__(self, api):
        self._api = api

    def put(self, wanted, fields=()):
        """Creates an object or sets fields of its spec. Raises ApiError.

        Args:
            wanted: the object.
            fields: of its spec; all of them where none is named.
        """
        version, metadata = wanted["apiVersion"], wanted["metadata"]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        path = f"{root}/namespaces/{metadata['namespace']}/{PLURALS[wanted['kind']]}"
        present = self._api.get(f"{path}/{metadata['name']}")
        if present is None:
            return self._api.create(path, wanted) or wanted
        if present["metadata"].get("ownerReferences") != metadata["ownerReferences"]:
            raise ApiError(0, f"{wanted['kind']} {metadata['name']} is somebody else's")
        new = {field: wanted["spec"][field] for field in fields or wanted["spec"]}
        present["spec"] |= new
        return self._api.call("PUT", f"{path}/{metadata['name']}", present)

    def set_status(self, owner, plural, status):
        """Sets an object's status where it has changed. Raises ApiError."""
        if owner.get("status") == status:
            return
        metadata = owner["metadata"]
        path = f"/apis/{owner['apiVersion']}/namespaces/{metadata['namespace']}/{plural}"
        self._api.call("PUT", f"{path}/{metadata['name']}/status", {**owner, "status": status})
