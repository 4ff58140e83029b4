"""Stand-in for Kubeflow's volumes web app 1.10: it lists, makes, opens and deletes volumes."""

import string

import web_app
from web_app import NOTEBOOKS, PODS, VOLUMES, RefusedError, WebApp, status

SPEC = "/etc/config/viewer-spec.yaml"
VIEWERS = ("kubeflow.org", "v1alpha1", "pvcviewers")
VIEWER_NAME, PART_OF = "app.kubernetes.io/name", "app.kubernetes.io/part-of"
WAITS_FOR_A_POD = "WaitForFirstConsumer"
FIELDS = """<label>Name <input name="name" required maxlength="50"></label>
<label>Size <input name="size" required value="5Gi"></label>
<label>Mode <select name="mode"><option>ReadWriteOnce</option><option>ReadWriteMany</option>
<option>ReadOnlyMany</option></select></label>
<label>Class <select name="class"></select></label>"""
SCRIPT = """
const field = (name) => $("form").elements[name];
async function prepare() {
  const classes = (await call("GET", "api/storageclasses")).storageClasses;
  field("class").replaceChildren(tag("option", {value: "{empty}"}, "the cluster's default"),
    ...classes.map((each) => tag("option", {}, each)));
}
async function chooseNamespace() {}
function viewer(each) {
  const close = button("Close", () => call("DELETE", `${here()}/viewers/${each.name}`));
  const state = each.viewer.status;
  if (state === "ready") return [link("Open", each.viewer.url), " ", close];
  if (state === "uninitialized")
    return [button("Browse", () => call("POST", `${here()}/viewers`, {name: each.name}))];
  return [`viewer: ${state} `, ...(state === "waiting" ? [close] : [])];
}
async function rows() {
  return (await call("GET", `${here()}/pvcs`)).pvcs.map((each) => {
    const path = `${here()}/pvcs/${each.name}`;
    return [each.name, `${each.status.phase}: ${each.status.message}`, each.capacity,
      each.modes.join(), each.class || "", each.notebooks.join(", "),
      tag("span", {}, ...viewer(each),
        button("Delete", () => confirm(`Delete ${each.name}?`) && call("DELETE", path)))];
  });
}
async function create() {
  const names = ["name", "size", "mode", "class"];
  const body = Object.fromEntries(names.map((name) => [name, field(name).value]));
  await call("POST", `${here()}/pvcs`, {...body, type: "empty"});
  $("form").reset();
}
"""


def viewer_spec():
    """What a viewer is made from: the charm's file. Raises RefusedError."""
    return web_app.read(SPEC)


def filled(value, variables):
    """A value with $NAME and the like replaced. Raises RefusedError where one is not known."""
    if isinstance(value, dict):
        return {key: filled(each, variables) for key, each in value.items()}
    if isinstance(value, list):
        return [filled(each, variables) for each in value]
    if not isinstance(value, str):
        return value
    try:
        return string.Template(value).substitute(variables)
    except KeyError as error:
        raise RefusedError(500, f"{SPEC}: ${error.args[0]} is not set") from None
    except ValueError:
        return value


def claims_of(spec):
    """The claims that a pod's spec names."""
    found = [each.get("persistentVolumeClaim") for each in spec.get("volumes") or []]
    return [each["claimName"] for each in found if each]


def state(claim, events):
    """Why a volume is as it is.

    Args:
        claim: the PersistentVolumeClaim.
        events: gives its events; called only where nothing else tells.
    """
    if claim["metadata"].get("deletionTimestamp"):
        return status("terminating", "Deleting Volume...")
    if claim.get("status", {}).get("phase") == "Bound":
        return status("ready", "Bound")
    found = events()
    if not found:
        return status("waiting", "Provisioning Volume...")
    reason, message = found[0]["reason"], " ".join(found[0]["message"].split())
    if reason == WAITS_FOR_A_POD:
        text = "Pending: This volume will be bound when its first consumer is created."
        return status("unavailable", text, reason)
    is_bad = reason == "FailedBinding" or found[0].get("type") == "Warning"
    phase = "waiting" if reason == "Provisioning" else "warning" if is_bad else "ready"
    return status(phase, f"Pending: {message}", reason)


def viewer_state(viewer):
    """The state of a volume's viewer; of None too."""
    if not viewer:
        return "uninitialized"
    if viewer["metadata"].get("deletionTimestamp"):
        return "terminating"
    return "ready" if (viewer.get("status") or {}).get("ready") else "waiting"


class Volumes(WebApp):
    """The routes of volumes and their viewers."""

    title = "Volumes"
    headings = ("Name", "Status", "Size", "Modes", "Class", "Used by", "")
    new = "New volume"
    fields = FIELDS
    script = SCRIPT

    def __init__(self, api, settings):
        super().__init__(api, settings)
        self._settings = settings
        all_of_them = "/api/namespaces/{}/pvcs"
        self.route("GET", all_of_them, self.listing)
        self.route("POST", all_of_them, self.make)
        self.route("GET", f"{all_of_them}/{{}}", self.one)
        self.route("DELETE", f"{all_of_them}/{{}}", self.remove)
        self.route("GET", f"{all_of_them}/{{}}/pods", self.pods)
        self.route("GET", f"{all_of_them}/{{}}/events", self.events)
        self.route("POST", "/api/namespaces/{}/viewers", self.open)
        self.route("DELETE", "/api/namespaces/{}/viewers/{}", self.close)

    def listing(self, request, namespace):
        claims = self.listed(request, VOLUMES, namespace)
        notebooks = self.listed(request, NOTEBOOKS, namespace)
        viewers = {
            each["metadata"]["name"]: each for each in self.listed(request, VIEWERS, namespace)
        }
        return {"pvcs": [self.shown(each, notebooks, viewers) for each in claims]}

    def shown(self, claim, notebooks, viewers):
        metadata, spec = claim["metadata"], claim["spec"]
        name, namespace = metadata["name"], metadata["namespace"]
        query = web_app.about("PersistentVolumeClaim", name)
        events = f"/api/v1/namespaces/{namespace}/events{query}"
        viewer = viewers.get(name)
        users = [
            each["metadata"]["name"]
            for each in notebooks
            if name in claims_of(each["spec"]["template"]["spec"])
        ]
        real = (claim.get("status") or {}).get("capacity") or spec["resources"]["requests"]
        return {
            "name": name,
            "namespace": namespace,
            "status": state(claim, lambda: self.api.call("GET", events)["items"]),
            "age": metadata["creationTimestamp"],
            "capacity": real["storage"],
            "modes": spec["accessModes"],
            "class": spec.get("storageClassName"),
            "notebooks": users,
            "viewer": {
                "status": viewer_state(viewer),
                "url": ((viewer or {}).get("status") or {}).get("url"),
            },
        }

    def one(self, request, namespace, name):
        return {"pvc": self.do(request, "get", VOLUMES, namespace, name)}

    def make(self, request, namespace):
        body = request.body("name", "mode", "class", "size", "type")
        spec = {
            "accessModes": [body["mode"]],
            "resources": {"requests": {"storage": body["size"]}},
        }
        if body["class"] != "{empty}":
            spec["storageClassName"] = "" if body["class"] == "{none}" else body["class"]
        made = {"metadata": {"name": body["name"], "namespace": namespace}, "spec": spec}
        self.do(request, "create", VOLUMES, namespace, body=made)
        return {"message": "PVC created successfully."}

    def using(self, request, namespace, name):
        found = self.listed(request, PODS, namespace)
        return [each for each in found if name in claims_of(each["spec"])]

    def remove(self, request, namespace, name):
        viewers, others = set(), []
        for each in self.using(request, namespace, name):
            labels = each["metadata"].get("labels") or {}
            if labels.get(PART_OF) == "pvc-viewer":
                viewers.add(labels[VIEWER_NAME])
            else:
                others.append(each["metadata"]["name"])
        if others:
            used = ", ".join(others)
            text = f"Cannot delete PVC '{name}' because it is being used by pods: {used}"
            raise RefusedError(409, text)
        for each in viewers:
            self.do(request, "delete", VIEWERS, namespace, each)
        self.do(request, "delete", VOLUMES, namespace, name)
        return {"message": f"PVC {name} successfully deleted."}

    def pods(self, request, namespace, name):
        return {"pods": self.using(request, namespace, name)}

    def events(self, request, namespace, name):
        return {"events": self.events_of(request, namespace, "PersistentVolumeClaim", name)}

    def open(self, request, namespace):
        name = request.body("name")["name"]
        variables = {**self._settings, "PVC_NAME": name, "NAME": name, "NAMESPACE": namespace}
        made = {
            "apiVersion": "kubeflow.org/v1alpha1",
            "kind": "PVCViewer",
            "metadata": {"name": name, "namespace": namespace},
            "spec": filled(viewer_spec(), variables),
        }
        self.do(request, "create", VIEWERS, namespace, body=made)
        return {"message": "PVCViewer created successfully."}

    def close(self, request, namespace, name):
        self.do(request, "delete", VIEWERS, namespace, name)
        return {"message": f"Viewer {name} successfully deleted."}


if __name__ == "entrypoint":  # as gunicorn loads it
    app = web_app.run(Volumes, lambda: web_app.check_flavor("UI_FLAVOR"), viewer_spec)
