"""What the stand-ins share: flags as Go's flag package reads them, Kubernetes, a web server.

Only the standard library: a stand-in's image has nothing else.
"""

import http.server
import json
import os
import ssl
import sys
import threading
import time
import urllib.error
import urllib.request

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


def log(text):
    """Prints a line at once."""
    print(text, flush=True)


def flags(known, argv=None):
    """The flags of a Go program: `-name value`, `-name=value`, `--name`, booleans without value.

    Ends the program with code 2 at a flag that upstream's does not know, as upstream's does.

    Args:
        known: name to default; a bool default makes a boolean flag.
        argv: the arguments; the program's own by default.
    """
    found, rest = dict(known), list(sys.argv[1:] if argv is None else argv)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.lstrip("-").partition("=")
        if not word.startswith("-") or name not in known:
            print(f"flag provided but not defined: {word}", file=sys.stderr)
            sys.exit(2)
        if isinstance(known[name], bool):
            found[name] = value.lower() in ("true", "1", "t") if equals else True
        elif equals:
            found[name] = value
        elif rest:
            found[name] = rest.pop(0)
        else:
            print(f"flag needs an argument: -{name}", file=sys.stderr)
            sys.exit(2)
    return found


class ApiError(Exception):
    """Kubernetes said no; `code` is the HTTP status, `message` the reason in one line."""

    def __init__(self, code, text):
        super().__init__(f"{code}: {text}")
        self.code, self.message = code, text


def reason(body):
    """What an answer of Kubernetes says, in one line: a Status's message, or its beginning."""
    try:
        body = json.loads(body)["message"]
    except (KeyError, TypeError, ValueError):
        body = body[:300]
    return " ".join(str(body).split())


class Kubernetes:
    """The API with the pod's own ServiceAccount."""

    def __init__(self):
        host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
        self._base = f"https://{host}:{port}"
        self._tls = ssl.create_default_context(cafile=f"{ACCOUNT}/ca.crt")

    def call(self, method, path, body=None, kind="application/json", timeout=30):
        """The decoded answer. Raises ApiError."""
        return json.loads(self.text(method, path, body, kind, timeout))

    def text(self, method, path, body=None, kind="application/json", timeout=30):
        """The answer as it is. Raises ApiError."""
        with open(f"{ACCOUNT}/token") as file:
            token = file.read().strip()
        request = urllib.request.Request(
            self._base + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": kind},
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout, context=self._tls) as answer:
                return answer.read().decode(errors="replace")
        except urllib.error.HTTPError as error:
            raise ApiError(error.code, reason(error.read().decode(errors="replace"))) from None
        except OSError as error:
            raise ApiError(0, str(error)) from None

    def get(self, path):
        """An object, or None where there is none."""
        try:
            return self.call("GET", path)
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    def create(self, path, body):
        """Creates an object; one that is there already is left as it is."""
        try:
            return self.call("POST", path, body)
        except ApiError as error:
            if error.code != 409:
                raise
            return None

    def merge(self, path, body):
        """A JSON merge patch."""
        return self.call("PATCH", path, body, "application/merge-patch+json")

    def delete(self, path):
        """Deletes an object; one that has gone is fine."""
        try:
            self.call("DELETE", path)
        except ApiError as error:
            if error.code != 404:
                raise

    def changes_of(self, *paths, seconds=20):
        """As `changes`, of several lists; what changes meanwhile is yielded once.

        Args:
            paths: each a path, or a path and a label selector.
            seconds: after which time it yields at the latest.
        """
        changed = threading.Event()

        def follow(path, selector=""):
            for _ in self.changes(path, selector=selector):
                changed.set()

        for each in paths:
            arguments = (each,) if isinstance(each, str) else each
            threading.Thread(target=follow, args=arguments, daemon=True).start()
        while True:
            changed.wait(seconds)
            changed.clear()
            yield

    def changes(self, path, seconds=60, selector=""):
        """Yields at the start, at each change of a list, and at least after some seconds."""
        chosen = f"&labelSelector={selector}" if selector else ""
        while True:
            yield
            try:
                version = self.call("GET", f"{path}?limit=1{chosen}")["metadata"][
                    "resourceVersion"
                ]
                yield
                query = f"?watch=true&resourceVersion={version}&timeoutSeconds={seconds}{chosen}"
                with open(f"{ACCOUNT}/token") as file:
                    token = file.read().strip()
                request = urllib.request.Request(
                    self._base + path + query, headers={"Authorization": f"Bearer {token}"}
                )
                with urllib.request.urlopen(
                    request, timeout=seconds + 30, context=self._tls
                ) as answer:
                    for _ in answer:
                        yield
            except (ApiError, OSError) as error:
                log(f"cannot watch {path}: {error}")
                time.sleep(2)


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers JSON; subclasses have `do_…` methods that return (code, value)."""

    protocol_version = "HTTP/1.1"

    def answer(self, code, value=None, kind="application/json", headers=()):
        """Sends an answer; text as it is, else JSON."""
        body = value if isinstance(value, str) else json.dumps(value)
        data = body.encode()
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, text in headers:
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def body(self):
        """The request's JSON body. Raises ValueError."""
        return json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")

    def log_message(self, format, *arguments):
        """Logs to standard output."""
        log(format % arguments)


def serve(port, handler):
    """Serves in a thread of its own, on all addresses."""
    server = http.server.ThreadingHTTPServer(("", port), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def serve_health(port, paths=("/healthz", "/readyz")):
    """Serves what probes ask for."""

    class Health(Handler):
        def do_GET(self):
            self.answer(200 if self.path in paths else 404, "ok", "text/plain")

    return serve(port, Health)
