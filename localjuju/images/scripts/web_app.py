"""What the stand-ins for Kubeflow's web apps 1.10 share: users, rights, errors and the page.

A WSGI application, which gunicorn runs. The gateway says in a header who the user is. Each call
asks Kubernetes whether that user may do what it does, and then does it with the app's own rights.
"""

import hmac
import http
import json
import os
import re
import secrets
import sys
from http.cookies import CookieError, SimpleCookie

import yaml
from stand_in import ApiError, Kubernetes, log

NAME = "[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?"
METHODS = {"list": "GET", "get": "GET", "create": "POST", "patch": "PATCH", "delete": "DELETE"}
SAFE = ("GET", "HEAD", "OPTIONS", "TRACE")
COOKIE, HEADER = "XSRF-TOKEN", "X-XSRF-TOKEN"
BOOT_FAILED = 3  # at which gunicorn ends; at any other code it begins again
LONGEST_BODY = 1 << 20
NOT_CACHED = ("Cache-Control", "no-cache, no-store, must-revalidate, max-age=0")
VOLUMES = ("", "v1", "persistentvolumeclaims")
EVENTS = ("", "v1", "events")
PODS = ("", "v1", "pods")
NOTEBOOKS = ("kubeflow.org", "v1beta1", "notebooks")
POD_DEFAULTS = ("kubeflow.org", "v1alpha1", "poddefaults")
# The dashboard knows the user's namespaces; the app itself may not list them, as upstream's.
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>@TITLE@</title>
<base href="@PREFIX@/"><style>body{font:16px sans-serif;margin:2em auto;max-width:60em}
td,th{text-align:left;padding:.3em 1em .3em 0}form label{display:block;margin:.4em 0}
#message{color:#a00;min-height:1.2em}small{color:#666}button{margin-right:.4em}</style></head>
<body><header><h1>@TITLE@</h1><label>Namespace <select id="namespace"></select></label></header>
<p id="message" role="alert"></p>
<table><thead><tr>@HEADINGS@</tr></thead><tbody id="rows"></tbody></table>
<h2>@NEW@</h2><form id="form">@FIELDS@<button>Create</button></form>
<p><small>stand-in for Kubeflow's web app 1.10</small></p><script>
const $ = (id) => document.getElementById(id);
const namespace = () => $("namespace").value;
const here = () => `api/namespaces/${namespace()}`;
const say = (text) => { if ($("message").textContent !== text) $("message").textContent = text; };
const opened = (path) => new URL(path, location.origin).href;
function tag(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}
const button = (text, action) => tag("button", {type: "button", onclick: () => act(action)}, text);
const link = (text, path) => tag("a", {href: opened(path), target: "_blank"}, text);
async function call(method, path, body) {
  const token = (document.cookie.match(/XSRF-TOKEN=([^;]*)/) || [])[1] || "";
  const headers = {"Content-Type": "application/json", "X-XSRF-TOKEN": token};
  const answer = await fetch(path, {method, headers, body: body && JSON.stringify(body)});
  const none = {success: false, log: `${answer.status} ${answer.statusText}`};
  const said = await answer.json().catch(() => none);
  if (!said.success) throw new Error(said.log || none.log);
  return said;
}
async function refresh() {
  if (!namespace()) return;
  const found = await rows();
  const cell = (each) => tag("td", {}, each);
  $("rows").replaceChildren(...found.map((row) => tag("tr", {}, ...row.map(cell))));
}
async function act(action) {
  say("");
  try { await action(); await refresh(); } catch (error) { say(error.message); }
}
async function podDefaults() {
  const found = (await call("GET", `${here()}/poddefaults`)).poddefaults;
  $("configurations").replaceChildren(...found.map((each) => tag("label", {},
    tag("input", {type: "checkbox", name: "configurations", value: each.label}), each.desc)));
}
const chosen = () => [...document.querySelectorAll("[name=configurations]:checked")]
  .map((each) => each.value);
@SCRIPT@
async function begin() {
  await prepare();
  const asked = new URLSearchParams(location.search).get("ns");
  const info = await fetch("/api/workgroup/env-info").then((answer) => answer.json())
    .catch(() => ({}));
  const known = (info.namespaces || []).map((each) => each.namespace);
  const names = [...new Set(asked ? [asked, ...known] : known)];
  $("namespace").replaceChildren(...names.map((each) => tag("option", {}, each)));
  $("namespace").onchange = () => act(chooseNamespace);
  $("form").onsubmit = (event) => { event.preventDefault(); act(create); };
  if (!names.length) throw new Error("You have no namespace yet: ask for a profile.");
  await chooseNamespace();
}
act(begin);
setInterval(() => refresh().catch((error) => say(error.message)), 4000);
</script></body></html>
"""


class RefusedError(Exception):
    """What the user is told, in one line; `code` is the HTTP status."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


class Request:
    """A call of a user."""

    def __init__(self, environ, user):
        self.environ, self.user = environ, user

    def body(self, *needed):
        """The JSON body, which has these fields. Raises RefusedError."""
        if self.environ.get("CONTENT_TYPE") != "application/json":
            raise RefusedError(400, "Request is not in JSON format.")
        try:
            length = int(self.environ.get("CONTENT_LENGTH") or 0)
            if not 0 <= length <= LONGEST_BODY:
                raise RefusedError(413, "Request is too long.")
            found = json.loads(self.environ["wsgi.input"].read(length))
        except ValueError:
            raise RefusedError(400, "Request is not in JSON format.") from None
        if not isinstance(found, dict):
            raise RefusedError(400, "Request is not a JSON object.")
        for each in needed:
            if each not in found:
                raise RefusedError(400, f"Parameter '{each}' is missing from the request's body.")
        return found


class WebApp:
    """The WSGI application; each app adds its routes and its part of the page.

    The page's script has functions `prepare`, `chooseNamespace`, `rows` and `create`.
    """

    title = ""
    headings = ()
    new = ""
    fields = ""
    script = ""

    def __init__(self, api, settings):
        """`settings` are the variables of its environment."""
        self.api = api
        self._prefix = settings.get("APP_PREFIX", "/").rstrip("/")
        self._header = settings.get("USERID_HEADER", "kubeflow-userid")
        self._user_prefix = settings.get("USERID_PREFIX", ":")
        self._secure = settings.get("APP_SECURE_COOKIES", "true").lower() == "true"
        self._same_site = settings.get("CSRF_SAMESITE", "Strict")
        self._metrics = settings.get("METRICS", "on")
        self._routes = []
        self.route("GET", "/info", lambda request: {"info": {}})
        self.route("GET", "/api/namespaces", self._namespaces)
        self.route("GET", "/api/storageclasses", self._storage_classes)
        self.route("GET", "/api/storageclasses/default", self._default_class)

    def route(self, method, path, action):
        """Has a path answered by what `action` returns; {} stands for a name."""
        pattern = re.escape(path).replace(r"\{\}", f"({NAME})")
        self._routes.append((method, re.compile(pattern), action))

    def __call__(self, environ, start_response):
        """Answers a request."""
        code, kind, headers, body = self._answer(environ)
        data = body.encode()
        status = f"{code} {http.HTTPStatus(code).phrase}"
        length = ("Content-Length", str(len(data)))
        start_response(status, [("Content-Type", kind), length, *headers])
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else data]

    def _answer(self, environ):
        path, plain = environ.get("PATH_INFO", "/"), "application/json"
        if path in ("/healthz/liveness", "/healthz/readiness"):
            return 200, plain, [], json.dumps({"liveness": "alive"}.get(path[9:], "ready"))
        user = environ.get("HTTP_" + self._header.upper().replace("-", "_"))
        user = None if user is None else user.replace(self._user_prefix, "", 1)
        if path == "/metrics" and self._metrics:
            text = f'# TYPE app_info gauge\napp_info{{app="{self.title}"}} 1\n'
            return 200, "text/plain", [], text
        try:
            if not user:
                raise RefusedError(401, "No user detected.")
            self._check_token(environ)
            found = self._call(Request(environ, user))
            if found is None:
                return self._page()
            code, said = 200, {"status": 200, "success": True, "user": user, **found}
        except RefusedError as error:
            code, text = error.code, str(error)
            said = {"success": False, "log": text, "status": code, "user": user}
        except ApiError as error:
            log(f"{environ['REQUEST_METHOD']} {path}: {error}")
            code = error.code or 503
            text = "The requested resource could not be found in the API Server"
            text = text if code == 404 else error.message
            said = {"success": False, "log": text, "status": code, "user": user}
        return code, plain, [], json.dumps(said)

    def _call(self, request):
        """What the path's action returns; None where it is the page's."""
        path, method = request.environ.get("PATH_INFO", "/"), request.environ["REQUEST_METHOD"]
        known = set()
        for wanted, pattern, action in self._routes:
            match = pattern.fullmatch(path)
            if match and wanted == method:
                return action(request, *match.groups())
            if match:
                known.add(wanted)
        if known or method not in ("GET", "HEAD"):
            raise RefusedError(405, "The method is not allowed for the requested URL.")
        if path.startswith("/api/"):
            raise RefusedError(404, f"There is nothing at {path}.")
        return None

    def _check_token(self, environ):
        """Refuses what another site has the user's browser send."""
        if environ["REQUEST_METHOD"] in SAFE:
            return
        try:
            cookies = SimpleCookie(environ.get("HTTP_COOKIE", ""))
        except CookieError:
            cookies = SimpleCookie()
        if COOKIE not in cookies:
            raise RefusedError(403, f"Could not find CSRF cookie {COOKIE} in the request.")
        sent = environ.get("HTTP_X_XSRF_TOKEN")
        if sent is None:
            raise RefusedError(403, f"Could not detect CSRF protection header {HEADER}.")
        if not hmac.compare_digest(sent.encode(), cookies[COOKIE].value.encode()):
            raise RefusedError(403, f"CSRF check failed: cookie {COOKIE} is not header {HEADER}.")

    def _page(self):
        parts = {
            "TITLE": self.title,
            "PREFIX": self._prefix,
            "HEADINGS": "".join(f"<th>{each}</th>" for each in self.headings),
            "NEW": self.new,
            "FIELDS": self.fields,
            "SCRIPT": self.script,
        }
        text = re.sub("@([A-Z]+)@", lambda match: parts[match[1]], PAGE)
        same = self._same_site if self._same_site in ("Strict", "Lax", "None") else "Strict"
        cookie = f"{COOKIE}={secrets.token_urlsafe(32)}; Path={self._prefix or '/'}"
        cookie += f"; SameSite={same}" + ("; Secure" if self._secure else "")
        return 200, "text/html; charset=utf-8", [NOT_CACHED, ("Set-Cookie", cookie)], text

    def may(self, request, verb, kind, namespace=None, part=None):
        """Refuses what Kubernetes does not let the user do."""
        group, version, resource = kind
        asked = {
            "group": group, "version": version, "resource": resource, "verb": verb,
            "namespace": namespace, "subresource": part,
        }  # fmt: skip
        attributes = {key: value for key, value in asked.items() if value is not None}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": request.user, "resourceAttributes": attributes},
        }
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        if self.api.call("POST", path, review)["status"].get("allowed") is not True:
            what = "/".join(each for each in (group, version, resource, part) if each)
            where = f" in namespace '{namespace}'" if namespace else ""
            text = f"User '{request.user}' is not authorized to {verb} {what}{where}"
            raise RefusedError(403, text)

    def do(self, request, verb, kind, namespace, name="", body=None, query=""):
        """Does with objects what the user may do. Raises RefusedError, ApiError."""
        self.may(request, verb, kind, namespace)
        group, version, resource = kind
        root = f"/apis/{group}/{version}" if group else f"/api/{version}"
        path = f"{root}/namespaces/{namespace}/{resource}" + (f"/{name}" if name else "")
        kind = "application/merge-patch+json" if verb == "patch" else "application/json"
        if verb == "delete":
            body = {"propagationPolicy": "Foreground"}
        return self.api.call(METHODS[verb], path + query, body, kind)

    def listed(self, request, kind, namespace, query=""):
        """The objects of a kind in a namespace."""
        return self.do(request, "list", kind, namespace, query=query)["items"]

    def events_of(self, request, namespace, kind, name):
        """The events of an object."""
        return self.listed(request, EVENTS, namespace, about(kind, name))

    def pod_defaults(self, request, namespace):
        """The PodDefaults, each with the label that chooses it and what it is for."""
        found = self.listed(request, POD_DEFAULTS, namespace)
        for each in found:
            each["label"] = next(iter(each["spec"]["selector"].get("matchLabels") or {}), "")
            each["desc"] = each["spec"].get("desc") or each["metadata"]["name"]
        return {"poddefaults": found}

    def _namespaces(self, request):
        self.may(request, "list", ("core", "v1", "namespaces"))
        found = self.api.call("GET", "/api/v1/namespaces")["items"]
        return {"namespaces": [each["metadata"]["name"] for each in found]}

    def _classes(self):
        return self.api.call("GET", "/apis/storage.k8s.io/v1/storageclasses")["items"]

    def _storage_classes(self, request):
        return {"storageClasses": [each["metadata"]["name"] for each in self._classes()]}

    def _default_class(self, request):
        mark = "storageclass.kubernetes.io/is-default-class"
        for each in self._classes():
            if (each["metadata"].get("annotations") or {}).get(mark) == "true":
                return {"defaultStorageClass": each["metadata"]["name"]}
        return {"defaultStorageClass": ""}


def status(phase, message, state=""):
    """What a page shows of an object's state."""
    return {"phase": phase, "message": message, "state": state}


def labels_of(configurations):
    """The labels of the PodDefaults that a form chose."""
    if not isinstance(configurations, list):
        raise RefusedError(400, f"Labels for PodDefaults are not list: {configurations}")
    return dict.fromkeys(map(str, configurations), "true")


def about(kind, name):
    """The query for events of an object."""
    return f"?fieldSelector=involvedObject.kind%3D{kind},involvedObject.name%3D{name}"


def check_flavor(*variables):
    """Refuses a page that upstream has not, either; the first variable that is set counts."""
    name = next((os.environ[each] for each in variables if each in os.environ), "default")
    if name != "default":
        raise RefusedError(500, f"No UI flavor for '{name}'")


def read(path):
    """A YAML file of the charm's. Raises RefusedError with the reason."""
    try:
        with open(path) as file:
            found = yaml.safe_load(file)
    except OSError as error:
        raise RefusedError(500, f"cannot read {path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise RefusedError(500, f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict):
        raise RefusedError(500, f"{path} holds no map")
    return found


def run(app, *checks):
    """The app that gunicorn runs; ends the program where a file or a variable is wrong.

    Args:
        app: the class.
        checks: called with nothing; each raises RefusedError.
    """
    try:
        if os.environ.get("BACKEND_MODE", "production") not in ("prod", "production"):
            raise RefusedError(500, "this stand-in has no development mode")
        for check in checks:
            check()
    except RefusedError as error:
        log(error)
        sys.exit(BOOT_FAILED)
    log(f"stand-in for Kubeflow's web app: {app.title}")
    return app(Kubernetes(), os.environ)
