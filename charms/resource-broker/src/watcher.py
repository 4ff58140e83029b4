"""Watches the cluster for the broker and wakes its charm by a Pebble notice.

It runs in a container of the broker's pod, by any Python 3.10 or newer and as any user, and needs
nothing but the standard library. It reads metadata only: the content of Secrets never gets here.
It decides nothing: the charm looks for itself at what there is to do.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import socket
import ssl
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Object = dict[str, Any]
Mark = tuple[Any, ...]

NOTICE = "charmed-mlops.io/cluster-changed"
PAUSE_SECONDS = 1.0
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_WATCH_SECONDS = 240  # the API server ends the watch, and the next one goes on from there
_FIRST_RETRY_SECONDS, _LAST_RETRY_SECONDS = 0.5, 30.0
_METADATA = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"
_GONE = 410
_LAST_RING_SECONDS = 300.0  # as often as Juju's update-status comes


class Unavailable(Exception):  # noqa: N818
    """The API server gave no good answer; `code` is the HTTP status."""

    def __init__(self, code: int):
        super().__init__(f"the API server answers {code}")
        self.code = code


def applied_fields(metadata: Object, manager: str) -> tuple[str, str]:
    """When the manager last applied the object, and a digest of the fields that it still owns.

    Who changes a field by other means than server-side apply takes it from the manager.

    Args:
        metadata: of the object.
        manager: its name; one that ends in `/` stands for all that begin so.
    """
    for entry in metadata.get("managedFields") or []:
        name = entry.get("manager", "")
        same = name.startswith(manager) if manager.endswith("/") else name == manager
        if same and entry.get("operation") == "Apply":
            text = json.dumps(entry.get("fieldsV1"), sort_keys=True)
            return entry.get("time", ""), hashlib.sha256(text.encode()).hexdigest()[:16]
    return "", ""


@dataclass(frozen=True)
class Kind:
    """What to watch, and when to wake the charm.

    Attributes:
        api: group and version.
        kind: its name.
        selector: of labels.
        mark: what of an object matters.
        wakes: whether a change of the mark does; None is an object that is not there.
        namespace: only there; everywhere when empty.
        metadata: whether the metadata is enough.
    """

    api: str
    kind: str
    selector: str
    mark: Callable[[Object], Mark]
    wakes: Callable[[Mark | None, Mark | None], bool]
    namespace: str = ""
    metadata: bool = True


def tenants(label: str) -> Kind:
    """Namespaces that become tenants, go, or are being deleted."""

    def mark(found: Object) -> Mark:
        return (bool(found["metadata"].get("deletionTimestamp")),)

    return Kind("v1", "Namespace", label, mark, lambda before, after: before != after)


def applied(api: str, kind: str, selector: str, broker: str) -> Kind:
    """The broker's objects, when somebody else deletes one or takes a field of it."""

    def mark(found: Object) -> Mark:
        own = applied_fields(found["metadata"], broker)
        return own if own != ("", "") else applied_fields(found["metadata"], f"{broker}/")

    def wakes(before: Mark | None, after: Mark | None) -> bool:
        if before is None or after is None:
            return after is None
        # with another time it was the broker itself
        return before != after and after[0] in ("", before[0])

    return Kind(api, kind, selector, mark, wakes)


def webhooks(services: list[str], namespace: str) -> Kind:
    """Services of webhooks that begin to answer: what waited for them can be applied."""

    def mark(found: Object) -> Mark:
        endpoints = found.get("endpoints") or []
        return (any((each.get("conditions") or {}).get("ready") for each in endpoints),)

    return Kind(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        f"kubernetes.io/service-name in ({','.join(services)})",
        mark,
        lambda before, after: after == (True,) and before != after,
        namespace,
        metadata=False,
    )


class Bell:
    """Wakes the charm, at most once in a while; what comes meanwhile is one more time."""

    def __init__(self, notify: Callable[[], None], pause: float = PAUSE_SECONDS):
        self._notify = notify
        self._pause = pause
        self._rung = threading.Event()
        self._stopped = threading.Event()

    def ring(self) -> None:
        """Have the charm woken."""
        self._rung.set()

    def stop(self) -> None:
        """Have `run` return."""
        self._stopped.set()
        self._rung.set()

    def run(self) -> None:
        """Pass on what rings, until `stop`."""
        while True:
            self._rung.wait()
            if self._stopped.is_set():
                return
            self._rung.clear()
            try:
                self._notify()
            except (OSError, http.client.HTTPException) as error:
                print(f"Pebble does not take the notice: {error}", file=sys.stderr, flush=True)
                self._rung.set()
            self._stopped.wait(self._pause)


class Watch:
    """Watches one kind."""

    def __init__(
        self, kind: Kind, connect: Callable[[], http.client.HTTPConnection],
        token: Callable[[], str], bell: Bell, retry: float = _FIRST_RETRY_SECONDS,
    ):  # fmt: skip
        """Prepares.

        Args:
            kind: what to watch.
            connect: a new connection to the API server.
            token: the bearer token of now, as it is renewed; empty for none.
            bell: what to ring.
            retry: seconds until the second try, twice as many for each further one.
        """
        self._kind = kind
        self._connect = connect
        self._token = token
        self._bell = bell
        self._retry = retry
        self._seen: dict[tuple[str, str], Mark] | None = None
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Have `run` return when its connection ends."""
        self._stopped.set()

    def run(self) -> None:
        """Watch until `stop`; nothing that the API server answers ends it."""
        wait, version = self._retry, ""
        while not self._stopped.is_set():
            try:
                path = self._path()
                if not version:
                    version = self._list(path)
                wait = self._retry
                for seen in self._events(path, version):
                    version = seen
            except Unavailable as error:
                # too old a version, or a kind that is not there: begin anew
                version = ""
                if error.code == _GONE:
                    continue
            except Exception as error:  # a watch that ended would not be missed by anyone
                print(f"{self._kind.kind}: {error!r}", file=sys.stderr, flush=True)
            else:
                continue
            self._stopped.wait(wait)
            wait = min(2 * wait, _LAST_RETRY_SECONDS)

    def _path(self) -> str:
        """The path of the list, by what the API server says of the kind."""
        root = f"/apis/{self._kind.api}" if "/" in self._kind.api else f"/api/{self._kind.api}"
        with _Answer(self._connect(), root, self._token()) as answer:
            found = json.loads(answer.read())["resources"]
        for each in found:
            if each["kind"] == self._kind.kind and "/" not in each["name"]:
                within = f"/namespaces/{self._kind.namespace}" if self._kind.namespace else ""
                return f"{root}{within}/{each['name']}"
        raise Unavailable(404)

    def _list(self, path: str) -> str:
        """Take in what is there; returns the version of it."""
        query = urllib.parse.urlencode({"labelSelector": self._kind.selector})
        kind = _METADATA.format("List") if self._kind.metadata else "application/json"
        with _Answer(self._connect(), f"{path}?{query}", self._token(), kind) as answer:
            found = json.loads(answer.read())
        # without objects, a list of metadata has null
        before, self._seen = (
            self._seen,
            {_key(each): self._mark(each) for each in found["items"] or []},
        )
        if before is not None and any(
            before.get(key) != self._seen.get(key)
            and self._kind.wakes(before.get(key), self._seen.get(key))
            for key in {*before, *self._seen}
        ):
            self._bell.ring()
        return found["metadata"]["resourceVersion"]

    def _events(self, path: str, version: str) -> Iterator[str]:
        """Take in what happens until the API server ends the watch; gives the versions."""
        query = urllib.parse.urlencode(
            {
                "watch": "1",
                "labelSelector": self._kind.selector,
                "resourceVersion": version,
                "allowWatchBookmarks": "true",
                "timeoutSeconds": str(_WATCH_SECONDS),
            }
        )
        kind = _METADATA.format("") if self._kind.metadata else "application/json"
        with _Answer(self._connect(), f"{path}?{query}", self._token(), kind) as answer:
            while line := answer.readline():
                event = json.loads(line)
                found = event["object"]
                if event["type"] == "ERROR":
                    raise Unavailable(found.get("code", _GONE))
                if event["type"] != "BOOKMARK":
                    self._take(found, gone=event["type"] == "DELETED")
                yield found["metadata"]["resourceVersion"]

    def _take(self, found: Object, *, gone: bool) -> None:
        assert self._seen is not None
        key = _key(found)
        before, after = self._seen.pop(key, None), None if gone else self._mark(found)
        if after is not None:
            self._seen[key] = after
        if before != after and self._kind.wakes(before, after):
            self._bell.ring()

    def _mark(self, found: Object) -> Mark:
        return self._kind.mark(found)


class Retry:
    """Has the charm try again what failed, once the API server answers and lets it in.

    Not every failure is followed by a change that a watch sees: an API server that has just
    started refuses what it allows a second later, when it has read the roles.
    """

    def __init__(
        self, connect: Callable[[], http.client.HTTPConnection],
        token: Callable[[], str], bell: Bell, retry: float = PAUSE_SECONDS,
    ):  # fmt: skip
        """Prepares; the arguments are those of `Watch`."""
        self._connect = connect
        self._token = token
        self._bell = bell
        self._retry = retry
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Have `run` return."""
        self._stopped.set()

    def run(self) -> None:
        """Ring until `stop`, more and more seldom: the charm ends this when all is well."""
        wait, rings = self._retry, self._retry
        while not self._stopped.wait(wait):
            if self._let_in():
                self._bell.ring()
                wait = rings = min(2 * rings, _LAST_RING_SECONDS)
            else:
                wait = min(2 * wait, _LAST_RETRY_SECONDS)

    def _let_in(self) -> bool:
        """Whether the API server shows what only a trusted application may see."""
        try:
            with _Answer(self._connect(), "/api/v1/namespaces?limit=1", self._token()):
                return True
        except (Unavailable, OSError, http.client.HTTPException):
            return False


class _Answer:
    """A GET that is open while it is read.

    Raises:
        Unavailable: another answer than 200.
    """

    def __init__(
        self, connection: http.client.HTTPConnection, path: str, token: str,
        kind: str = "application/json",
    ):  # fmt: skip
        self._connection = connection
        self._path = path
        self._headers = {"Accept": kind}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    def __enter__(self) -> http.client.HTTPResponse:
        try:
            self._connection.request("GET", self._path, headers=self._headers)
            answer = self._connection.getresponse()
            if answer.status != http.client.OK:
                raise Unavailable(answer.status)
        except BaseException:
            self._connection.close()
            raise
        return answer

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def _key(found: Object) -> tuple[str, str]:
    return found["metadata"].get("namespace", ""), found["metadata"]["name"]


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str):
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def notify(path: str) -> None:
    """Raise the notice in the Pebble that listens at `path`.

    Without `repeat-after`: Pebble would drop the last of several changes, not pass it on later.
    """
    connection = _UnixConnection(path)
    try:
        body = json.dumps({"action": "add", "type": "custom", "key": NOTICE})
        connection.request("POST", "/v1/notices", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        if answer.status != http.client.OK:
            raise OSError(f"{answer.status} {answer.read(300).decode(errors='replace')}")
    finally:
        connection.close()


def become(user: int) -> None:
    """Raise notices as the charm's user: others' are not passed on by every Juju.

    Before 3.6.25 and 4.0.13 it asks Pebble for those of its own user only, which Pebble says of a
    client by its socket. Source: juju/juju, internal/worker/uniter/pebblenotices.go.

    The token is still there for a user other than root: its file is the pod's group's.
    """
    if user and os.getuid() == 0:
        with contextlib.suppress(PermissionError):
            os.setuid(user)


def kinds(config: Object) -> list[Kind]:
    """What the charm has said to watch."""
    found = [tenants(config["tenants"])]
    found += [
        applied(api, kind, config["selector"], config["broker"]) for api, kind in config["kinds"]
    ]
    if config["webhooks"]:
        found.append(webhooks(config["webhooks"], config["namespace"]))
    return found


def main(file: str) -> None:
    """Watch what the file says, from within a pod, for ever."""

    def connect() -> http.client.HTTPConnection:
        return http.client.HTTPSConnection(
            os.environ["KUBERNETES_SERVICE_HOST"],
            int(os.environ["KUBERNETES_SERVICE_PORT"]),
            timeout=_WATCH_SECONDS + 30,
            context=ssl.create_default_context(cafile=str(_ACCOUNT / "ca.crt")),
        )

    def token() -> str:
        return (_ACCOUNT / "token").read_text().strip()

    pebble = os.environ.get("PEBBLE_SOCKET", "/charm/container/pebble.socket")
    bell = Bell(lambda: notify(pebble))
    config = json.loads(Path(file).read_text())
    become(config["user"])
    for kind in kinds(config):
        watch = Watch(kind, connect, token, bell)
        threading.Thread(target=watch.run, name=kind.kind, daemon=True).start()
    if config["unsettled"]:
        again = Retry(connect, token, bell)
        threading.Thread(target=again.run, name="retry", daemon=True).start()
    time.sleep(PAUSE_SECONDS)  # what happens from now on is seen
    bell.ring()  # what happened before may not have been
    bell.run()


if __name__ == "__main__":
    main(sys.argv[1])
