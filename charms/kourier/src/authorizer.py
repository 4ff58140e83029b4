"""Decides for Envoy: may this pod call this service?

A Knative Service is for pods of its own namespace, and for the gateway, which asks for rights.
Envoy asks for each request, at the request's own path below /check, with its Host and, from
itself, the address of who sends it. Of the request's other headers one comes along: in it a
gateway says for which namespace it has asked for rights. A gateway may be led here by the name of
another namespace's service, with whatever Host its client gave it: it calls services of that one.

Whose address it is, Kubernetes knows. The namespace of a pod is its own and cannot be changed. The
gateway's pods are those that Juju made: of the model's namespace, with the gateway's name in the
label, the name and the ServiceAccount. The label alone would not do: an application may change
its own pods' labels. It is the network's to let no pod send by the address of another.

The namespace of a service is in its name, in which net-kourier knows just these forms:
NAME.NAMESPACE, NAME.NAMESPACE.svc, NAME.NAMESPACE.svc.DOMAIN.

403 says why not; 503, while Kubernetes does not answer. Neither lets anything through.

Standard library only, and the one file that reviews.py is: it runs in a plain Python image.
"""

from __future__ import annotations

import http.server
import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from email.message import Message
from typing import Any, NamedTuple

from charmed_mlops.reviews import (
    Cache,
    Handler,
    Kubernetes,
    Refused,
    arguments,
    kubernetes,
    listening,
    serve,
)

PREFIX = "/check"
NAME_LABEL = "app.kubernetes.io/name"
ENDED = ("Succeeded", "Failed")
ASKED = "X-Gateway-Namespace"
"""What a gateway gives a service that it asks for by the service's own name."""

_LABEL = "[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
HOST = re.compile(rf"{_LABEL}\.(?P<namespace>{_LABEL})(?:\.svc(?:\.{_LABEL})*)?(?::[0-9]{{1,5}})?")


class Peer(NamedTuple):
    """Whose pods have an address.

    Attributes:
        namespace: theirs.
        applications: of Juju, if they are its units in the model.
    """

    namespace: str
    applications: frozenset[str]


def namespace_of(host: str) -> str:
    """The namespace of the service that a Host names. Raises Refused."""
    # Envoy finds a host in whatever case
    found = HOST.fullmatch(host.lower()) if len(host) < 300 else None
    if found is None:
        raise Refused(403, "the host is no service's: NAME.NAMESPACE.svc.cluster.local")
    return found["namespace"]


class Authorizer:
    """The decision.

    Args:
        kubernetes: is asked for pods.
        header: Envoy's, with the address.
        model: the model's namespace.
        gateways: applications of the model that call every service.
        open: whether all do.
        ttl: seconds that it is kept whose an address is.
    """

    def __init__(
        self, kubernetes: Kubernetes, header: str, model: str, gateways: Iterable[str],
        open: bool, ttl: float,
    ):  # fmt: skip
        self._kubernetes, self._header, self._model = kubernetes, header, model
        self._gateways, self._open, self._peers = frozenset(gateways), open, Cache(ttl)

    def check(self, headers: Message) -> dict[str, str]:
        """Returns, with no headers for the service, if the request may pass.

        Raises:
            Refused: it may not.
        """
        if self._open:
            return {}
        address, host = self._only(headers, self._header), self._only(headers, "Host")
        wanted = namespace_of(host)
        peer: Peer = self._peers.get(address, lambda: self._peer(address))
        if peer.namespace == wanted:
            return {}
        if peer.applications & self._gateways:
            if headers.get_all(ASKED) == [wanted]:
                return {}
            raise Refused(403, f"the gateway has not asked for rights in {wanted}")
        raise Refused(403, f"pods of {peer.namespace} may not call services of {wanted}")

    def _only(self, headers: Message, name: str) -> str:
        found = headers.get_all(name) or []
        if len(found) != 1:
            raise Refused(403, f"there is not one {name.lower()}")
        return found[0]

    def _peer(self, address: str) -> Peer:
        """Whose it is. What is refused is not kept: a pod may be known a moment later."""
        try:
            text = str(ipaddress.ip_address(address))
        except ValueError:
            raise Refused(403, "the caller has no address") from None
        path = f"/api/v1/pods?fieldSelector=status.podIP={text}"
        pods = [each for each in self._kubernetes.items(path) if _has(each, text)]
        if any((each.get("spec") or {}).get("hostNetwork") for each in pods):
            raise Refused(403, "the caller has the address of a node, which is no pod's alone")
        namespaces = {each["metadata"]["namespace"] for each in pods}
        if len(namespaces) != 1:
            why = "several namespaces" if namespaces else "no pod that is known"
            raise Refused(403, f"the caller's address is of {why}")
        (namespace,) = namespaces
        names = {self._application(each) for each in pods}
        return Peer(namespace, frozenset(names) if len(names) == 1 else frozenset())

    def _application(self, pod: Mapping[str, Any]) -> str:
        """The application of the model whose unit it is, "" if it is none's."""
        metadata, spec = pod["metadata"], pod.get("spec") or {}
        name = (metadata.get("labels") or {}).get(NAME_LABEL) or ""
        unit = re.fullmatch(rf"{re.escape(name)}-[0-9]+", metadata["name"])
        of_juju = name and unit and spec.get("serviceAccountName") == name
        return name if of_juju and metadata["namespace"] == self._model else ""


def _has(pod: Mapping[str, Any], address: str) -> bool:
    """Whether it has the address still: one that has ended has not, though it says so."""
    status = pod.get("status") or {}
    return status.get("podIP") == address and status.get("phase") not in ENDED


def server(authorizer: Authorizer, port: int) -> http.server.ThreadingHTTPServer:
    """The HTTP server, on loopback."""

    class Fence(Handler):
        def __getattr__(self, name: str) -> Callable[[], None]:
            # Envoy asks by the request's own method, which may be any
            if name.startswith("do_"):
                return self.do_GET
            raise AttributeError(name)

        def asked(self) -> None:
            if not self.path.startswith(f"{PREFIX}/"):
                return super().asked()
            return self.decide(lambda: authorizer.check(self.headers))

        def answer(
            self, status: int, text: str, headers: Mapping[str, str] | None = None,
            kind: str = "text/plain",
        ) -> None:  # fmt: skip
            # the answer to HEAD has no body: what followed on the connection would be read as one
            super().answer(status, "" if self.command == "HEAD" else text, headers, kind)

    return listening(Fence, port)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--peer", required=True, help="Envoy's header with the address")
    parser.add_argument("--namespace", required=True, help="the model's")
    parser.add_argument("--gateways", required=True, help="applications, with commas between")
    parser.add_argument("--open", choices=("true", "false"), required=True)
    args = parser.parse_args()
    gateways = [each for each in args.gateways.split(",") if each]
    authorizer = Authorizer(
        kubernetes(), args.peer, args.namespace, gateways, args.open == "true", args.ttl
    )
    serve(server(authorizer, args.port), args.leaving)


if __name__ == "__main__":
    main()
