"""Stand-in for KServe's Models web app 0.16: it lists, makes and deletes InferenceServices."""

import os
import urllib.parse

import web_app
from web_app import PODS, RefusedError, WebApp

SERVICES = ("serving.kserve.io", "v1beta1", "inferenceservices")
COMPONENTS = ("predictor", "transformer", "explainer")
CONTAINER = "kserve-container"
FIELDS = """<label>InferenceService, as JSON
<textarea name="document" required rows="12" cols="70"></textarea></label>"""
SCRIPT = """
const field = (name) => $("form").elements[name];
async function prepare() {}
const ready = (each) => ((each.status || {}).conditions || [])
  .find((condition) => condition.type === "Ready") || {status: "Unknown", message: "new"};
async function rows() {
  return (await call("GET", `${here()}/inferenceservices`)).inferenceServices.map((each) => {
    const path = `${here()}/inferenceservices/${each.metadata.name}`;
    const state = ready(each);
    return [each.metadata.name,
      state.status === "True" ? "ready" : `not ready: ${state.message || state.reason || ""}`,
      (each.status || {}).url || "",
      tag("span", {},
        button("Logs", async () => {
          const found = await call("GET", `${path}?logs=true&component=predictor`);
          alert(Object.values(found.serviceLogs).flat().map((pod) => pod.logs.join("\\n")).join());
        }),
        button("Delete", () => confirm(`Delete ${each.metadata.name}?`) && call("DELETE", path)))];
  });
}
async function chooseNamespace() {}
async function create() {
  await call("POST", `${here()}/inferenceservices`, JSON.parse(field("document").value));
  $("form").reset();
}
"""


class Models(WebApp):
    """The routes of InferenceServices."""

    title = "KServe Endpoints"
    headings = ("Name", "Status", "URL", "")
    new = "New endpoint"
    fields = FIELDS
    script = SCRIPT

    def __init__(self, api, settings):
        super().__init__(api, settings)
        all_of_them = "/api/namespaces/{}/inferenceservices"
        self.route("GET", all_of_them, self.listing)
        self.route("POST", all_of_them, self.make)
        self.route("GET", f"{all_of_them}/{{}}", self.one)
        self.route("DELETE", f"{all_of_them}/{{}}", self.remove)

    def listing(self, request, namespace):
        return {"inferenceServices": self.listed(request, SERVICES, namespace)}

    def one(self, request, namespace, name):
        found = self.do(request, "get", SERVICES, namespace, name)
        asked = urllib.parse.parse_qs(request.environ.get("QUERY_STRING", ""))
        if asked.get("logs") != ["true"]:
            return {"inferenceService": found}
        return {"serviceLogs": self.logs(namespace, name, asked.get("component", []))}

    def logs(self, namespace, name, components):
        """What the pods of some components say; as upstream, with the app's own rights."""
        where = f"/api/v1/namespaces/{namespace}/{PODS[2]}"
        label = urllib.parse.quote(f"serving.kserve.io/inferenceservice={name}")
        found = {}
        for pod in self.api.call("GET", f"{where}?labelSelector={label}")["items"]:
            component = pod["metadata"]["labels"].get("component", "")
            if component not in COMPONENTS or component not in components:
                continue
            own = pod["metadata"]["name"]
            text = self.api.text("GET", f"{where}/{own}/log?container={CONTAINER}")
            found.setdefault(component, []).append({"podName": own, "logs": text.split("\n")})
        return found

    def make(self, request, namespace):
        body = request.body("apiVersion", "kind", "metadata", "spec")
        self.do(request, "create", SERVICES, namespace, body=body)
        return {"message": "InferenceService successfully created."}

    def remove(self, request, namespace, name):
        self.do(request, "delete", SERVICES, namespace, name)
        return {"message": f"InferenceService {namespace}/{name} successfully deleted."}


def check_version():
    """Refuses an API version that upstream has not, either."""
    version = os.environ.get("APP_VERSION", "v1beta1")
    if version != "v1beta1":
        raise RefusedError(500, f"No app for: {version}")


if __name__ == "entrypoint":  # as gunicorn loads it
    app = web_app.run(Models, check_version)
