"""Interface `gateway_route`, version 1: paths that the gateway sends to an application.

| side | field of the application's databag | meaning |
| --- | --- | --- |
| requirer | version | `1` |
| requirer | routes | JSON list of routes, see Route |
| provider | url | the gateway's URL as people type it, such as `https://mlops.example.com` |
| provider | cluster-url | the URL for pods of the cluster; may be the same |
| provider | ca | PEM: what clients of cluster-url have to trust |
| provider | token-audience | the audience of service accounts' tokens that the gateway lets in |

The gateway provides the interface. It authenticates every request to a route, except one whose
access is `public`, and asks Kubernetes for the rights that `access` names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

import ops

from charmed_mlops.errors import Waiting
from charmed_mlops.interfaces import _common

VERSION = "1"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_PREFIX = re.compile(r"/(([\w.~-]+|\{namespace\}|\{name\})/)*")
_HOST = re.compile(r"[a-z0-9{]([a-z0-9.{}-]*[a-z0-9}])?")
ACCESS = ("public", "user", "namespace")
SCHEMES = ("", "h2c")
_LATER = ("annotations", "scheme", "own_host")


@dataclass(frozen=True)
class Route:
    """One route.

    Attributes:
        name: unique in its application.
        prefix: path with a slash at both ends; `{namespace}` and `{name}` stand for one segment.
        host: DNS name of the service; may hold the same placeholders.
        port: its TCP port.
        rewrite: what takes the place of the prefix; None leaves the path as it is.
        access: `public` (no login), `user` (any who is logged in), `namespace` (who may do
            `verb` on `resource` of `group` in `{namespace}`, by a SubjectAccessReview).
        group: API group of the resource; empty for the core group.
        resource: plural of the resource.
        verb: the verb, which every HTTP method needs.
        annotations: domain of the annotations `http-rewrite-uri` and `http-headers-request-set`
            of the object `{name}`, which say what its pod gets; empty where objects have none.
        scheme: empty for HTTP/1.1; `h2c` for HTTP/2 without TLS, which gRPC needs.
        own_host: whether the service is asked for by its `host`, not by the name that people
            typed: one that serves many by their names needs it. With access `namespace` it is
            told the namespace in `X-Gateway-Namespace`, which nobody else can give.
    """

    name: str
    prefix: str
    host: str
    port: int
    rewrite: str | None = None
    access: str = "user"
    group: str = ""
    resource: str = ""
    verb: str = "get"
    annotations: str = ""
    scheme: str = ""
    own_host: bool = False


@dataclass(frozen=True)
class Entrance:
    """How a pod of the cluster gets in.

    Attributes:
        url: the gateway's, for pods.
        ca: PEM of what the pod has to trust.
        audience: of the service account token that it has to show.
    """

    url: str
    ca: str
    audience: str


class GatewayRoute:
    """Asks for an application's routes."""

    def __init__(self, charm: ops.CharmBase, endpoint: str = "gateway"):
        self._charm = charm
        self._endpoint = endpoint

    def publish(self, *routes: Route) -> None:
        """Write what differs; only the leader does."""
        if not self._charm.unit.is_leader():
            return
        text = json.dumps([_given(each) for each in routes], sort_keys=True)
        for relation in _common.live(self._charm, self._endpoint):
            mine = relation.data[self._charm.app]
            _common.write(mine, "version", VERSION)
            _common.write(mine, "routes", text)

    @property
    def applications(self) -> list[str]:
        """The gateways, as NetworkPolicies need them."""
        return [each.app.name for each in _common.live(self._charm, self._endpoint)]

    def url(self) -> str | None:
        """The gateway's URL, None while there is no gateway or it has not said it."""
        relation = _common.find(self._charm, self._endpoint)
        return (relation.data[relation.app].get("url") or None) if relation else None

    def require_url(self) -> str:
        """The same, for an application that is of no use without.

        Raises:
            Blocked: there is no relation.
            Waiting: the gateway has not said it yet.
        """
        relation = _common.one(self._charm, self._endpoint)
        url = self.url()
        if not url:
            raise Waiting(f"waiting for {relation.app.name} to give its URL")
        return url

    def entrance(self) -> Entrance | None:
        """How pods get in, None while there is no gateway or it has not said it."""
        relation = _common.find(self._charm, self._endpoint)
        if relation is None:
            return None
        data = relation.data[relation.app]
        url, ca, audience = (data.get(key, "") for key in ("cluster-url", "ca", "token-audience"))
        return Entrance(url, ca, audience) if url and ca and audience else None


@dataclass
class Requests:
    """What the related applications ask for.

    Attributes:
        routes: the good ones, by application.
        problems: what is wrong with the others, one line each.
    """

    routes: dict[str, list[Route]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


class GatewayRouteProvider:
    """Reads what routes are asked for, and tells the gateway's URL."""

    def __init__(self, charm: ops.CharmBase, endpoint: str = "routes"):
        self._charm = charm
        self._endpoint = endpoint

    def requests(self) -> Requests:
        """The routes of all related applications; a prefix belongs to who had it first."""
        found, taken = Requests(), {}
        for relation in sorted(_common.live(self._charm, self._endpoint), key=lambda r: r.id):
            name = relation.app.name
            routes = found.routes.setdefault(name, [])
            try:
                for route in _routes(relation.data[relation.app].get("routes", "")):
                    if taken.setdefault(route.prefix, name) != name:
                        found.problems.append(f"{name}: {taken[route.prefix]} has {route.prefix}")
                        continue
                    routes.append(route)
            except ValueError as error:
                found.problems.append(f"{name}: {error}")
        return found

    def publish(self, url: str, entrance: Entrance) -> None:
        """Tell the URL that people type, and how pods get in; only the leader does."""
        if self._charm.unit.is_leader():
            for relation in _common.live(self._charm, self._endpoint):
                mine = relation.data[self._charm.app]
                _common.write(mine, "url", url)
                _common.write(mine, "cluster-url", entrance.url)
                _common.write(mine, "ca", entrance.ca)
                _common.write(mine, "token-audience", entrance.audience)


def _given(route: Route) -> dict[str, object]:
    """Its fields; one that came later only where it says something, for a gateway of before."""
    return {name: value for name, value in asdict(route).items() if value or name not in _LATER}


def _routes(text: str) -> Iterator[Route]:
    try:
        entries = json.loads(text or "[]")
    except (ValueError, RecursionError):
        raise ValueError("its routes are not JSON") from None
    if not isinstance(entries, list):
        raise ValueError("its routes are not a list")
    for entry in entries:
        try:
            route = Route(**entry)
        except TypeError:
            raise ValueError("a route has unknown or missing fields") from None
        if reason := _wrong(route):
            raise ValueError(reason)
        yield route


def _wrong(route: Route) -> str:
    """What is wrong with a route, empty when nothing is: all of it goes into a configuration."""
    texts = (route.name, route.prefix, route.host, route.group, route.resource, route.verb,
             route.annotations)  # fmt: skip
    if not all(isinstance(each, str) for each in texts):
        return "a route's fields have wrong types"
    if not _NAME.fullmatch(route.name):
        return f"route name {route.name[:64]!r}: lower-case letters, digits and hyphens only"
    if not _PREFIX.fullmatch(route.prefix):
        return f"route {route.name}: prefix must start and end with a slash"
    if not _HOST.fullmatch(route.host):
        return f"route {route.name}: host is not a DNS name"
    if not isinstance(route.port, int) or not 0 < route.port < 65536:
        return f"route {route.name}: port must be from 1 to 65535"
    if route.rewrite is not None and (
        not isinstance(route.rewrite, str) or not _PREFIX.fullmatch(route.rewrite)
    ):
        return f"route {route.name}: rewrite must start and end with a slash"
    if route.access not in ACCESS:
        return f"route {route.name}: access must be one of {', '.join(ACCESS)}"
    if route.access == "namespace" and not (
        "{namespace}" in route.prefix and _NAME.fullmatch(route.resource)
    ):
        return f"route {route.name}: access namespace needs {{namespace}} and a resource"
    if route.group and not re.fullmatch(r"[a-z0-9.-]+", route.group):
        return f"route {route.name}: group is not an API group"
    if not re.fullmatch(r"[a-z]+", route.verb):
        return f"route {route.name}: verb is not a verb"
    if route.scheme not in SCHEMES:
        return f"route {route.name}: scheme must be empty or h2c"
    if not isinstance(route.own_host, bool):
        return f"route {route.name}: own_host must be true or false"
    if not re.fullmatch(r"[a-z0-9.-]*", route.annotations):
        return f"route {route.name}: annotations is not a domain"
    return ""
