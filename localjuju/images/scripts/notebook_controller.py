"""Stand-in for Kubeflow's notebook controller 1.10: it makes a StatefulSet and a Service of each.

It stops notebooks whose kernels are idle, where it is told to. Every replica works; the objects
are the same, so no leader is needed.
"""

import datetime
import json
import os
import sys
import urllib.request

import stand_in
from stand_in import ApiError, Kubernetes, log

NOTEBOOKS = "/apis/kubeflow.org/v1/notebooks"
STOPPED = "kubeflow-resource-stopped"
ACTIVITY = "notebooks.kubeflow.org/last-activity"
CHECKED = "notebooks.kubeflow.org/last_activity_check_timestamp"
HOME = "/home/jovyan"
PORT = 8888
GROUP = 100
CONDITION = ("type", "status", "reason", "message", "lastProbeTime", "lastTransitionTime")
COUNTS = {
    "notebook_create_total": 0,
    "notebook_create_failed_total": 0,
    "notebook_culling_total": 0,
}
STARTING_SECONDS = 10


def owned(notebook, name, labels):
    """Metadata of what belongs to a notebook and goes with it."""
    metadata = notebook["metadata"]
    return {
        "name": name,
        "namespace": metadata["namespace"],
        "labels": labels,
        "ownerReferences": [
            {
                "apiVersion": "kubeflow.org/v1", "kind": "Notebook", "name": metadata["name"],
                "uid": metadata["uid"], "controller": True, "blockOwnerDeletion": True,
            }
        ],
    }  # fmt: skip


def stateful_set(notebook, fs_group):
    """The StatefulSet that a notebook is run by."""
    metadata = notebook["metadata"]
    name = metadata["name"]
    labels = {"statefulset": name}
    pod = json.loads(json.dumps(notebook["spec"]["template"]["spec"]))
    container = pod["containers"][0]
    container["workingDir"] = container.get("workingDir") or HOME
    if not container.get("ports"):
        port = {"containerPort": PORT, "name": "notebook-port", "protocol": "TCP"}
        container["ports"] = [port]
    rest = [each for each in container.get("env") or [] if each["name"] != "NB_PREFIX"]
    container["env"] = [*rest, {"name": "NB_PREFIX", "value": prefix(notebook)}]
    if fs_group and pod.get("securityContext") is None:
        pod["securityContext"] = {"fsGroup": GROUP}
    annotations = metadata.get("annotations") or {}
    template = {
        "labels": {**labels, "notebook-name": name, **(metadata.get("labels") or {})},
        "annotations": {
            key: value
            for key, value in annotations.items()
            if "kubectl" not in key and "notebook" not in key
        },
    }
    template["annotations"].pop(STOPPED, None)  # else a stop changes the pod that it ends
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": owned(notebook, name, labels),
        "spec": {
            "replicas": 0 if STOPPED in annotations else 1,
            "selector": {"matchLabels": labels},
            "serviceName": "",
            "template": {"metadata": template, "spec": pod},
        },
    }


def service(notebook):
    """The Service that the gateway sends people to."""
    name = notebook["metadata"]["name"]
    ports = notebook["spec"]["template"]["spec"]["containers"][0].get("ports") or [{}]
    target = ports[0].get("containerPort", PORT)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": owned(notebook, name, {}),
        "spec": {
            "type": "ClusterIP",
            "selector": {"statefulset": name},
            "ports": [
                {"name": f"http-{name}", "port": 80, "targetPort": target, "protocol": "TCP"}
            ],
        },
    }


def prefix(notebook):
    """The path that a notebook is served at."""
    return f"/notebook/{notebook['metadata']['namespace']}/{notebook['metadata']['name']}"


def status(notebook, found, pod):
    """The notebook's status: of its StatefulSet, and of the pod or None."""
    name = notebook["metadata"]["name"]
    state = (pod or {}).get("status") or {}
    containers = [each for each in state.get("containerStatuses") or [] if each["name"] == name]
    return {
        "readyReplicas": (found.get("status") or {}).get("readyReplicas", 0),
        "containerState": containers[0].get("state") or {} if containers else {},
        "conditions": [
            {key: each[key] for key in CONDITION if each.get(key) is not None}
            for each in state.get("conditions") or []
        ],
    }


def reissued(notebook, event):
    """An event of the notebook's StatefulSet, as one of the notebook: there people look for it."""
    metadata = notebook["metadata"]
    place = {key: metadata[key] for key in ("name", "namespace", "uid")}
    kept = ("type", "reason", "count", "firstTimestamp", "lastTimestamp")
    return {
        **{key: event[key] for key in kept if event.get(key) is not None},
        "metadata": {
            "name": f"{metadata['name']}.{event['metadata']['uid']}",
            "namespace": metadata["namespace"],
        },
        "involvedObject": {"apiVersion": "kubeflow.org/v1", "kind": "Notebook", **place},
        "message": f"Reissued from statefulset/{metadata['name']}: {event['message']}",
        "source": {"component": "notebook-controller"},
    }


def now():
    """The time, as annotations have it."""
    return datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)


def text(time):
    """A time as annotations have it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def parsed(value):
    """A time of an annotation or of Jupyter's API. Raises ValueError."""
    return datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))


def culled(annotations, kernels, time, idle_minutes):
    """The annotations that a look at a running notebook changes.

    Args:
        annotations: the notebook's.
        kernels: what Jupyter says of its kernels; None where it does not answer.
        time: when the look is taken.
        idle_minutes: after which time without activity it is stopped.
    """
    if ACTIVITY not in annotations:
        return {ACTIVITY: text(time), CHECKED: text(time)}
    last = parsed(annotations[ACTIVITY])
    if kernels and any(each["execution_state"] != "idle" for each in kernels):
        last = time
    elif kernels:
        last = max(last, *(parsed(each["last_activity"]) for each in kernels))
    changed = {ACTIVITY: text(last), CHECKED: text(time)}
    if time - last > datetime.timedelta(minutes=idle_minutes):
        changed[STOPPED] = text(time)
    return changed


def is_due(annotations, time, period_minutes):
    """Whether a notebook has not been looked at for the period."""
    if ACTIVITY not in annotations or CHECKED not in annotations:
        return True
    return time - parsed(annotations[CHECKED]) >= datetime.timedelta(minutes=period_minutes)


class Controller:
    """Brings what notebooks are made of to their state."""

    def __init__(self, api, settings):
        self._api = api
        self._fs_group = settings.get("ADD_FSGROUP", "true") == "true"
        self._culling = settings.get("ENABLE_CULLING") == "true"
        self._domain = settings.get("CLUSTER_DOMAIN", "cluster.local")
        self._idle = int(settings.get("CULL_IDLE_TIME", "1440"))
        self._period = int(settings.get("IDLENESS_CHECK_PERIOD", "1"))

    def reconcile(self, notebook):
        """One notebook. Raises ApiError."""
        metadata = notebook["metadata"]
        if metadata.get("deletionTimestamp"):
            return
        namespace, name = metadata["namespace"], metadata["name"]
        sets = f"/apis/apps/v1/namespaces/{namespace}/statefulsets"
        found = self._put(sets, stateful_set(notebook, self._fs_group), ("replicas", "template"))
        self._put(f"/api/v1/namespaces/{namespace}/services", service(notebook), ("ports",))
        pod = self._api.get(f"/api/v1/namespaces/{namespace}/pods/{name}-0")
        wanted = status(notebook, found, pod)
        path = f"/apis/kubeflow.org/v1/namespaces/{namespace}/notebooks/{name}"
        if notebook.get("status") != wanted:
            self._api.call("PUT", f"{path}/status", {**notebook, "status": wanted})
        if pod is None:
            self._tell_why(notebook)
        if self._culling:
            self._cull(notebook, path, pod)

    def _tell_why(self, notebook):
        """Says in the notebook's events why its StatefulSet makes no pod, such as a full quota."""
        metadata = notebook["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/events"
        chosen = f"involvedObject.kind%3DStatefulSet,involvedObject.name%3D{metadata['name']}"
        for event in self._api.call("GET", f"{path}?fieldSelector={chosen}")["items"]:
            is_own = event["metadata"]["creationTimestamp"] >= metadata["creationTimestamp"]
            if event.get("type") == "Warning" and is_own:
                self._api.create(path, reissued(notebook, event))

    def _put(self, path, wanted, fields):
        """Creates an object or sets fields of its spec; the server knows what is no change."""
        name = wanted["metadata"]["name"]
        present = self._api.get(f"{path}/{name}")
        if present is None:
            return self._create(path, wanted)
        if present["metadata"].get("ownerReferences") != wanted["metadata"]["ownerReferences"]:
            raise ApiError(409, f"{wanted['kind']} {name} is not the notebook's")
        present["spec"] |= {field: wanted["spec"][field] for field in fields}
        present["metadata"].pop("resourceVersion")
        return self._api.call("PUT", f"{path}/{name}", present)

    def _create(self, path, wanted):
        counted = wanted["kind"] == "StatefulSet"
        try:
            made = self._api.create(path, wanted) or wanted
        except ApiError:
            COUNTS["notebook_create_failed_total"] += counted
            raise
        COUNTS["notebook_create_total"] += counted
        return made

    def _cull(self, notebook, path, pod):
        annotations = notebook["metadata"].get("annotations") or {}
        time = now()
        if pod is None or STOPPED in annotations:
            if pod is None and {ACTIVITY, CHECKED} & set(annotations):
                self._annotate(path, {ACTIVITY: None, CHECKED: None})
        elif is_due(annotations, time, self._period):
            changed = culled(annotations, self._kernels(notebook), time, self._idle)
            self._annotate(path, changed)
            if STOPPED in changed:
                COUNTS["notebook_culling_total"] += 1
                log(f"{prefix(notebook)}: idle since {changed[ACTIVITY]}, stopped")

    def _annotate(self, path, annotations):
        self._api.merge(path, {"metadata": {"annotations": annotations}})

    def _kernels(self, notebook):
        """What Jupyter says; None where it does not answer, as programs other than Jupyter."""
        metadata = notebook["metadata"]
        host = f"{metadata['name']}.{metadata['namespace']}.svc.{self._domain}"
        try:
            with urllib.request.urlopen(
                f"http://{host}{prefix(notebook)}/api/kernels", timeout=STARTING_SECONDS
            ) as answer:
                return json.load(answer)
        except (OSError, ValueError) as error:
            log(f"{prefix(notebook)}: kernels not known: {error}")
            return None


class Metrics(stand_in.Handler):
    """The counters, as Prometheus reads them."""

    def do_GET(self):
        lines = [f"# TYPE {name} counter\n{name} {count}\n" for name, count in COUNTS.items()]
        known = self.path == "/metrics"
        self.answer(200 if known else 404, "".join(lines) if known else "", "text/plain")


def main():
    """Serves probes and works until it is ended."""
    given = stand_in.flags(
        {
            "metrics-addr": ":8080",
            "probe-addr": ":8081",
            "leader-election-namespace": "",
            "enable-leader-election": False,
            "burst": "0",
            "qps": "0",
        }
    )
    if os.environ.get("USE_ISTIO") == "true":
        sys.exit("this stand-in makes no VirtualServices: set USE_ISTIO=false")
    stand_in.serve(int(given["metrics-addr"].rpartition(":")[2]), Metrics)
    stand_in.serve_health(int(given["probe-addr"].rpartition(":")[2]))
    api = Kubernetes()
    controller = Controller(api, os.environ)
    log("stand-in for the notebook controller: watching notebooks")
    pods = ("/api/v1/pods", "notebook-name")
    for _ in api.changes_of(NOTEBOOKS, "/apis/apps/v1/statefulsets", pods):
        try:
            notebooks = api.call("GET", NOTEBOOKS)["items"]
        except ApiError as error:
            log(f"cannot list notebooks: {error}")
            continue
        for notebook in notebooks:
            # a list's items have no kind
            notebook |= {"apiVersion": "kubeflow.org/v1", "kind": "Notebook"}
            try:
                controller.reconcile(notebook)
            except ApiError as error:
                if error.code != 409:  # somebody was first; the change brings us here again
                    log(f"{prefix(notebook)}: {error}")


if __name__ == "__main__":
    main()
