"""Stand-in for Kubeflow's central dashboard 1.10: one page, and what its API says of a user.

npm start. The user is in the header that USERID_HEADER names; her namespaces come from access
management, the menu from the ConfigMap that DASHBOARD_CONFIGMAP names, as upstream's do.
"""

import html
import json
import os
import sys
import threading
import urllib.parse
import urllib.request

sys.path.insert(0, os.getcwd())  # where the image has the rest of it

import stand_in
from stand_in import ApiError, Kubernetes

PAGE = """<!doctype html><meta charset="utf-8"><title>Dashboard</title>
<style>body{{font:16px sans-serif;margin:3em auto;max-width:40em}}nav a{{margin-right:1em}}
small{{color:#666}}</style>
<header><b id="user">{user}</b> <a id="logout" href="{logout}">Log out</a></header>
<nav id="menu">{menu}</nav><h1>Namespaces</h1><ul id="namespaces">{namespaces}</ul>
<p><small>stand-in for the central dashboard</small></p>"""
ROLES = {"admin": "owner", "edit": "contributor", "view": "viewer"}


def setting(name):
    """A variable that has to be there; ends the program where it is not."""
    if name not in os.environ:
        sys.exit(f"{name} is not set")
    return os.environ[name]


class Dashboard(stand_in.Handler):
    """The page and the parts of upstream's API that pages ask for."""

    api: Kubernetes
    management: str
    header: str
    prefix: str
    menu: str
    logout: str

    def do_GET(self):
        path = self.path.partition("?")[0]
        if path in ("/healthz", "/prometheus/metrics"):
            self.answer(200, "", "text/plain")
            return
        try:
            if path == "/":
                self.answer(200, self.page(), "text/html; charset=utf-8")
            elif path == "/api/dashboard-links":
                self.answer(200, self.links())
            elif path == "/api/workgroup/env-info":
                self.answer(200, {"user": self.user(), "namespaces": self.namespaces()})
            else:
                self.answer(404, {"error": f"Could not find the route {path}"})
        except (ApiError, OSError, KeyError, ValueError) as error:
            stand_in.log(f"{path}: {error}")
            self.answer(500, {"error": "Unable to contact Kubernetes or access management"})

    def user(self):
        name = self.headers.get(self.header) or "anonymous@kubeflow.org"
        return name.removeprefix(self.prefix)

    def namespaces(self):
        query = urllib.parse.urlencode({"user": self.user()})
        with urllib.request.urlopen(f"{self.management}/bindings?{query}", timeout=10) as answer:
            bindings = json.load(answer)["bindings"] or []
        return [
            {
                "user": each["user"]["name"],
                "namespace": each["referredNamespace"],
                "role": ROLES.get(each["RoleRef"]["name"], each["RoleRef"]["name"]),
            }
            for each in bindings
        ]

    def links(self):
        return json.loads(self.api.call("GET", self.menu)["data"]["links"])

    def page(self):
        menu = "".join(
            f'<a href="{html.escape(each["link"])}">{html.escape(each["text"])}</a>'
            for each in self.links().get("menuLinks", [])
        )
        namespaces = "".join(
            f"<li>{html.escape(each['namespace'])} ({html.escape(each['role'])})</li>"
            for each in self.namespaces()
        )
        user, logout = html.escape(self.user()), html.escape(self.logout)
        return PAGE.format(user=user, logout=logout, menu=menu, namespaces=namespaces)


def main():
    """Serves until it is ended."""
    if sys.argv[1:] != ["start"]:
        sys.exit("usage: npm start")
    namespace, name = setting("POD_NAMESPACE"), setting("DASHBOARD_CONFIGMAP")
    Dashboard.api = Kubernetes()
    Dashboard.menu = f"/api/v1/namespaces/{namespace}/configmaps/{name}"
    host, port = setting("PROFILES_KFAM_SERVICE_HOST"), setting("PROFILES_KFAM_SERVICE_PORT")
    Dashboard.management = f"http://{host}:{port}/kfam/v1"
    Dashboard.header, Dashboard.prefix = setting("USERID_HEADER"), setting("USERID_PREFIX")
    Dashboard.logout = os.environ.get("LOGOUT_URL", "/logout")
    stand_in.serve(int(os.environ.get("PORT_1", "8082")), Dashboard)
    stand_in.log("stand-in for the central dashboard: listening")
    threading.Event().wait()


if __name__ == "__main__":
    main()
