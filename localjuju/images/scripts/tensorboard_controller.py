"""Stand-in for Kubeflow's TensorBoard controller 1.10: it makes what a Tensorboard is run by.

That is a Deployment, a Service, and a VirtualService as upstream makes one. Every replica works;
the objects are the same, so no leader is needed.
"""

import os
import sys

import stand_in
from stand_in import ApiError, Kubernetes, log
from viewers import Objects, affinity_of_claim, owned, route

GROUP = "tensorboard.kubeflow.org"
TENSORBOARDS = f"/apis/{GROUP}/v1alpha1/tensorboards"
REQUIRED = ("TENSORBOARD_IMAGE", "ISTIO_GATEWAY", "ISTIO_HOST")
CLOUDS = ("gs://", "s3://", "/cns/")
LOGS = "/tensorboard_logs/"
PORT = 6006


def source(path):
    """The claim, the folder in it, and the folder that is read, of a log path.

    The claim is None for an object store.
    """
    if path.startswith(CLOUDS):
        return None, "", path
    if path.startswith("pvc://"):
        claim, _, folder = path.removeprefix("pvc://").partition("/")
        return claim, folder, LOGS
    return "tb-volume", "", path


def deployment(tensorboard, image, affinity):
    """The Deployment that a Tensorboard is run by."""
    metadata = tensorboard["metadata"]
    name = metadata["name"]
    claim, folder, read = source(tensorboard["spec"]["logspath"])
    volumes, mounts = [], []
    if claim is not None:
        volumes.append({"name": "tbpd", "persistentVolumeClaim": {"claimName": claim}})
        mounts.append({"name": "tbpd", "mountPath": read, "readOnly": True, "subPath": folder})
    elif read.startswith("gs://"):
        volumes.append({"name": "gcp-creds", "secret": {"secretName": "user-gcp-sa"}})
        mounts.append({"name": "gcp-creds", "mountPath": "/secret/gcp", "readOnly": True})
    container = {
        "name": "tensorboard",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/usr/local/bin/tensorboard"],
        "args": [f"--logdir={read}", "--bind_all"],
        "workingDir": "/",
        "ports": [{"containerPort": PORT}],
        "volumeMounts": mounts,
    }
    spec = {"restartPolicy": "Always", "containers": [container], "volumes": volumes}
    if affinity:
        spec["affinity"] = affinity
    labels = {**(metadata.get("labels") or {}), "app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": owned(tensorboard, name),
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def service(tensorboard):
    """The Service that the gateway sends people to."""
    name = tensorboard["metadata"]["name"]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": owned(tensorboard, name),
        "spec": {
            "type": "ClusterIP",
            "selector": {"app": name},
            "ports": [{"name": f"http-{name}", "port": 80, "targetPort": PORT}],
        },
    }


def status(tensorboard, found):
    """The Tensorboard's status, of its Deployment."""
    seen = found.get("status") or {}
    before = (tensorboard.get("status") or {}).get("conditions") or []
    conditions = seen.get("conditions") or []
    last = before[-1]["deploymentState"] if before else None
    if conditions and conditions[0]["type"] != last:
        first = conditions[0]
        new = {"deploymentState": first["type"], "lastProbeTime": first.get("lastUpdateTime")}
        before = [*before, {key: value for key, value in new.items() if value}]
    return {"conditions": before, "readyReplicas": seen.get("readyReplicas", 0)}


def is_near_the_claim(settings):
    """Whether RWO_PVC_SCHEDULING is set. Raises ValueError where it is neither true nor false."""
    text = settings.get("RWO_PVC_SCHEDULING", "false")
    if text not in ("true", "True", "TRUE", "false", "False", "FALSE"):
        raise ValueError(f"RWO_PVC_SCHEDULING: {text} is neither true nor false")
    return text.lower() == "true"


class Controller:
    """Brings what Tensorboards are made of to their state."""

    def __init__(self, api, settings):
        self._api, self._objects = api, Objects(api)
        self._image, self._gateway = settings["TENSORBOARD_IMAGE"], settings["ISTIO_GATEWAY"]
        self._host, self._near = settings["ISTIO_HOST"], is_near_the_claim(settings)

    def reconcile(self, tensorboard):
        """One Tensorboard. Raises ApiError."""
        metadata = tensorboard["metadata"]
        if metadata.get("deletionTimestamp"):
            return
        namespace, name = metadata["namespace"], metadata["name"]
        claim = source(tensorboard["spec"]["logspath"])[0]
        near = None
        if claim is not None and self._near:
            near = affinity_of_claim(self._api, namespace, claim)
        # a running one is not moved: only the replicas are held
        made = deployment(tensorboard, self._image, near)
        found = self._objects.put(made, ("replicas",))
        self._objects.put(service(tensorboard), ("ports",))
        prefix = f"/tensorboard/{namespace}/{name}/"
        place = f"{name}.{namespace}.svc.cluster.local"
        self._objects.put(
            route(tensorboard, name, self._gateway, self._host, prefix, "/", place, "300s")
        )
        self._objects.set_status(tensorboard, "tensorboards", status(tensorboard, found))


def main():
    """Serves probes and works until it is ended."""
    given = stand_in.flags(
        {
            "metrics-bind-address": ":8080",
            "health-probe-bind-address": ":8081",
            "leader-elect": False,
        }
    )
    for name in REQUIRED:
        if name not in os.environ:
            sys.exit(f"environment variable {name} is not set")
    api = Kubernetes()
    try:
        controller = Controller(api, os.environ)
    except ValueError as error:
        sys.exit(str(error))
    stand_in.serve_health(int(given["metrics-bind-address"].rpartition(":")[2]), ("/metrics",))
    stand_in.serve_health(int(given["health-probe-bind-address"].rpartition(":")[2]))
    log("stand-in for the TensorBoard controller: watching tensorboards")
    for _ in api.changes_of(TENSORBOARDS, "/apis/apps/v1/deployments"):
        try:
            found = api.call("GET", TENSORBOARDS)["items"]
        except ApiError as error:
            log(f"cannot list tensorboards: {error}")
            continue
        for each in found:
            # a list's items have no kind
            each |= {"apiVersion": f"{GROUP}/v1alpha1", "kind": "Tensorboard"}
            try:
                controller.reconcile(each)
            except ApiError as error:
                if error.code != 409:  # somebody was first; the change brings us here again
                    place = f"{each['metadata']['namespace']}/{each['metadata']['name']}"
                    log(f"tensorboard {place}: {error}")


if __name__ == "__main__":
    main()
