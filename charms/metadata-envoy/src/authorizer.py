"""Decides for Envoy: may who sends this call of ML Metadata see what it would answer?

ML Metadata has no tenants. What a pipeline's steps write there has a context of its run, of type
`system.PipelineRun`, with the run's namespace in its custom property `namespace`, which Pipelines'
driver writes. So what belongs to a run is for who may `get` the `runs` of that namespace, as it is
in Pipelines' API server for the run itself. Kubernetes knows (SubjectAccessReview). Who may that
in all namespaces sees everything.

Envoy asks for each request, at the request's own path below /check, with the header
kubeflow-userid and with the body as it goes to ML Metadata: what was base64 is that no more. 200
lets the call through. 400, 401, 403 and, while ML Metadata or Kubernetes does not answer, 503 let
nothing through. What is not there is refused like what is another's, so that nobody learns which.

A refusal is Envoy's to put: to gRPC-Web it is HTTP 403 with grpc-status 7 and the reason as
grpc-message. The interface's client makes PERMISSION_DENIED of the 403 alone. An HTTP service
cannot refuse by HTTP 200 with a grpc-status: to Envoy that is leave.

Sources: https://www.envoyproxy.io/docs/envoy/v1.37.0/configuration/http/http_filters/ext_authz_filter
https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md
https://protobuf.dev/programming-guides/encoding
https://github.com/google/ml-metadata v1.14.0, metadata_store.proto, metadata_store_service.proto

Standard library only, and the one file that reviews.py is: it runs in a plain Python image.
"""

from __future__ import annotations

import hashlib
import http.client
import http.server
from collections.abc import Callable, Iterable, Iterator, Mapping
from email.message import Message
from typing import NamedTuple

from charmed_mlops.reviews import (
    TIMEOUT_SECONDS,
    Cache,
    Connections,
    Handler,
    Kubernetes,
    Refused,
    User,
    arguments,
    kubernetes,
    listening,
    serve,
)

PREFIX = "/check"
SERVICE = "/ml_metadata.MetadataStoreService/"
USER = "kubeflow-userid"
RUN, PIPELINE = "system.PipelineRun", "system.Pipeline"
GROUP, RESOURCE = "pipelines.kubeflow.org", "runs"
MOST = 1000
"""Ids of a call: each may be a question to ML Metadata."""
NOT_FOUND = 5
"""gRPC's status. https://grpc.io/docs/guides/status-codes/"""
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
WHOLE = (1 << 64) - 1

# Types say what kinds of things there are, not which: they are the same for all.
TYPES = {
    f"Get{kind}Type{form}"
    for kind in ("Artifact", "Execution", "Context")
    for form in ("", "s", "sByID", "sByExternalIds")
}
# What reads all tenants' things at once. GetLineageGraph and -Subgraph go from run to run.
LISTS = {
    *(f"Get{kind}s{form}" for kind in ("Artifact", "Execution", "Context")
      for form in ("", "ByType", "ByExternalIds")),
    "GetArtifactByTypeAndName", "GetExecutionByTypeAndName", "GetArtifactsByURI",
    "GetParentContextsByContexts", "GetChildrenContextsByContexts",
    "GetLineageGraph", "GetLineageSubgraph",
}  # fmt: skip

Fields = Mapping[int, list[int | bytes]]


# Messages ---------------------------------------------------------------------------------------


class Garbled(ValueError):  # noqa: N818
    """Not a message, or one that two programs may read in two ways."""


def whole(data: bytes, at: int) -> tuple[int, int]:
    """A varint, and where it ends. Raises Garbled."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        value |= (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            return value & WHOLE, at
    raise Garbled("a number does not end")


def fields(data: bytes) -> Fields:
    """A message's fields, number to values: whole numbers, else bytes. Raises Garbled."""
    found: dict[int, list[int | bytes]] = {}
    at = 0
    while at < len(data):
        key, at = whole(data, at)
        number, kind = key >> 3, key & 7
        value: int | bytes
        if kind == VARINT:
            value, at = whole(data, at)
        else:
            if kind == BYTES:
                size, at = whole(data, at)
            else:
                size = {FIXED64: 8, FIXED32: 4}.get(kind, len(data) + 1)
            value, at = data[at : at + size], at + size
        if at > len(data) or not 0 < number < 1 << 29:
            raise Garbled("a field does not end, or is none")
        found.setdefault(number, []).append(value)
    return found


def numbers(found: Fields, number: int) -> list[int]:
    """A repeated field of whole numbers, packed or not. Raises Garbled."""
    listed: list[int] = []
    for each in found.get(number, ()):
        if isinstance(each, int):
            listed.append(each)
            continue
        at = 0
        while at < len(each):
            value, at = whole(each, at)
            listed.append(value)
    return listed


def texts(found: Fields, number: int) -> list[bytes]:
    """A repeated field of texts or messages. Raises Garbled."""
    listed = [each for each in found.get(number, ()) if isinstance(each, bytes)]
    if len(listed) != len(found.get(number, ())):
        raise Garbled("a text is a number")
    return listed


def text(found: Fields, number: int) -> str:
    """A text, empty if it is not there; of several the last one counts. Raises Garbled."""
    listed = texts(found, number)
    try:
        return listed[-1].decode() if listed else ""
    except UnicodeDecodeError:
        raise Garbled("a text is none") from None


def varint(number: int) -> bytes:
    """A whole number, seven bits a byte."""
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def identity(number: int) -> bytes:
    """A message whose field 1 is an id: the request of every call that takes one."""
    return varint(1 << 3 | VARINT) + varint(number)


def framed(message: bytes) -> bytes:
    """A message as gRPC sends it."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def frames(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Flag and content of each frame. Raises Garbled."""
    while body:
        size = 5 + int.from_bytes(body[1:5], "big")
        if not 5 <= size <= len(body):
            raise Garbled("a frame does not end")
        yield body[0], body[5:size]
        body = body[size:]


def only_message(body: bytes) -> bytes:
    """The message of a call, which has one; a compressed one is refused. Raises Garbled."""
    listed = list(frames(body))
    if len(listed) != 1 or listed[0][0] != 0:
        raise Garbled("not one plain message")
    return listed[0][1]


# ML Metadata ------------------------------------------------------------------------------------


class Context(NamedTuple):
    """What runs, pipelines and the like are in ML Metadata."""

    type: str
    namespace: str


def context(data: bytes) -> Context:
    """A Context: 5 are its custom properties, 6 its type's name; 3 in a value is a text."""
    found = fields(data)
    pairs = map(fields, texts(found, 5))
    values = {text(each, 1): each for each in pairs}
    of = values.get("namespace", {})
    return Context(text(found, 6), text(fields((texts(of, 2) or [b""])[-1]), 3))


class Store:
    """ML Metadata behind Envoy's second listener, which only this pod reaches and asks nobody."""

    def __init__(self, port: int):
        self.connections = Connections(
            lambda: http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
        )

    def contexts(self, method: str, message: bytes) -> list[Context]:
        """The contexts that a call answers with, in its field 1. Raises Refused."""
        headers = {"Content-Type": "application/grpc-web+proto", "X-Grpc-Web": "1"}
        try:
            answer, body = self.connections.ask("POST", SERVICE + method, framed(message), headers)
            status, listed = answer.getheader("grpc-status") or "", []
            for flag, content in frames(body):
                if flag & 128:
                    status = self._status(content)
                else:
                    listed += [context(each) for each in texts(fields(content), 1)]
            if answer.status != 200 or int(status) not in (0, NOT_FOUND):
                raise ValueError(f"HTTP {answer.status}, gRPC {status or 'no'} status")
        except (OSError, http.client.HTTPException, ValueError) as error:
            print(f"{method}: {error!r}", flush=True)
            raise Refused(503, "ML Metadata does not answer: try again") from None
        return listed

    @staticmethod
    def _status(trailers: bytes) -> str:
        lines = (line.partition(b":") for line in trailers.split(b"\r\n"))
        found = {name.strip().lower(): value.strip() for name, _, value in lines}
        return found.get(b"grpc-status", b"").decode()


# The decision -----------------------------------------------------------------------------------


class Authorizer:
    """The decision."""

    def __init__(self, kubernetes: Kubernetes, store: Store, ttl: float):
        self._kubernetes, self._store = kubernetes, store
        self._rights, self._known = Cache(ttl), Cache(ttl)

    def check(self, path: str, headers: Message, body: bytes) -> dict[str, str]:
        """Returns, with no headers for ML Metadata, if the call may pass.

        Raises:
            Refused: it may not.
        """
        user = self._user(headers)
        method = path.removeprefix(SERVICE) if path.startswith(SERVICE) else ""
        rule = RULES.get(method)
        try:
            message = only_message(body)
            found = fields(message)
            if method in TYPES:
                passes = True
            elif method in LISTS:
                passes = self._may(user, "", "list")
            elif rule is None:
                raise Refused(403, "this call is not for users")
            else:
                passes = self._may(user, "", "get") or rule(self, user, found, message)
        except Garbled as error:
            raise Refused(400, f"this is no call: {error}") from None
        if not passes:
            raise Refused(403, f"{user.name} may not see it, or it is not there")
        return {}

    def _user(self, headers: Message) -> User:
        given = headers.get_all(USER) or [""]
        if len(given) > 1:
            raise Refused(400, f"{USER} is there twice")
        if not given[0].strip():
            raise Refused(401, "log in first")
        return User(given[0].strip(), ())

    def _may(self, user: User, namespace: str, verb: str) -> bool:
        asked = (user, namespace, GROUP, RESOURCE, verb)
        return self._rights.get(asked, lambda: self._kubernetes.allowed(*asked))

    def _contexts(self, method: str, message: bytes) -> list[Context]:
        # a digest: the cache holds no long names
        key = (method, hashlib.sha256(message).digest())
        return self._known.get(key, lambda: self._store.contexts(method, message))

    def _hers(self, user: User, context: Context) -> bool:
        """Whether it is a run that she may see."""
        named = context.type == RUN and bool(context.namespace)
        return named and self._may(user, context.namespace, "get")

    def _any(self, user: User, ids: Iterable[int], method: str) -> bool:
        """Whether each of these things belongs to a run that she may see, others' or not."""
        return all(
            any(self._hers(user, each) for each in self._contexts(method, identity(id)))
            for id in ids
        )

    def _every(self, user: User, ids: Iterable[int], method: str) -> bool:
        """Whether these things belong to runs that she may see, and to nothing else."""
        for id in ids:
            runs = [each for each in self._contexts(method, identity(id)) if each.type != PIPELINE]
            if not runs or not all(self._hers(user, each) for each in runs):
                return False
        return True

    # a rule for each call

    def artifacts(self, user: User, found: Fields, _: bytes) -> bool:
        """Of artifacts one run that used it is enough: the import of a file makes it once."""
        return self._any(user, some(found), "GetContextsByArtifact")

    def uses_of_artifacts(self, user: User, found: Fields, _: bytes) -> bool:
        """The answer says which runs used it, so all of them have to be hers."""
        return self._every(user, some(found), "GetContextsByArtifact")

    def executions(self, user: User, found: Fields, _: bytes) -> bool:
        return self._any(user, some(found), "GetContextsByExecution")

    def runs_of_execution(self, user: User, found: Fields, _: bytes) -> bool:
        return self._every(user, some(found), "GetContextsByExecution")

    def contexts(self, user: User, found: Fields, _: bytes) -> bool:
        """Runs only: a pipeline's context is all tenants' who have one of that name."""
        return all(self._is_hers(user, "GetContextsByID", identity(id)) for id in some(found))

    def context_by_name(self, user: User, _: Fields, message: bytes) -> bool:
        """It is looked for by the very same message: there is no second way to read it."""
        return self._is_hers(user, "GetContextByTypeAndName", message)

    def in_context(self, user: User, found: Fields, message: bytes) -> bool:
        """A filter could ask for what is beyond the context, by yes or no: field 4 of 2."""
        filtered = any(4 in fields(each) for each in texts(found, 2))
        return not filtered and self.contexts(user, found, message)

    def parents(self, user: User, found: Fields, message: bytes) -> bool:
        """Of a run it is the pipeline, of which there is the name to see, which her run has."""
        return self.contexts(user, found, message) and self._related(
            user, found, "GetParentContextsByContext"
        )

    def children(self, user: User, found: Fields, message: bytes) -> bool:
        return self.contexts(user, found, message) and self._related(
            user, found, "GetChildrenContextsByContext"
        )

    def _is_hers(self, user: User, method: str, message: bytes) -> bool:
        listed = self._contexts(method, message)
        return bool(listed) and all(self._hers(user, each) for each in listed)

    def _related(self, user: User, found: Fields, method: str) -> bool:
        return all(
            each.type == PIPELINE or self._hers(user, each)
            for id in some(found)
            for each in self._contexts(method, identity(id))
        )


def some(found: Fields) -> list[int]:
    """The ids of a call, its field 1. Raises Refused, Garbled."""
    listed = sorted(set(numbers(found, 1)))
    if len(listed) > MOST:
        raise Refused(400, f"more than {MOST} ids at once")
    return listed


Rule = Callable[[Authorizer, User, Fields, bytes], bool]


def one(rule: Rule) -> Rule:
    """The rule for a call that takes one id."""

    def checked(authorizer: Authorizer, user: User, found: Fields, message: bytes) -> bool:
        if any(not isinstance(each, int) for each in found.get(1, ())):
            raise Garbled("an id is no number")
        return bool(some(found)) and rule(authorizer, user, found, message)

    return checked


RULES: dict[str, Rule] = {
    "GetArtifactsByID": Authorizer.artifacts,
    "GetEventsByArtifactIDs": Authorizer.uses_of_artifacts,
    "GetContextsByArtifact": one(Authorizer.uses_of_artifacts),
    "GetExecutionsByID": Authorizer.executions,
    "GetEventsByExecutionIDs": Authorizer.executions,
    "GetContextsByExecution": one(Authorizer.runs_of_execution),
    "GetContextsByID": Authorizer.contexts,
    "GetContextByTypeAndName": Authorizer.context_by_name,
    "GetArtifactsByContext": one(Authorizer.in_context),
    "GetExecutionsByContext": one(Authorizer.in_context),
    "GetParentContextsByContext": one(Authorizer.parents),
    "GetChildrenContextsByContext": one(Authorizer.children),
}


def server(authorizer: Authorizer, port: int) -> http.server.ThreadingHTTPServer:
    """The HTTP server, on loopback."""

    class Fence(Handler):
        def asked(self) -> None:
            if self.command != "POST" or not self.path.startswith(f"{PREFIX}/"):
                return super().asked()
            # Envoy has all of the body before it asks
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.removeprefix(PREFIX)
            return self.decide(lambda: authorizer.check(path, self.headers, body))

    return listening(Fence, port)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--store", type=int, required=True, help="Envoy's port for this program")
    args = parser.parse_args()
    authorizer = Authorizer(kubernetes(), Store(args.store), args.ttl)
    serve(server(authorizer, args.port), args.leaving)


if __name__ == "__main__":
    main()
