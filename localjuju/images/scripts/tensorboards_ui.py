"""Stand-in for Kubeflow's TensorBoards web app 1.10: it lists, makes and deletes Tensorboards."""

import web_app
from web_app import VOLUMES, WebApp, labels_of, status

TENSORBOARDS = ("tensorboard.kubeflow.org", "v1alpha1", "tensorboards")
FIELDS = """<label>Name <input name="name" required maxlength="50"></label>
<label>Logs <input name="logspath" required size="50" list="paths"
placeholder="pvc://VOLUME/FOLDER or s3://BUCKET/FOLDER"></label><datalist id="paths"></datalist>
<fieldset><legend>Configurations</legend><div id="configurations"></div></fieldset>"""
SCRIPT = """
const field = (name) => $("form").elements[name];
async function prepare() {}
async function rows() {
  return (await call("GET", `${here()}/tensorboards`)).tensorboards.map((each) => {
    const path = `${here()}/tensorboards/${each.name}`;
    return [each.name, `${each.status.phase}: ${each.status.message}`, each.logspath,
      tag("span", {},
        ...(each.status.phase === "ready"
          ? [link("Connect", `/tensorboard/${each.namespace}/${each.name}/`), " "] : []),
        button("Delete", () => confirm(`Delete ${each.name}?`) && call("DELETE", path)))];
  });
}
async function chooseNamespace() {
  const volumes = (await call("GET", `${here()}/pvcs`)).pvcs;
  $("paths").replaceChildren(...volumes.map((each) => tag("option", {value: `pvc://${each}/`})));
  await podDefaults();
}
async function create() {
  await call("POST", `${here()}/tensorboards`, {name: field("name").value,
    logspath: field("logspath").value, configurations: chosen()});
  $("form").reset();
}
"""


class Tensorboards(WebApp):
    """The routes of Tensorboards."""

    title = "TensorBoards"
    headings = ("Name", "Status", "Logs", "")
    new = "New TensorBoard"
    fields = FIELDS
    script = SCRIPT

    def __init__(self, api, settings):
        super().__init__(api, settings)
        all_of_them = "/api/namespaces/{}/tensorboards"
        self.route("GET", "/api/namespaces/{}/pvcs", self.claims)
        self.route("GET", "/api/namespaces/{}/poddefaults", self.pod_defaults)
        self.route("GET", all_of_them, self.listing)
        self.route("POST", all_of_them, self.make)
        self.route("DELETE", f"{all_of_them}/{{}}", self.remove)

    def claims(self, request, namespace):
        found = self.listed(request, VOLUMES, namespace)
        return {"pvcs": [each["metadata"]["name"] for each in found]}

    def listing(self, request, namespace):
        found = self.listed(request, TENSORBOARDS, namespace)
        return {"tensorboards": [shown(each) for each in found]}

    def make(self, request, namespace):
        body = request.body("name", "logspath")
        labels = labels_of(body.get("configurations"))
        made = {
            "apiVersion": "tensorboard.kubeflow.org/v1alpha1",
            "kind": "Tensorboard",
            "metadata": {"name": body["name"], "namespace": namespace, "labels": labels},
            "spec": {"logspath": body["logspath"]},
        }
        self.do(request, "create", TENSORBOARDS, namespace, body=made)
        return {"message": "Tensorboard created successfully."}

    def remove(self, request, namespace, name):
        self.do(request, "delete", TENSORBOARDS, namespace, name)
        return {"message": "Tensorboard deleted successfully."}


def shown(found):
    """What the page shows of a Tensorboard."""
    metadata = found["metadata"]
    if (found.get("status") or {}).get("readyReplicas") == 1:
        state = status("ready", "The Tensorboard server is ready to connect")
    else:
        state = status("unavailable", "The Tensorboard server is currently unavailable")
    return {
        "name": metadata["name"],
        "namespace": metadata["namespace"],
        "logspath": found["spec"]["logspath"],
        "age": metadata["creationTimestamp"],
        "status": state,
    }


if __name__ == "entrypoint":  # as gunicorn loads it
    app = web_app.run(Tensorboards)
