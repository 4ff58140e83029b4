"""Routes as Caddy's configuration needs them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from charmed_mlops.interfaces.gateway_route import Requests, Route

_PLACE = re.compile(r"\{(namespace|name)\}")
_SEGMENT = "[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?"
_NAMESPACE = "[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"  # RFC 1123 label
_RESERVED = ("/oauth2/",)
ANNOTATED = {("kubeflow.org", "notebooks"): "v1"}
"""Kinds whose objects the gateway may read, by group and plural, with the version to ask for."""


@dataclass(frozen=True)
class Entry:
    """One route.

    Attributes:
        key: what the configuration calls it.
        application: who asked for it.
    """

    key: str
    application: str
    route: Route

    @property
    def pattern(self) -> str:
        """A regular expression for the path as it is sent, not as it decodes.

        So what is matched, what rights are asked for and what the application gets are the same.
        """
        return "^" + self._filled(re.escape(self.route.prefix).replace("\\{", "{")
                                  .replace("\\}", "}"))  # fmt: skip

    @property
    def without_slash(self) -> str:
        """For the path that lacks the slash at its end; empty for the root."""
        return self.pattern[:-1] + r"(?:\?|$)" if self.route.prefix != "/" else ""

    @property
    def upstream(self) -> str:
        """HOST:PORT with Caddy's placeholders."""
        return f"{self._placed(self.route.host)}:{self.route.port}"

    @property
    def host(self) -> str:
        """What the service is asked for by, with placeholders; empty for what people typed."""
        return self._placed(self.route.host) if self.route.own_host else ""

    @property
    def strip(self) -> str:
        """What is taken from the path, empty for nothing."""
        return "" if self.route.rewrite is None else self.before_rest

    @property
    def add(self) -> str:
        """What is put before the path."""
        return (self.route.rewrite or "").rstrip("/")

    @property
    def namespace(self) -> str:
        """The namespace of a request, as a placeholder; empty where rights are not asked for."""
        return f"{{re.{self.key}.namespace}}" if self.route.access == "namespace" else ""

    @property
    def object(self) -> str:
        """The path of its object in Kubernetes' API, with placeholders; empty for none."""
        route = self.route
        if not route.annotations:
            return ""
        version = ANNOTATED[route.group, route.resource]
        where = self._placed("namespaces/{namespace}")
        return f"/apis/{route.group}/{version}/{where}/{route.resource}/{self._placed('{name}')}"

    @property
    def before_rest(self) -> str:
        """What the path has before what the object itself serves."""
        return self._placed(self.route.prefix.rstrip("/"))

    def _placed(self, text: str) -> str:
        return _PLACE.sub(lambda found: f"{{re.{self.key}.{found[1]}}}", text)

    @staticmethod
    def _filled(text: str) -> str:
        def group(found: re.Match[str]) -> str:
            return f"(?P<{found[1]}>{_NAMESPACE if found[1] == 'namespace' else _SEGMENT})"

        return _PLACE.sub(group, text)


@dataclass
class Collected:
    """The routes that can be had, the longest prefix first, and why others cannot."""

    routes: list[Entry] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def collected(requests: Requests) -> Collected:
    """All routes in the order in which they are tried."""
    found = Collected(problems=list(requests.problems))
    for application, routes in sorted(requests.routes.items()):
        for route in routes:
            if reason := _wrong(route):
                found.problems.append(f"{application}: route {route.name}: {reason}")
            else:
                found.routes.append(Entry("", application, route))
    found.routes.sort(key=lambda each: (-_fixed(each.route), each.route.prefix))
    found.routes = [
        Entry(f"r{number}", each.application, each.route)
        for number, each in enumerate(found.routes)
    ]
    return found


def _wrong(route: Route) -> str:
    places = _PLACE.findall(route.prefix)
    if len(places) != len(set(places)):
        return "a placeholder stands twice in its prefix"
    used = _PLACE.findall(route.host + (route.rewrite or ""))
    if set(used) - set(places):
        return "its prefix lacks a placeholder of its host"
    if _PLACE.findall(route.rewrite or ""):
        return "rewrite takes no placeholder"
    if re.search(r"[{}]", _PLACE.sub("", route.host)):
        return "its host has an unknown placeholder"
    if ".." in route.prefix.split("/") or "." in route.prefix.split("/"):
        return "its prefix has a dot segment"
    # a host that the path chooses may be chosen by anybody who passes: rights have to be asked for
    if used and route.access != "namespace":
        return "a host with placeholders needs access namespace"
    if "namespace" not in used and used:
        return "its host needs {namespace} too"
    if route.annotations and (
        route.access != "namespace"
        or set(places) != {"namespace", "name"}
        or (route.group, route.resource) not in ANNOTATED
    ):
        return f"the gateway does not read {route.resource} for annotations"
    if route.prefix.startswith(_RESERVED):
        return f"{route.prefix} is the gateway's own"
    return ""


def _fixed(route: Route) -> int:
    return len(_PLACE.sub("", route.prefix))
