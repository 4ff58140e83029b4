"""Stand-in for Kubeflow's Jupyter web app 1.10: it lists, spawns, stops and deletes notebooks."""

import datetime
import json

import web_app
from web_app import NOTEBOOKS, PODS, VOLUMES, RefusedError, WebApp, labels_of, status

CONFIG = "/etc/config/spawner_ui_config.yaml"
STOPPED = "kubeflow-resource-stopped"
MARK = "notebooks.kubeflow.org/"
SERVER_TYPES = {"jupyter": "image", "group-one": "imageGroupOne", "group-two": "imageGroupTwo"}
NAME_FORMAT = "[a-z]([a-z0-9-]*[a-z0-9])?"
STARTING = ("PodInitializing", "ContainerCreating")
STARTING_SECONDS = 10
FIELDS = f"""<label>Name
<input name="name" required maxlength="50" pattern="{NAME_FORMAT}"></label>
<label>Image <select name="image"></select></label>
<label>Other image <input name="customImage" size="60"></label>
<label>CPUs <input name="cpu"></label><label>Memory <input name="memory"></label>
<label>Volume <select name="workspace"></select></label>
<label>Size <input name="size"></label>
<fieldset><legend>Configurations</legend><div id="configurations"></div></fieldset>"""
SCRIPT = """
let config;
const groups = {image: "jupyter", imageGroupOne: "group-one", imageGroupTwo: "group-two"};
const field = (name) => $("form").elements[name];
const free = (name) => !(config[name] && config[name].readOnly);
async function rows() {
  return (await call("GET", `${here()}/notebooks`)).notebooks.map((each) => {
    const path = `${here()}/notebooks/${each.name}`;
    const stops = each.status.phase !== "stopped";
    return [each.name, `${each.status.phase}: ${each.status.message}`, each.shortImage, each.cpu,
      each.memory, tag("span", {},
        ...(each.status.phase === "ready"
          ? [link("Connect", `/notebook/${each.namespace}/${each.name}/`), " "] : []),
        button(stops ? "Stop" : "Start", () => call("PATCH", path, {stopped: stops})),
        button("Delete", () => confirm(`Delete ${each.name}?`) && call("DELETE", path)))];
  });
}
async function chooseNamespace() {
  const volumes = (await call("GET", `${here()}/pvcs`)).pvcs;
  field("workspace").replaceChildren(
    tag("option", {value: "new"}, "new"), tag("option", {value: ""}, "none"),
    ...volumes.map((each) => tag("option", {value: `old ${each.name}`}, each.name)));
  await podDefaults();
  for (const label of config.configurations.value)
    for (const each of document.querySelectorAll("[name=configurations]"))
      if (each.value === label) each.checked = each.defaultChecked = true;
}
function workspace(name) {
  const [kind, claim] = field("workspace").value.split(" ");
  const offered = config.workspaceVolume.value;
  if (kind === "old") return {mount: offered.mount,
    existingSource: {persistentVolumeClaim: {claimName: claim}}};
  if (!kind || !offered.newPvc) return null;
  const made = JSON.parse(JSON.stringify(offered).replaceAll("{notebook-name}", name));
  if (field("size").value) made.newPvc.spec.resources.requests.storage = field("size").value;
  return made;
}
async function create() {
  const name = field("name").value, custom = field("customImage").value;
  const picked = field("image").selectedOptions[0];
  const body = {name, namespace: namespace(), customImageCheck: Boolean(custom),
    serverType: picked ? picked.dataset.type : "jupyter"};
  const offered = {
    imagePullPolicy: () => config.imagePullPolicy.value,
    cpu: () => field("cpu").value, memory: () => field("memory").value,
    gpus: () => config.gpus.value, tolerationGroup: () => config.tolerationGroup.value || "none",
    affinityConfig: () => config.affinityConfig.value || "none", configurations: chosen,
    shm: () => config.shm.value, environment: () => JSON.stringify(config.environment.value),
  };
  for (const [each, value] of Object.entries(offered)) if (free(each)) body[each] = value();
  if (free("image")) body.image = custom || picked.value;
  if (free("dataVolumes")) body.datavols = JSON.parse(
    JSON.stringify(config.dataVolumes.value).replaceAll("{notebook-name}", name));
  if (free("workspaceVolume")) body.workspace = workspace(name);
  await call("POST", `${here()}/notebooks`, body);
  $("form").reset();
}
async function prepare() {
  config = (await call("GET", "api/config")).config;
  for (const [each, type] of Object.entries(groups))
    for (const image of config[each].options) {
      const made = tag("option", {value: image}, image.split("/").pop());
      made.dataset.type = type;
      field("image").append(made);
    }
  field("customImage").parentNode.hidden = !config.allowCustomImage;
  for (const each of ["cpu", "memory"]) {
    field(each).defaultValue = config[each].value;
    field(each).disabled = !free(each);
  }
  for (const each of ["image", "customImage"]) field(each).disabled = !free("image");
  for (const each of ["workspace", "size"]) field(each).disabled = !free("workspaceVolume");
  const claim = config.workspaceVolume.value.newPvc;
  if (claim) field("size").defaultValue = claim.spec.resources.requests.storage;
}
"""


def spawner():
    """What the spawner's form offers: the charm's file. Raises RefusedError."""
    found = web_app.read(CONFIG).get("spawnerFormDefaults")
    if not isinstance(found, dict):
        raise RefusedError(500, f"{CONFIG} has no map spawnerFormDefaults")
    return found


def value(body, defaults, field, offered=None, optional=False):
    """A field of the form; of what users may not change, the default. Raises RefusedError.

    Args:
        body: what the form sent.
        defaults: the spawner's file.
        field: its name in the form.
        offered: its name in the file, where that is another.
        optional: whether it may be left out.
    """
    default = defaults.get(offered or field)
    if default is None:
        return body.get(field)
    if default.get("readOnly"):
        if field in body:
            raise RefusedError(
                400, f"'{field}' is readonly but a value was provided: {body[field]}"
            )
        return default["value"]
    if body.get(field) is None and not optional:
        raise RefusedError(400, f"No value provided for: {field}")
    return body.get(field)


def amount(text, unit=""):
    """The number in such as 1.5Gi. Raises RefusedError."""
    try:
        found = float(str(text).removesuffix(unit))
    except ValueError:
        found = float("nan")
    if not 0 <= found < float("inf"):
        raise RefusedError(400, f"Invalid value: {text}, a number such as 1{unit} is needed")
    return found


def resources(body, defaults):
    """What the notebook's container asks for and is limited to."""
    requests, limits = {}, {}
    for name, unit in (("cpu", ""), ("memory", "Gi")):
        asked, limit = str(value(body, defaults, name)), body.get(f"{name}Limit")
        factor = defaults[name].get("limitFactor", "none")
        if not limit and factor != "none":
            limit = f"{round(amount(asked, unit) * amount(factor), 1)}{unit}"
        requests[name] = asked
        if limit:
            if amount(limit, unit) < amount(asked, unit):
                raise RefusedError(400, f"{name} limit must be greater than the request")
            limits[name] = limit
    gpus = value(body, defaults, "gpus")
    if not isinstance(gpus, dict) or "num" not in gpus:
        raise RefusedError(400, "'gpus' must have a 'num' field")
    if gpus["num"] != "none":
        if not gpus.get("vendor"):
            raise RefusedError(400, "'gpus' must have a 'vendor' field")
        limits[gpus["vendor"]] = str(gpus["num"])
    return {"requests": requests, **({"limits": limits} if limits else {})}


def option(body, defaults, field, key):
    """The offer that the form chose, or None."""
    name = value(body, defaults, field)
    for each in defaults.get(field, {}).get("options") or []:
        if each[key] == name:
            return each
    return None


def notebook(namespace, user, body, defaults):
    """The Notebook that a form describes, without its volumes. Raises RefusedError."""
    name = body["name"]
    kind = value(body, defaults, "serverType") or "jupyter"
    if kind not in SERVER_TYPES:
        raise RefusedError(400, f"'{kind}' is not a valid server type")
    notes = {f"{MARK}server-type": kind, f"{MARK}creator": user}
    if kind != "jupyter":
        notes[f"{MARK}http-rewrite-uri"] = "/"
    if kind == "group-two":
        root = {"X-RStudio-Root-Path": f"/notebook/{namespace}/{name}/"}
        notes[f"{MARK}http-headers-request-set"] = json.dumps(root)
    image = value(body, defaults, "customImage" if body.get("customImage") else "image", "image")
    pairs = json.loads(value(body, defaults, "environment") or "{}")
    container = {
        "name": name,
        "image": image.strip(),
        "imagePullPolicy": value(body, defaults, "imagePullPolicy"),
        "resources": resources(body, defaults),
        "env": [{"name": key, "value": str(each)} for key, each in pairs.items()],
        "volumeMounts": [],
    }
    spec = {
        "serviceAccountName": "default-editor",
        "containers": [container],
        "volumes": [],
        "tolerations": [],
    }
    tolerated = option(body, defaults, "tolerationGroup", "groupKey")
    spec["tolerations"] += tolerated["tolerations"] if tolerated else []
    near = option(body, defaults, "affinityConfig", "configKey")
    if near:
        spec["affinity"] = near["affinity"]
    if value(body, defaults, "shm"):
        spec["volumes"].append({"name": "dshm", "emptyDir": {"medium": "Memory"}})
        container["volumeMounts"].append({"name": "dshm", "mountPath": "/dev/shm"})
    chosen = labels_of(value(body, defaults, "configurations"))
    return {
        "apiVersion": "kubeflow.org/v1beta1",
        "kind": "Notebook",
        "metadata": {
            "name": name, "namespace": namespace, "labels": {"app": name, **chosen},
            "annotations": notes,
        },
        "spec": {"template": {"spec": spec}},
    }  # fmt: skip


def volumes(body, defaults):
    """The volumes that a form asks for, checked. Raises RefusedError."""
    found = list(value(body, defaults, "datavols", "dataVolumes"))
    workspace = value(body, defaults, "workspace", "workspaceVolume", optional=True)
    found += [workspace] if workspace else []
    for each in found:
        if "mount" not in each:
            raise RefusedError(400, f"Volume should have a mount: {each}")
        if ("newPvc" in each) == ("existingSource" in each):
            raise RefusedError(400, f"Volume needs either newPvc or existingSource: {each}")
        if (each.get("newPvc") or {}).get("metadata", {}).get("namespace"):
            raise RefusedError(400, "PVC should not specify the namespace.")
    return found


def mount(made, source, path):
    """Has a notebook mount a volume."""
    claim = source.get("persistentVolumeClaim", {}).get("claimName")
    spec = made["spec"]["template"]["spec"]
    name = claim or f"existing-source-volume-{len(spec['volumes'])}"
    spec["volumes"].append({"name": name, **source})
    spec["containers"][0]["volumeMounts"].append({"name": name, "mountPath": path})


def state(found, events, now):
    """Why a notebook is as it is, in one line.

    Args:
        found: the Notebook.
        events: gives its events; called only where nothing else tells.
        now: the time.
    """
    metadata, seen = found["metadata"], found.get("status") or {}
    container, conditions = seen.get("containerState") or {}, seen.get("conditions") or []
    ready = seen.get("readyReplicas", 0)
    made = datetime.datetime.fromisoformat(metadata["creationTimestamp"].replace("Z", "+00:00"))
    if not container and not conditions and (now - made).total_seconds() <= STARTING_SECONDS:
        return status("waiting", "Waiting for StatefulSet to create the underlying Pod.")
    if STOPPED in (metadata.get("annotations") or {}):
        if ready:
            return status("waiting", "Notebook Server is stopping.")
        return status("stopped", "No Pods are currently running for this Notebook Server.")
    if metadata.get("deletionTimestamp"):
        return status("terminating", "Deleting this Notebook Server.")
    if ready == 1:
        return status("ready", "Running")
    if "waiting" in container:
        reason = container["waiting"].get("reason", "Undefined")
        if reason in STARTING:
            return status("waiting", reason)
        message = container["waiting"].get("message", "No available message for container state.")
        return status("warning", line(f"{reason}: {message}"))
    for each in conditions:
        if "reason" in each:
            return status("warning", line(f"{each['reason']}: {each.get('message', '')}"))
    for each in sorted(events(), key=lambda e: e["metadata"]["creationTimestamp"], reverse=True):
        # an earlier notebook had the same name
        is_own = each["metadata"]["creationTimestamp"] >= metadata["creationTimestamp"]
        if each.get("type") == "Warning" and is_own:
            return status("warning", line(each["message"]))
    return status("warning", "Couldn't find any information for the status of this notebook.")


def line(text):
    """A text in one line."""
    return " ".join(text.split())


def time():
    """The time."""
    return datetime.datetime.now(datetime.timezone.utc)


class Jupyter(WebApp):
    """The routes of notebooks."""

    title = "Notebooks"
    headings = ("Name", "Status", "Image", "CPUs", "Memory", "")
    new = "New notebook"
    fields = FIELDS
    script = SCRIPT

    def __init__(self, api, settings):
        super().__init__(api, settings)
        one = "/api/namespaces/{}/notebooks/{}"
        self.route("GET", "/api/config", lambda request: {"config": spawner()})
        self.route("GET", "/api/gpus", self.vendors)
        self.route("GET", "/api/namespaces/{}/pvcs", self.claims)
        self.route("GET", "/api/namespaces/{}/poddefaults", self.pod_defaults)
        self.route("GET", "/api/namespaces/{}/notebooks", self.listing)
        self.route("POST", "/api/namespaces/{}/notebooks", self.spawn)
        self.route("GET", one, self.one)
        self.route("PATCH", one, self.change)
        self.route("DELETE", one, self.remove)
        self.route("GET", f"{one}/pod", self.pod)
        self.route("GET", f"{one}/pod/{{}}/logs", self.logs)
        self.route("GET", f"{one}/events", self.events)

    def vendors(self, request):
        capacity = {
            key
            for each in self.api.call("GET", "/api/v1/nodes")["items"]
            for key in each["status"].get("capacity") or {}
        }
        known = spawner().get("gpus", {}).get("value", {}).get("vendors", [])
        return {"vendors": [v["limitsKey"] for v in known if v["limitsKey"] in capacity]}

    def claims(self, request, namespace):
        return {
            "pvcs": [
                {
                    "name": each["metadata"]["name"],
                    "size": each["spec"]["resources"]["requests"]["storage"],
                    "mode": each["spec"]["accessModes"][0],
                }
                for each in self.listed(request, VOLUMES, namespace)
            ]
        }

    def status_of(self, request, namespace, found):
        name = found["metadata"]["name"]
        return state(found, lambda: self.events_of(request, namespace, "Notebook", name), time())

    def listing(self, request, namespace):
        return {
            "notebooks": [
                self.shown(request, namespace, each)
                for each in self.listed(request, NOTEBOOKS, namespace)
            ]
        }

    def shown(self, request, namespace, found):
        metadata, container = found["metadata"], found["spec"]["template"]["spec"]["containers"][0]
        notes = metadata.get("annotations") or {}
        asked = container.get("resources") or {}
        known = spawner().get("gpus", {}).get("value", {}).get("vendors", [])
        gpus = [
            (int((asked.get("limits") or {}).get(each["limitsKey"], 0)), each["uiName"])
            for each in known
        ]
        return {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "serverType": notes.get(f"{MARK}server-type"),
            "age": metadata["creationTimestamp"],
            "last_activity": notes.get(f"{MARK}last-activity", ""),
            "image": container["image"],
            "shortImage": container["image"].rpartition("/")[2],
            "cpu": (asked.get("requests") or {}).get("cpu", ""),
            "memory": (asked.get("requests") or {}).get("memory", ""),
            "gpus": {
                "count": sum(count for count, _ in gpus),
                "message": ", ".join(f"{count} {name}" for count, name in gpus if count),
            },
            "volumes": [each["name"] for each in container.get("volumeMounts") or []],
            "status": self.status_of(request, namespace, found),
            "metadata": metadata,
        }

    def one(self, request, namespace, name):
        found = self.do(request, "get", NOTEBOOKS, namespace, name)
        found["processed_status"] = self.status_of(request, namespace, found)
        return {"notebook": found}

    def spawn(self, request, namespace):
        body, defaults = request.body("name"), spawner()
        try:
            made = notebook(namespace, request.user, body, defaults)
            wanted = volumes(body, defaults)
            # nothing is made unless all of it can be
            dry = "?dryRun=All"
            self.do(request, "create", NOTEBOOKS, namespace, body=made, query=dry)
            for each in wanted:
                if "newPvc" in each:
                    claim = each["newPvc"]
                    self.do(request, "create", VOLUMES, namespace, body=claim, query=dry)
            for each in wanted:
                source = each.get("existingSource")
                if source is None:
                    claim = self.do(request, "create", VOLUMES, namespace, body=each["newPvc"])
                    name = claim["metadata"]["name"]
                    source = {"persistentVolumeClaim": {"claimName": name}}
                mount(made, source, each["mount"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise RefusedError(400, f"The form is malformed: {error}") from None
        self.do(request, "create", NOTEBOOKS, namespace, body=made)
        return {"message": "Notebook created successfully."}

    def change(self, request, namespace, name):
        body = request.body()
        if "stopped" not in body:
            text = "Request body must include at least one supported key: ['stopped']"
            raise RefusedError(400, text)
        if body["stopped"]:
            found = self.do(request, "get", NOTEBOOKS, namespace, name)
            if STOPPED in (found["metadata"].get("annotations") or {}):
                raise RefusedError(409, f"Notebook {namespace}/{name} is already stopped.")
        moment = time().strftime("%Y-%m-%dT%H:%M:%SZ") if body["stopped"] else None
        patch = {"metadata": {"annotations": {STOPPED: moment}}}
        self.do(request, "patch", NOTEBOOKS, namespace, name, patch)
        return {}

    def remove(self, request, namespace, name):
        self.do(request, "delete", NOTEBOOKS, namespace, name)
        return {"message": f"Notebook {name} successfully deleted."}

    def pod(self, request, namespace, name):
        query = f"?labelSelector=notebook-name%3D{name}"
        found = self.listed(request, PODS, namespace, query)
        if not found:
            raise RefusedError(404, "No pod detected.")
        return {"pod": found[0]}

    def logs(self, request, namespace, name, pod):
        self.may(request, "get", PODS, namespace, "log")
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log?container={name}"
        return {"logs": self.api.text("GET", path).split("\n")}

    def events(self, request, namespace, name):
        return {"events": self.events_of(request, namespace, "Notebook", name)}


if __name__ == "entrypoint":  # as gunicorn loads it
    app = web_app.run(Jupyter, lambda: web_app.check_flavor("UI_FLAVOR", "UI"), spawner)
