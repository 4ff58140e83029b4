"""Stand-in for Kubeflow Pipelines' web server 2.16, `node dist/server.js CLIENT PORT`.

A page lists the runs of a namespace, and what a run's steps took and made. The API is passed on to
the API server with the user's name.
Artifacts and logs are given out only to who may list the runs of the namespace they belong to.
"""

import html
import os
import sys
import urllib.error
import urllib.parse
import urllib.request

import stand_in
from kfp_client import Bucket, RefusedError

BASE = "/pipeline"
PASSED = ("Content-Type", "Content-Encoding", "Accept", "Authorization")
NAMESPACE = "<label>Namespace <input name='ns' value='{}'></label> <button>Show</button>"
PAGE = """<!DOCTYPE html><meta charset="utf-8"><title>Pipelines (stand-in)</title>
<h1>{title}</h1><p>This page is a stand-in for Kubeflow Pipelines' own.</p>
<form>{form}</form>
{message}<table>{rows}</table>"""


class Settings:
    """What the environment says. Raises KeyError."""

    def __init__(self, environment):
        self.server = (
            f"http://{environment['ML_PIPELINE_SERVICE_HOST']}:"
            f"{environment['ML_PIPELINE_SERVICE_PORT']}"
        )
        self.header = (
            environment.get("KUBEFLOW_USERID_HEADER") or "x-goog-authenticated-user-email"
        )
        # what stands before the namespace in the key of everything that a tenant's runs leave
        self.folder = environment["ARGO_KEYFORMAT"].partition("{{workflow.namespace}}")[0]
        namespace = environment.get("MINIO_NAMESPACE", "kubeflow")
        host = environment["MINIO_HOST"] + (f".{namespace}" if namespace else "")
        self.bucket = Bucket(
            f"{host}:{environment['MINIO_PORT']}",
            "",
            environment["MINIO_ACCESS_KEY"],
            environment["MINIO_SECRET_KEY"],
            environment.get("MINIO_SSL") == "true",
        )


class Web(stand_in.Handler):
    """The page and what it asks for."""

    settings: Settings

    def do_GET(self):
        place = urllib.parse.urlsplit(self.path)
        path = place.path.removeprefix(BASE) or "/"
        asked = dict(urllib.parse.parse_qsl(place.query))
        if path.startswith("/apis/") and path.endswith("/healthz"):
            code, _ = self._ask("GET", path)
            ready = code == 200
            self.answer(200 if ready else 503, {"apiServerReady": ready, "stand-in": True})
        elif path.startswith("/apis/"):
            self._pass_on(path + (f"?{place.query}" if place.query else ""))
        elif path == "/artifacts/get":
            self._artifact(asked)
        elif path == "/" and asked.get("run"):
            self._lineage(asked["run"])
        elif path == "/":
            self._page(asked.get("ns", ""))
        else:
            self.answer(404, "not in this stand-in", "text/plain")

    def do_POST(self):
        place = urllib.parse.urlsplit(self.path)
        path = place.path.removeprefix(BASE)
        if not path.startswith("/apis/"):
            self.answer(404, "not in this stand-in", "text/plain")
            return
        self._pass_on(path + (f"?{place.query}" if place.query else ""))

    def do_PATCH(self):
        self.do_POST()

    def do_DELETE(self):
        self.do_POST()

    def _ask(self, method, path, body=None):
        """Status and content of the API server's answer, asked in the user's name."""
        headers = {name: self.headers[name] for name in PASSED if name in self.headers}
        if self.settings.header in self.headers:
            headers[self.settings.header] = self.headers[self.settings.header]
        request = urllib.request.Request(
            self.settings.server + path, method=method, data=body, headers=headers
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(errors="replace")
        except OSError as error:
            return 502, stand_in.json.dumps({"error": f"the API server does not answer: {error}"})

    def _pass_on(self, path):
        length = int(self.headers.get("Content-Length") or 0)
        code, text = self._ask(self.command, path, self.rfile.read(length) if length else None)
        self.answer(code, text)

    def _may_see(self, namespace):
        query = urllib.parse.urlencode({"namespace": namespace, "page_size": 1})
        return bool(namespace) and self._ask("GET", f"/apis/v2beta1/runs?{query}")[0] == 200

    def _artifact(self, asked):
        namespace, key = asked.get("namespace", ""), asked.get("key", "")
        # whose folder it lies in decides, not what the request says
        inside = key.startswith(f"{self.settings.folder}{namespace}/") and ".." not in key
        if not inside or not self._may_see(namespace):
            self.answer(403, "Access denied to namespace", "text/plain")
            return
        try:
            content = self.settings.bucket.get(asked.get("bucket", ""), key)
        except RefusedError as error:
            self.answer(500, str(error), "text/plain")
            return
        self.answer(200, content.decode(errors="replace"), "text/plain")

    def _page(self, namespace):
        message = rows = ""
        if namespace:
            query = urllib.parse.urlencode({"namespace": namespace, "page_size": 50})
            code, text = self._ask("GET", f"/apis/v2beta1/runs?{query}")
            if code == 200:
                found = stand_in.json.loads(text).get("runs") or []
                names = ("run_id", "display_name", "state", "created_at", "finished_at")
                rows = "".join(row(run.get(name, "") for name in names) for run in found)
            else:
                message = f"<p>{html.escape(stand_in.reason(text))}</p>"
        form = NAMESPACE.format(html.escape(namespace))
        self._show(200, "Runs", form, message, rows)

    def _lineage(self, run):
        """What the steps of a run took and made; the API server says who may see it."""
        place = f"/apis/v2beta1/stand-in/runs/{urllib.parse.quote(run, '')}/lineage"
        code, text = self._ask("GET", place)
        if code != 200:
            message = f"<p>{html.escape(stand_in.reason(text))}</p>"
            self._show(code, "Run", "", message, "")
            return
        rows = "".join(
            row((each["task_name"], each["state"], side, key, one["type"], one["uri"]))
            for each in stand_in.json.loads(text)["executions"]
            for side in ("inputs", "outputs")
            for key, listed in each[side].items()
            for one in listed
        )
        self._show(200, f"Run {html.escape(run)}", "", "", rows)

    def _show(self, code, title, form, message, rows):
        page = PAGE.format(title=title, form=form, message=message, rows=rows)
        self.answer(code, page, "text/html; charset=utf-8")


def row(cells):
    """A row of a table."""
    return "<tr>" + "".join(f"<td>{html.escape(str(each))}</td>" for each in cells) + "</tr>"


def main():
    """Serves until it is ended."""
    arguments = sys.argv[1:]
    if len(arguments) != 3 or arguments[0] != "dist/server.js" or not arguments[2].isdigit():
        sys.exit("usage: node dist/server.js CLIENT PORT (this is a stand-in for one program)")
    try:
        Web.settings = Settings(os.environ)
    except KeyError as error:
        sys.exit(f"server.js: {error.args[0]} is not set")
    stand_in.log(f"stand-in for the pipelines' web server: asking {Web.settings.server}")
    stand_in.http.server.ThreadingHTTPServer(("", int(arguments[2])), Web).serve_forever()


if __name__ == "__main__":
    main()
