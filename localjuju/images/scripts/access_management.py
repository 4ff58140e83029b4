"""Stand-in for Kubeflow's access management 1.10: who may use whose namespace, over REST.

The caller's name comes in the user header, which the gateway sets. Only the owner of a profile or
the cluster admin changes its bindings.
"""

import re
import urllib.parse

import stand_in
from stand_in import ApiError, Kubernetes

PROFILES = "/apis/kubeflow.org/v1/profiles"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
POLICIES = "/apis/security.istio.io/v1beta1"
ROLES = {"kubeflow-admin": "admin", "kubeflow-edit": "edit", "kubeflow-view": "view"}


class Access(stand_in.Handler):
    """The REST API below /kfam/v1."""

    api: Kubernetes
    given: dict

    def do_GET(self):
        path, _, query = self.path.partition("?")
        asked = dict(urllib.parse.parse_qsl(query))
        if path in ("/metrics", "/kfam/", "/kfam"):
            self.answer(200, "", "text/plain")
        elif path == "/kfam/v1/bindings":
            self.answer(200, {"bindings": self.bindings(asked)})
        elif path == "/kfam/v1/role/clusteradmin":
            self.answer(200, asked.get("user", "") == self.given["cluster-admin"] != "")
        else:
            self.answer(404, "not found", "text/plain")

    def do_POST(self):
        self.change({"/kfam/v1/bindings": self.bind, "/kfam/v1/profiles": self.make_profile})

    def do_DELETE(self):
        match = re.fullmatch(r"/kfam/v1/profiles/([a-z0-9-]+)", self.path)
        if match:
            self.change({self.path: lambda _: self.remove_profile(match[1])})
        else:
            self.change({"/kfam/v1/bindings": self.unbind})

    def change(self, known):
        """Does what a path is for, with the body; answers as upstream does."""
        action = known.get(self.path)
        if action is None:
            self.answer(404, "not found", "text/plain")
            return
        try:
            action(self.body())
        except PermissionError as error:
            self.answer(403, str(error), "text/plain")
        except (KeyError, TypeError, ValueError) as error:
            self.answer(400, f"malformed: {error}", "text/plain")
        except ApiError as error:
            self.answer(500 if error.code != 403 else 403, str(error), "text/plain")
        else:
            self.answer(200, "", "text/plain")

    def caller(self):
        name = self.headers.get(self.given["userid-header"]) or ""
        return name.removeprefix(self.given["userid-prefix"])

    def require(self, namespace):
        """Raises PermissionError unless the caller may change the profile."""
        profile = self.api.get(f"{PROFILES}/{namespace}")
        owner = profile["spec"]["owner"]["name"] if profile else None
        if self.caller() not in {owner, self.given["cluster-admin"]} - {None, ""}:
            raise PermissionError(f"{self.caller() or 'nobody'} may not change {namespace}")

    def bindings(self, asked):
        found = []
        namespaces = [asked["namespace"]] if asked.get("namespace") else [
            each["metadata"]["name"] for each in self.api.call("GET", PROFILES)["items"]
        ]  # fmt: skip
        for namespace in namespaces:
            for each in self.api.call("GET", f"{RBAC}/namespaces/{namespace}/rolebindings")[
                "items"
            ]:
                notes = each["metadata"].get("annotations") or {}
                role = ROLES.get(each["roleRef"]["name"])
                if not {"user", "role"} <= set(notes) or not role:
                    continue
                if asked.get("user") not in (None, "", notes["user"]):
                    continue
                if asked.get("role") not in (None, "", role):
                    continue
                found.append(
                    {
                        "user": {"kind": "User", "name": notes["user"]},
                        "referredNamespace": namespace,
                        "RoleRef": {"kind": "ClusterRole", "name": role},
                    }
                )
        return found

    def bind(self, body):
        namespace, user, role = self.parts(body)
        self.require(namespace)
        name = binding_name(user, role)
        subject = {
            "kind": user["kind"],
            "name": user["name"],
            "apiGroup": "rbac.authorization.k8s.io",
        }
        notes = {"user": user["name"], "role": role}
        self.api.create(
            f"{RBAC}/namespaces/{namespace}/rolebindings",
            {
                "metadata": {"name": name, "annotations": notes},
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io",
                    "kind": "ClusterRole",
                    "name": f"kubeflow-{role}",
                },
                "subjects": [subject],
            },
        )
        header = f"request.headers[{self.given['userid-header']}]"
        value = self.given["userid-prefix"] + user["name"]
        self.api.create(
            f"{POLICIES}/namespaces/{namespace}/authorizationpolicies",
            {
                "apiVersion": "security.istio.io/v1beta1",
                "kind": "AuthorizationPolicy",
                "metadata": {"name": name, "annotations": notes},
                "spec": {"rules": [{"when": [{"key": header, "values": [value]}]}]},
            },
        )

    def unbind(self, body):
        namespace, user, role = self.parts(body)
        self.require(namespace)
        name = binding_name(user, role)
        self.api.delete(f"{RBAC}/namespaces/{namespace}/rolebindings/{name}")
        self.api.delete(f"{POLICIES}/namespaces/{namespace}/authorizationpolicies/{name}")

    @staticmethod
    def parts(body):
        # Go's JSON takes a key in any case; the dashboard writes it so
        user, role = body["user"], (body.get("RoleRef") or body["roleRef"])["name"]
        if role not in ROLES.values():
            raise ValueError(f"role {role}")
        return body["referredNamespace"], user, role

    def make_profile(self, body):
        name, owner = body["metadata"]["name"], body["spec"]["owner"]["name"]
        if self.caller() not in {owner, self.given["cluster-admin"]} - {""}:
            raise PermissionError(f"{self.caller() or 'nobody'} may not make a profile of {owner}")
        spec = {"apiVersion": "kubeflow.org/v1", "kind": "Profile", "metadata": {"name": name}}
        self.api.create(PROFILES, {**spec, "spec": body["spec"]})

    def remove_profile(self, name):
        self.require(name)
        self.api.delete(f"{PROFILES}/{name}")


def binding_name(user, role):
    """As upstream names it."""
    return re.sub(r"[^a-z0-9]", "-", f"{user['kind']}-{user['name']}-clusterrole-{role}".lower())


def main():
    """Serves until it is ended."""
    given = stand_in.flags(
        {
            "cluster-admin": "",
            "userid-header": "x-goog-authenticated-user-email",
            "userid-prefix": "accounts.google.com:",
        }
    )
    Access.given, Access.api = given, Kubernetes()
    stand_in.log("stand-in for access management: serving on 8081")
    stand_in.serve(8081, Access)
    stand_in.threading.Event().wait()


if __name__ == "__main__":
    main()
