"""Stand-in for Kubeflow's PVCViewer controller 1.10: it makes what a volume is looked at with.

That is a Deployment, a Service, and a VirtualService as upstream makes one. A webhook fills in
what a PVCViewer leaves out, and refuses one that does not mount its volume. Every replica works;
the objects are the same, so no leader is needed.
"""

import os
import sys
import threading

import admission
import stand_in
from stand_in import ApiError, Kubernetes, log
from viewers import Objects, affinity_of_claim, owned, route

VERSION = "kubeflow.org/v1alpha1"
VIEWERS = f"/apis/{VERSION}/pvcviewers"
ROUTES = "/apis/networking.istio.io/v1alpha3/virtualservices"
CERTIFICATES = "/tmp/k8s-webhook-server/serving-certs"
WEBHOOK_PORT = 9443
PART_OF = ("app.kubernetes.io/part-of", "pvc-viewer")
DEFAULT_IMAGE = "filebrowser/filebrowser:latest"
DEFAULT_PORT = 8080


def resource(viewer):
    """The name of what is made of a viewer."""
    return f"pvcviewer-{viewer['metadata']['name']}"


def labels(viewer):
    """The labels of what is made of a viewer."""
    return {
        "app.kubernetes.io/name": viewer["metadata"]["name"],
        "app.kubernetes.io/instance": resource(viewer),
        PART_OF[0]: PART_OF[1],
    }


def url(viewer):
    """Where the viewer is behind the gateway; None where it says nothing of networking."""
    networking = viewer["spec"].get("networking")
    if not networking:
        return None
    metadata = viewer["metadata"]
    prefix = networking.get("basePrefix", "")
    return f"{prefix}/{metadata['namespace']}/{metadata['name']}/"


def deployment(viewer, affinity):
    """The Deployment that a viewer is run by."""
    spec = {key: each for key, each in viewer["spec"]["podSpec"].items() if key != "affinity"}
    if affinity:
        spec["affinity"] = affinity
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": owned(viewer, resource(viewer), labels(viewer)),
        "spec": {
            "selector": {"matchLabels": labels(viewer)},
            "strategy": {"type": "Recreate"},  # the volume may be on one node only
            "template": {"metadata": {"labels": labels(viewer)}, "spec": spec},
        },
    }


def service(viewer):
    """The Service that the gateway sends people to."""
    port = {"name": "http", "port": 80, "targetPort": viewer["spec"]["networking"]["targetPort"]}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": owned(viewer, resource(viewer), labels(viewer)),
        "spec": {"type": "ClusterIP", "selector": labels(viewer), "ports": [port]},
    }


def status(viewer, found):
    """The viewer's status, of its Deployment."""
    seen = found.get("status") or {}
    before = (viewer.get("status") or {}).get("conditions") or []
    conditions = seen.get("conditions") or []
    if conditions and (not before or before[-1] != conditions[0]):
        before = [*before, conditions[0]]
    wanted = (found.get("spec") or {}).get("replicas", 1)
    made = {"ready": seen.get("readyReplicas", 0) == wanted}
    if before:
        made["conditions"] = before
    if url(viewer):
        made["url"] = url(viewer)
    return made


def defaulted(viewer):
    """The spec of a viewer, with what it leaves out."""
    spec = viewer["spec"]
    if spec.get("podSpec"):
        return spec
    volume = {
        "name": "viewer-volume",
        "persistentVolumeClaim": {"claimName": spec.get("pvc", "")},
    }
    container = {
        "name": "pvcviewer",
        "image": DEFAULT_IMAGE,
        "ports": [{"containerPort": DEFAULT_PORT, "protocol": "TCP"}],
        "env": [
            {"name": "FB_ADDRESS", "value": "0.0.0.0"},
            {"name": "FB_PORT", "value": str(DEFAULT_PORT)},
            {"name": "FB_DATABASE", "value": "/tmp/filebrowser.db"},
            {"name": "FB_NOAUTH", "value": "true"},
            {"name": "FB_BASEURL", "value": url(viewer) or ""},
        ],
        "workingDir": "/data",
        "volumeMounts": [{"name": "viewer-volume", "mountPath": "/data"}],
    }
    return {**spec, "podSpec": {"containers": [container], "volumes": [volume]}}


def fault(viewer):
    """Why a viewer is refused; empty where it is not."""
    spec = viewer["spec"]
    claim, volumes = spec.get("pvc"), (spec.get("podSpec") or {}).get("volumes") or []
    if not claim:
        return "PVC name must be specified"
    if not spec.get("podSpec"):
        return "PodSpec must be specified"
    claims = [(each.get("persistentVolumeClaim") or {}).get("claimName") for each in volumes]
    return "" if claim in claims else f"PVC {claim} must be used in the podSpec"


def response(path, request):
    """The response of a review; None where the path is no webhook's."""
    answer = {"uid": request["uid"], "allowed": True}
    viewer = request["object"]
    if path == "/mutate-kubeflow-org-v1alpha1-pvcviewer":
        return {**answer, **admission.patched(spec=defaulted(viewer))}
    if path == "/validate-kubeflow-org-v1alpha1-pvcviewer":
        why = fault(viewer)
        return {**answer, "allowed": not why, **({"status": {"message": why}} if why else {})}
    return None


class Webhook(stand_in.Handler):
    """Answers admission reviews."""

    def do_POST(self):
        try:
            review = self.body()
            made = response(self.path.partition("?")[0], review["request"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            self.answer(400, f"malformed: {error!r}", "text/plain")
            return
        if made is None:
            self.answer(404, "not found", "text/plain")
            return
        kind = {"apiVersion": review.get("apiVersion"), "kind": review.get("kind")}
        self.answer(200, {**kind, "response": made})


class Controller:
    """Brings what viewers are made of to their state."""

    def __init__(self, api, settings):
        self._api, self._objects = api, Objects(api)
        self._gateway = settings.get("ISTIO_GATEWAY") or "kubeflow/kubeflow-gateway"

    def reconcile(self, viewer):
        """One viewer. Raises ApiError."""
        metadata, spec = viewer["metadata"], viewer["spec"]
        if metadata.get("deletionTimestamp"):
            return
        namespace, name = metadata["namespace"], resource(viewer)
        present = self._api.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}")
        if present is not None:  # one that runs is not moved
            near = present["spec"]["template"]["spec"].get("affinity")
        else:
            near = self._near(namespace, spec)
        found = self._objects.put(deployment(viewer, near), ("strategy", "template"))
        if spec.get("networking"):
            self._objects.put(service(viewer), ("ports",))
            prefix = url(viewer)
            rewrite = spec["networking"].get("rewrite") or prefix
            place = f"{name}.{namespace}.svc.cluster.local"
            timeout = spec["networking"].get("timeout")
            made = route(
                viewer, name, self._gateway, "*", prefix, rewrite, place, timeout, labels(viewer)
            )
            self._objects.put(made)
        self._objects.set_status(viewer, "pvcviewers", status(viewer, found))

    def _near(self, namespace, spec):
        if not spec.get("rwoScheduling"):
            return None
        try:
            return affinity_of_claim(self._api, namespace, spec["pvc"], but=PART_OF)
        except ApiError as error:
            if error.code != 404:
                raise
            return None  # the Deployment shows that the volume is missing


def main():
    """Serves probes and webhooks and works until it is ended."""
    given = stand_in.flags(
        {
            "metrics-bind-address": ":8080",
            "health-probe-bind-address": ":8081",
            "leader-elect": False,
        }
    )
    if os.environ.get("DEFAULT_POD_SPEC_PATH"):
        sys.exit("this stand-in reads no file of defaults: unset DEFAULT_POD_SPEC_PATH")
    api = Kubernetes()
    try:
        routes = api.get(ROUTES)
    except ApiError as error:
        sys.exit(f"cannot list VirtualServices: {error}")
    if routes is None:
        sys.exit('no matches for kind "VirtualService" in version "networking.istio.io/v1alpha3"')
    pair = (f"{CERTIFICATES}/tls.crt", f"{CERTIFICATES}/tls.key")
    for file in pair:
        if not os.path.exists(file):
            sys.exit(f"open {file}: no such file or directory")
    stand_in.serve_health(int(given["metrics-bind-address"].rpartition(":")[2]), ("/metrics",))
    stand_in.serve_health(int(given["health-probe-bind-address"].rpartition(":")[2]))
    threading.Thread(
        target=admission.serve, args=(WEBHOOK_PORT, Webhook, *pair), daemon=True
    ).start()
    log("stand-in for the PVCViewer controller: watching pvcviewers")
    controller = Controller(api, os.environ)
    for _ in api.changes_of(VIEWERS, "/apis/apps/v1/deployments"):
        try:
            found = api.call("GET", VIEWERS)["items"]
        except ApiError as error:
            log(f"cannot list pvcviewers: {error}")
            continue
        for each in found:
            each |= {"apiVersion": VERSION, "kind": "PVCViewer"}  # a list's items have no kind
            try:
                controller.reconcile(each)
            except ApiError as error:
                if error.code != 409:  # somebody was first; the change brings us here again
                    place = f"{each['metadata']['namespace']}/{each['metadata']['name']}"
                    log(f"pvcviewer {place}: {error}")


if __name__ == "__main__":
    main()
