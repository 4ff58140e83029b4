"""Stand-in for Kubeflow Model Registry's web page 0.3.7: its back end's REST API, and a page.

The registries of a namespace are its Services with the label `component=model-registry`. The user,
whom the gateway names by a header, sees them if Kubernetes lets him get and list Services there;
calls to one of them need `get` of that Service. Then they go on to the registry.
It plays the mode `kubeflow`, which has neither the list of namespaces nor settings. What it does
not play of that mode - catalogs, transfer jobs - it refuses with 501.

Upstream's source, v0.3.7, has what is done here: clients/ui/bff/cmd/main.go, internal/api/app.go,
middleware.go and errors.go, internal/integrations/kubernetes, internal/repositories.
"""

import http.server
import json
import os
import re
import sys
import urllib.error
import urllib.parse
import urllib.request

import stand_in

API, PREFIX = "/api/v1", "/model-registry"
REGISTRY_API = "/api/model_registry/v1alpha3"
FLAGS = {
    "port": "8080", "cert-file": "", "key-file": "", "mock-k8s-client": False,
    "mock-mr-client": False, "mock-mr-catalog-client": False, "dev-mode": False,
    "dev-mode-model-registry-port": "8080", "dev-mode-catalog-port": "8081",
    "deployment-mode": "", "static-assets-dir": "./static", "log-level": "INFO",
    "allowed-origins": "", "bundle-paths": "", "auth-method": "internal",
    "auth-token-header": "Authorization", "auth-token-prefix": "Bearer ",
    "insecure-skip-verify": False, "standalone-mode": False, "federated-platform": False,
}  # fmt: skip
FROM_ENVIRONMENT = (
    "port", "dev-mode-model-registry-port", "dev-mode-catalog-port", "log-level",
    "allowed-origins", "bundle-paths", "auth-token-header", "auth-token-prefix",
    "insecure-skip-verify",
)  # fmt: skip
"""Flags whose default is a variable: the name in capitals, with underscores."""
LABEL = "model-registry"
PORTS = ("http-api", "https-api")
PASSED_ON = (
    "pageSize", "orderBy", "sortOrder", "nextPageToken", "name", "q", "source", "sourceLabel",
    "filterQuery", "artifactType", "targetRPS", "recommendations", "rpsProperty",
    "latencyProperty", "hardwareCountProperty", "hardwareTypeProperty", "filterStatus",
    "assetType",
)  # fmt: skip
"""What of a list's query goes on to the registry."""
ID = r"[^/]+"
CALLS = {
    rf"registered_models/{ID}/versions": ("GET", "POST"),
    rf"registered_models/{ID}": ("GET", "PATCH"),
    "registered_models": ("GET", "POST"),
    rf"model_versions/{ID}/artifacts": ("GET", "POST"),
    rf"model_versions/{ID}": ("GET", "PATCH"),
    "model_versions": ("GET", "POST"),
    rf"artifacts/{ID}": ("GET",),
    "artifacts": ("GET", "POST"),
    rf"model_artifacts/{ID}": ("PATCH",),
}
NOT_PLAYED = re.compile(
    rf"model_catalog(/.*)?|check-namespace-registry-access"
    rf"|model_registry/{ID}(/model_transfer_jobs(/.*)?)?"
)
FORBIDDEN = "Access forbidden"
FAILED = "the server encountered a problem and could not process your request"
PAGE = """<!DOCTYPE html><meta charset="utf-8"><title>Model Registry (stand-in)</title>
<base href="/model-registry/"><h1>Model Registry</h1>
<p>This page is a stand-in for Kubeflow Model Registry's own.</p>
<label>Namespace <select id="namespace"></select></label>
<label>Registry <select id="registry"></select></label>
<p id="message"></p>
<table><thead><tr><th>Model<th>Owner<th>State<th>Versions</thead><tbody id="rows"></tbody></table>
<script>
const $ = (id) => document.getElementById(id);
const say = (text) => { $("message").textContent = text; };
async function call(path) {
  const query = "namespace=" + encodeURIComponent($("namespace").value);
  const answer = await fetch(`api/v1/${path}?${query}`);
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.error.message);
  return said.data;
}
function choices(select, values) {
  select.replaceChildren(...values.map(([value, text]) => new Option(text, value)));
}
async function registries() {
  choices($("registry"), []);
  const found = (await call("model_registry")) || [];
  choices($("registry"), found.map((each) => [each.name, each.displayName || each.name]));
  if (!found.length) throw new Error("There is no registry in this namespace.");
}
async function models() {
  const here = `model_registry/${$("registry").value}/registered_models`;
  const rows = [];
  for (const model of (await call(here)).items || []) {
    const versions = (await call(`${here}/${model.id}/versions`)).items || [];
    const row = document.createElement("tr");
    for (const text of [model.name, model.owner || "", model.state,
                        versions.map((each) => each.name).join(", ")]) {
      row.insertCell().textContent = text;
    }
    rows.push(row);
  }
  $("rows").replaceChildren(...rows);
}
async function show(...steps) {
  say("");
  $("rows").replaceChildren();
  try { for (const step of steps) await step(); } catch (error) { say(error.message); }
}
async function begin() {
  const asked = new URLSearchParams(location.search).get("ns");
  const info = await fetch("/api/workgroup/env-info").then((answer) => answer.json())
    .catch(() => ({}));
  const known = (info.namespaces || []).map((each) => each.namespace);
  const names = [...new Set(asked ? [asked, ...known] : known)];
  choices($("namespace"), names.map((each) => [each, each]));
  $("namespace").onchange = () => show(registries, models);
  $("registry").onchange = () => show(models);
  if (!names.length) return say("You have no namespace yet: ask for a profile.");
  await show(registries, models);
}
begin();
</script>
"""


class RefusedError(Exception):
    """The caller is told no; `status` is HTTP's, `code` what the body says of it."""

    def __init__(self, status, text, code=""):
        super().__init__(text)
        self.status, self.code = status, code or str(status)


def failed(reason):
    """A failure whose reason only the log has."""
    stand_in.log(f"level=ERROR msg={reason!r}")
    return RefusedError(500, FAILED)


def forbidden(reason):
    """A refusal whose reason only the log has."""
    stand_in.log(f'level=WARN msg="Access forbidden" message={reason!r}')
    return RefusedError(403, FORBIDDEN)


def missing():
    """There is no such thing."""
    return RefusedError(404, "the requested resource could not be found")


# Settings ---------------------------------------------------------------------------------------


def settings(argv, environment):
    """The flags. Ends the program at what upstream's refuses, and at what is not played."""
    known = dict(FLAGS)
    for name in FROM_ENVIRONMENT:
        value = environment.get(name.upper().replace("-", "_"), "")
        if value:
            known[name] = value in ("1", "t", "T", "true", "TRUE", "True") if isinstance(
                known[name], bool) else value  # fmt: skip
    found = stand_in.flags(known, argv)
    for name in ("port", "dev-mode-model-registry-port", "dev-mode-catalog-port"):
        if not re.fullmatch(r"\d+", found[name]):
            print(f'invalid value "{found[name]}" for flag -{name}: parse error', file=sys.stderr)
            sys.exit(2)
    mode = found["deployment-mode"].lower()
    if mode not in ("", "kubeflow", "federated", "standalone"):
        print(
            f'invalid value "{mode}" for flag -deployment-mode: invalid deployment mode: {mode} '
            "(must be kubeflow, federated, or standalone)",
            file=sys.stderr,
        )
        sys.exit(2)
    if found["auth-method"] not in ("internal", "user_token"):
        stand_in.log('level=ERROR msg="invalid auth method: (must be internal or user_token)"')
        sys.exit(1)
    mocks = [name for name in found if name.startswith("mock-") and found[name]]
    old = [name for name in ("standalone-mode", "federated-platform") if found[name]]
    tls = [name for name in ("cert-file", "key-file", "allowed-origins") if found[name]]
    for name in (*mocks, *old, *tls):
        sys.exit(f"error: the stand-in has no {name}")
    if mode != "kubeflow" or found["auth-method"] != "internal":
        sys.exit("error: the stand-in plays -deployment-mode=kubeflow -auth-method=internal only")
    return found


# The back end -----------------------------------------------------------------------------------


class User:
    """Who asks, by the gateway's headers. Raises RefusedError."""

    def __init__(self, headers):
        self.name = headers.get("kubeflow-userid") or ""
        if not self.name:
            raise RefusedError(400, "missing required kubeflow-userid header")
        groups = headers.get("kubeflow-groups") or ""
        self.groups = [each.strip() for each in groups.split(",")] if groups else []


def details(service):
    """What is shown of a registry, by its Service. Raises ValueError where it is none."""
    metadata, spec = service["metadata"], service["spec"]
    port = next((each for each in spec.get("ports") or () if each.get("name") in PORTS), None)
    if port is None:
        raise ValueError("missing required 'http-api' or 'https-api' port")
    if not spec.get("clusterIP"):
        raise ValueError("missing ClusterIP")
    https = port["name"] == "https-api"
    said = metadata.get("annotations") or {}
    return {
        "name": metadata["name"],
        "displayName": said.get("displayName", ""),
        "description": said.get("description", ""),
        "serverAddress": address(spec["clusterIP"], port["port"], "https" if https else "http"),
        "isHttps": https,
    }


def address(host, port, scheme="http"):
    """The URL of a registry's API."""
    return f"{scheme}://{host}:{port}{REGISTRY_API}"


class BackEnd:
    """The API: asks Kubernetes what the user may do, and the registry the rest."""

    def __init__(self, api, flags):
        self._api = api
        # upstream's dev-mode: it asks this port of its own pod, whatever address a Service has
        own = flags["dev-mode-model-registry-port"]
        self._own = address("localhost", own) if flags["dev-mode"] else None

    def call(self, method, path, query, headers, body):
        """Status, object and further headers for a request below the API's path.

        Args:
            method: of HTTP.
            path: decoded, without a slash at its begin.
            query: a list of pairs.
            headers: with `get`.
            body: the bytes.

        Raises:
            RefusedError: the caller is told no.
        """
        user = User(headers)
        if path == "user":
            self._method(method, ("GET",))
            return 200, {"userId": user.name, "clusterAdmin": self._is_admin(user)}, []
        if path == "model_registry":
            self._method(method, ("GET",))
            return 200, self._registries(user, self._namespace(query)), []
        found = re.fullmatch(rf"model_registry/({ID})/(.+)", path)
        rest = found[2] if found else ""
        allowed = next((CALLS[each] for each in CALLS if re.fullmatch(each, rest)), None)
        if found and allowed:
            self._method(method, allowed)
            server = self._server(user, self._namespace(query), found[1])
            return self._pass(server, method, f"{API}/{path}", rest, query, body)
        if NOT_PLAYED.fullmatch(path):
            raise RefusedError(501, f"the stand-in has no {path}")
        raise missing()

    def _method(self, method, allowed):
        if method not in allowed:
            raise RefusedError(405, f"the {method} method is not supported for this resource")

    def _namespace(self, query):
        found = next((value for name, value in query if name == "namespace"), "")
        if not found:
            raise RefusedError(400, "missing required query parameter: namespace")
        return found

    def _may(self, user, verb, namespace, name=""):
        """Whether the user may do something with Services. Raises RefusedError."""
        attributes = {"verb": verb, "resource": "services", "namespace": namespace}
        if name:
            attributes["name"] = name
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": user.name, "groups": user.groups, "resourceAttributes": attributes,
            },
        }  # fmt: skip
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        try:
            return self._api.call("POST", path, review)["status"].get("allowed") is True
        except stand_in.ApiError as error:
            raise forbidden(f"SAR or SelfSAR failed for namespace {namespace}: {error}") from None

    def _is_admin(self, user):
        path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
        try:
            bindings = self._api.call("GET", path)["items"]
        except stand_in.ApiError as error:
            raise failed(f"failed to list ClusterRoleBindings: {error}") from None
        return any(
            (subject["kind"], subject["name"]) == ("User", user.name)
            for each in bindings
            if (each["roleRef"]["kind"], each["roleRef"]["name"])
            == ("ClusterRole", "cluster-admin")
            for subject in each.get("subjects") or ()
        )

    def _registries(self, user, namespace):
        if not all(self._may(user, verb, namespace) for verb in ("get", "list")):
            raise forbidden(f"No service access granted in namespace {namespace}")
        place = urllib.parse.quote(namespace, safe="")
        selector = urllib.parse.quote(f"component={LABEL}")
        path = f"/api/v1/namespaces/{place}/services?labelSelector={selector}"
        try:
            services = self._api.call("GET", path)["items"]
        except stand_in.ApiError as error:
            raise failed(f"error fetching model registries: {error}") from None
        found = []
        for each in services:
            try:
                found.append(details(each))
            except ValueError as error:
                stand_in.log(f'level=WARN msg="skipping service" error={str(error)!r}')
        return found

    def _server(self, user, namespace, name):
        """The URL of a registry's API. Raises RefusedError."""
        if not self._may(user, "get", namespace, name):
            raise forbidden(
                "SAR or SelfSAR AccessReview denied access to service "
                f"{name} in namespace {namespace}"
            )
        place, own = (urllib.parse.quote(each, safe="") for each in (namespace, name))
        try:
            service = self._api.call("GET", f"/api/v1/namespaces/{place}/services/{own}")
            if (service["metadata"].get("labels") or {}).get("component") != LABEL:
                raise ValueError("not a model-registry")
            found = details(service)
        except (stand_in.ApiError, ValueError):
            raise missing() from None
        return self._own or found["serverAddress"]

    def _pass(self, server, method, own_path, rest, query, body):
        """Has the registry answer."""
        path = "/".join(urllib.parse.quote(each, safe="") for each in rest.split("/"))
        if method == "GET":
            # upstream's list of all versions takes no page's size
            kept = [] if rest == "model_versions" else [
                each for each in query if each[0] in PASSED_ON and each[1]]  # fmt: skip
            path += f"?{urllib.parse.urlencode(sorted(dict(kept).items()))}" if kept else ""
            try:
                return 200, self._ask(server, method, path), []
            except RefusedError as error:  # why, only the log has
                raise failed(f"error fetching from the registry: {error}") from None
        data = self._data(body)
        if method == "POST" and rest != "artifacts" and not data.get("name"):
            raise RefusedError(400, "validation error:: name cannot be empty")
        made = self._ask(server, method, path, data)
        if method == "PATCH":
            return 200, made, []
        return 201, made, [("Location", f"{own_path}/{made.get('id', '')}")]

    def _data(self, body):
        """What a body carries. Raises RefusedError."""
        try:
            found = json.loads(body)["data"]
        except (ValueError, KeyError, TypeError) as error:
            raise failed(f"error decoding JSON: {error}") from None
        if not isinstance(found, dict):
            raise failed("error decoding JSON: data is no object")
        return found

    def _ask(self, server, method, path, data=None):
        """What the registry answers. Raises RefusedError with its words."""
        request = urllib.request.Request(
            f"{server}/{path}",
            method=method,
            data=None if data is None else json.dumps(data).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            try:
                said = json.loads(text)
                raise RefusedError(error.code, said["message"], said.get("code", "")) from None
            except (ValueError, KeyError, TypeError):
                raise RefusedError(error.code, f"HTTP {error.code}: {text}") from None
        except (OSError, ValueError) as error:
            raise failed(str(error)) from None


# Serving ----------------------------------------------------------------------------------------


class Handler(stand_in.Handler):
    """The API's paths are answered by the back end, all others by the page."""

    back_end: BackEnd

    def do_GET(self):
        self._respond()

    def do_POST(self):
        self._respond()

    def do_PATCH(self):
        self._respond()

    def do_DELETE(self):
        self._respond()

    def _respond(self):
        # read in any case, as the connection goes on
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        place = urllib.parse.urlsplit(self.path)
        path = urllib.parse.unquote(place.path)
        if path == "/healthcheck":
            info = {"status": "available", "system_info": {"version": "1.0.0"}}
            return self.answer(200, info)
        for root in (f"{API}/", f"{PREFIX}{API}/"):
            if path.startswith(root):
                query = urllib.parse.parse_qsl(place.query, keep_blank_values=True)
                return self._call(path[len(root) :], query, data)
        return self.answer(200, PAGE, "text/html; charset=utf-8")

    def _call(self, path, query, data):
        try:
            status, found, headers = self.back_end.call(
                self.command, path, query, self.headers, data
            )
        except RefusedError as error:
            said = {"error": {"code": error.code, "message": str(error)}}
            return self.answer(error.status, said)
        self.answer(status, {"data": found}, headers=headers)


def main():
    """Serves until it is ended."""
    flags = settings(sys.argv[1:], os.environ)
    Handler.back_end = BackEnd(stand_in.Kubernetes(), flags)
    server = http.server.ThreadingHTTPServer(("", int(flags["port"])), Handler)
    server.daemon_threads = True
    stand_in.log("stand-in for Kubeflow Model Registry's web page")
    stand_in.log(f'level=INFO msg="starting server" addr=:{flags["port"]}')
    server.serve_forever()


if __name__ == "__main__":
    main()
