"""The watcher: what it wakes the charm for, against a small API server and against a real one."""

from __future__ import annotations

import http.client
import http.server
import json
import queue
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from ops import testing
from test_charm import (  # pyright: ignore[reportMissingImports]
    ALL,
    CHARM,
    RBAC,
    answer,
    put_namespace,
    relate,
    run,
    thing,
)

from charmed_mlops.interfaces.manifests import digest, pack
from charms.small_servers import serving

PATIENCE = 20  # seconds after which something that has to come is missed
PROFILE = {"app.kubernetes.io/part-of": "kubeflow-profile"}
LABEL = "app.kubernetes.io/part-of=kubeflow-profile"


class Api(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """A list of one kind, and its watches: what is put into `events` goes to the open one."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.items: list[dict[str, Any]] = []
        self.events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.asked: queue.Queue[tuple[str, dict[str, list[str]]]] = queue.Queue()
        self.refusals = 0

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.server_port, timeout=PATIENCE)

    def wait(self, what: str) -> dict[str, list[str]]:
        """The query of the next `list` or `watch`."""
        while True:
            found, query = self.asked.get(timeout=PATIENCE)
            if found == what:
                return query


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Api  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url, api = urlsplit(self.path), self.server
        query = parse_qs(url.query)
        assert self.headers["Authorization"] == "Bearer a-token"
        if api.refusals:
            api.refusals -= 1
            self.send_error(503)
            return
        if url.path in ("/api/v1", "/apis/discovery.k8s.io/v1"):
            kinds = {"Namespace": "namespaces", "ConfigMap": "configmaps"}
            kinds["EndpointSlice"] = "endpointslices"
            self._answer({"resources": [{"kind": k, "name": n} for k, n in kinds.items()]})
        elif "watch" not in query:
            api.asked.put(("list", query))
            self._answer({"metadata": {"resourceVersion": "10"}, "items": api.items})
        else:
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            api.asked.put(("watch", query))
            while (event := api.events.get()) is not None:
                line = json.dumps(event).encode() + b"\n"
                self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
            self.wfile.write(b"0\r\n\r\n")

    def _answer(self, body: dict[str, Any]) -> None:
        text = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


class Rings:
    """Counts what a watch rings."""

    def __init__(self) -> None:
        self._rung: queue.Queue[None] = queue.Queue()

    def ring(self) -> None:
        self._rung.put(None)

    def wait(self) -> None:
        self._rung.get(timeout=PATIENCE)

    @property
    def quiet(self) -> bool:
        return self._rung.empty()


@pytest.fixture
def api() -> Iterator[Api]:
    server = Api()
    with serving(server):
        yield server


@contextmanager
def watching(modules: dict[str, Any], api: Api, kind: Any) -> Iterator[Rings]:
    """A watch that has begun."""
    rings = Rings()
    watch = modules["watcher"].Watch(kind, api.connect, lambda: "a-token", rings, retry=0.01)
    thread = threading.Thread(target=watch.run)
    thread.start()
    try:
        api.wait("watch")
        yield rings
    finally:
        watch.stop()
        api.events.put(None)
        thread.join(PATIENCE)
        assert not thread.is_alive()


def event(type_: str, name: str, version: int = 11, **metadata: Any) -> dict[str, Any]:
    found = {"metadata": {"name": name, "resourceVersion": str(version), **metadata}}
    return {"type": type_, "object": found}


def settle(api: Api) -> None:
    """Return when all events so far are taken in: the watch ends and the next one begins."""
    api.events.put(None)
    api.wait("watch")


def owned(time: str, *fields: str) -> dict[str, Any]:
    entry = {"manager": "resource-broker/maker", "operation": "Apply", "time": time}
    return {"managedFields": [{**entry, "fieldsV1": {f"f:{each}": {} for each in fields}}]}


def test_a_tenant_that_comes_changes_or_goes_wakes_the_charm(modules, api):
    with watching(modules, api, modules["watcher"].tenants(LABEL)) as rings:
        api.events.put(event("ADDED", "alice"))
        rings.wait()
        api.events.put(event("MODIFIED", "alice", labels={"team": "tea"}))
        settle(api)
        assert rings.quiet
        api.events.put(event("MODIFIED", "alice", deletionTimestamp="now"))
        rings.wait()
        api.events.put(event("DELETED", "alice"))
        rings.wait()


def test_of_the_broker_s_objects_deletions_and_edits_by_others_wake_it(modules, api):
    first = event("ADDED", "a", **owned("1", "x", "y"))["object"]
    api.items = [first]
    kind = modules["watcher"].applied("v1", "ConfigMap", "l=x", "resource-broker")
    with watching(modules, api, kind) as rings:
        api.events.put(event("ADDED", "b", **owned("1", "x")))
        api.events.put(event("MODIFIED", "a", **owned("2", "x", "y", "z")))  # the broker itself
        api.events.put(event("MODIFIED", "a", annotations={}, **owned("2", "x", "y", "z")))
        settle(api)
        assert rings.quiet
        api.events.put(event("MODIFIED", "a", **owned("2", "x", "z")))  # y is somebody else's
        rings.wait()
        api.events.put(event("DELETED", "b"))
        rings.wait()


def test_a_webhook_that_begins_to_answer_wakes_it(modules, api):
    def slices(type_: str, ready: bool) -> dict[str, Any]:
        found = event(type_, "s")
        found["object"]["endpoints"] = [{"conditions": {"ready": ready}}]
        return found

    with watching(modules, api, modules["watcher"].webhooks(["maker"], "shop")) as rings:
        api.events.put(slices("ADDED", False))
        settle(api)
        assert rings.quiet
        api.events.put(slices("MODIFIED", True))
        rings.wait()
        api.events.put(slices("MODIFIED", True))
        settle(api)
        assert rings.quiet


def test_it_goes_on_where_it_was_and_asks_for_no_content(modules, api):
    with watching(modules, api, modules["watcher"].tenants(LABEL)) as rings:
        api.events.put(event("BOOKMARK", "", version=42))
        api.events.put(None)
        query = api.wait("watch")
        assert query["resourceVersion"] == ["42"]
        assert query["allowWatchBookmarks"] == ["true"]
        assert query["labelSelector"] == [LABEL]
        assert rings.quiet


def test_what_it_missed_it_finds_in_the_list(modules, api):
    """The API server forgot the version, and answered nothing for a while."""
    api.items = [event("ADDED", "alice")["object"]]
    with watching(modules, api, modules["watcher"].tenants(LABEL)) as rings:
        api.items = [event("ADDED", "bob")["object"]]
        api.refusals = 3
        api.events.put({"type": "ERROR", "object": {"code": 410}})
        api.events.put(None)
        rings.wait()
        api.wait("watch")


def test_the_bell_gathers_what_rings_and_loses_nothing(modules):
    told: queue.Queue[None] = queue.Queue()
    entered, go_on = threading.Semaphore(0), threading.Semaphore(0)

    def notify() -> None:
        entered.release()
        go_on.acquire(timeout=PATIENCE)
        told.put(None)

    bell = modules["watcher"].Bell(notify, pause=0.0)
    thread = threading.Thread(target=bell.run)
    thread.start()
    bell.ring()
    entered.acquire(timeout=PATIENCE)
    for _ in range(5):
        bell.ring()  # while the first is under way
    go_on.release()
    entered.acquire(timeout=PATIENCE)
    bell.stop()
    go_on.release()
    thread.join(PATIENCE)
    assert told.qsize() == 2


def test_what_failed_is_tried_again_once_the_api_server_lets_it_in_and_until_it_is_well(
    modules, api
):
    api.refusals = 3  # as one that has just started and has not read its roles
    rings = Rings()
    again = modules["watcher"].Retry(api.connect, lambda: "a-token", rings, retry=0.01)
    thread = threading.Thread(target=again.run)
    thread.start()
    try:
        rings.wait()
        assert api.refusals == 0
        rings.wait()  # the charm has not said yet that all is well
    finally:
        again.stop()
        thread.join(PATIENCE)
    assert not thread.is_alive()


def test_it_is_not_woken_while_the_api_server_does_not_answer(modules):
    def connect() -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", 1, timeout=PATIENCE)

    rings, tries = Rings(), threading.Semaphore(0)

    def token() -> str:
        tries.release()
        return "a-token"

    again = modules["watcher"].Retry(connect, token, rings, retry=0.01)
    thread = threading.Thread(target=again.run)
    thread.start()
    for _ in range(3):
        assert tries.acquire(timeout=PATIENCE)
    again.stop()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert rings.quiet


def test_the_notice_is_pebble_s(modules, tmp_path, monkeypatch):
    asked: list[tuple[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append((self.path, json.loads(body)))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def address_string(self) -> str:
            return "unix"

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    monkeypatch.chdir(tmp_path)  # the path of a unix socket is short
    with socketserver.UnixStreamServer("s", Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        modules["watcher"].notify("s")
        thread.join(PATIENCE)
    notice = {"action": "add", "type": "custom", "key": "charmed-mlops.io/cluster-changed"}
    assert asked == [("/v1/notices", notice)]


# with the charm, by a real API server


def connected() -> testing.Container:
    return testing.Container("watcher", can_connect=True)


def noticed(context: testing.Context, out: testing.State) -> testing.State:
    """The state after the watcher's notice."""
    container = out.get_container("watcher")
    notice = testing.Notice("charmed-mlops.io/cluster-changed")
    with_notice = testing.Container(
        "watcher", can_connect=True, layers=container.layers, notices=[notice],
        service_statuses=container.service_statuses,
    )  # fmt: skip
    event = context.on.pebble_custom_notice(with_notice, notice)
    return run(context, event, *out.relations, containers=[with_notice])


def client(kubeconfig: Any) -> Any:
    """What connects to the real API server as its administrator."""
    config = yaml.safe_load(kubeconfig.read_text())
    server, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    secure = ssl.create_default_context(cafile=server["certificate-authority"])
    secure.load_cert_chain(user["client-certificate"], user["client-key"])
    url = urlsplit(server["server"])
    return lambda: http.client.HTTPSConnection(url.hostname, url.port, context=secure, timeout=60)


@pytest.mark.engine
def test_a_new_tenant_gets_its_objects_after_the_notice(context, cluster, modules, kubeconfig):
    hello = thing("v1", "ConfigMap", "hello", data={"who": "$(tenant)"})
    request = {"manifests": pack([]), "tenants": pack([hello]), "hash": digest([], [hello])}
    data = {key: json.dumps(value) for key, value in request.items()}
    relation = testing.Relation("manifests", remote_app_name="maker", remote_app_data=data)
    out = run(context, context.on.update_status(), relation, containers=[connected()])
    rings = Rings()
    (kind, *_) = modules["watcher"].kinds(watched(context, out))
    connect, connections = client(kubeconfig), threading.Semaphore(0)

    def counted() -> http.client.HTTPConnection:
        connections.release()
        return connect()

    watch = modules["watcher"].Watch(kind, counted, lambda: "", rings)
    threading.Thread(target=watch.run, daemon=True).start()
    for _ in range(3):  # for the kind, the list and, with the list's version, the watch
        assert connections.acquire(timeout=PATIENCE)
    put_namespace(cluster, modules, "carol", **PROFILE)
    try:
        rings.wait()
        out = noticed(context, out)
        assert "carol" in answer(out, relation)["tenants"]
        ref = modules["kube"].Ref("v1", "ConfigMap", "carol", "hello")
        assert cluster.get(ref)["data"] == {"who": "carol"}
    finally:
        watch.stop()
        put_namespace(cluster, modules, "carol")
    run(context, context.on.update_status())


@pytest.mark.engine
def test_what_others_delete_or_edit_is_put_right_after_the_notice(
    context, cluster, modules, monkeypatch
):
    monkeypatch.setattr(modules["apply"], "CALM_SECONDS", 0)
    out = run(context, context.on.update_status(), relate(ALL), containers=[connected()])
    role = modules["kube"].Ref(RBAC, "ClusterRole", "", "shop-maker")
    settings = modules["kube"].Ref("v1", "ConfigMap", "shop", "maker-settings")
    cluster.delete(role)
    cluster.merge(settings, {"data": {"a": "2"}})
    out = noticed(context, out)
    assert cluster.get(role)
    assert cluster.get(settings)["data"] == {"a": "1"}
    before = cluster.get(settings)["metadata"]["resourceVersion"]
    noticed(context, out)
    assert cluster.get(settings)["metadata"]["resourceVersion"] == before


@pytest.mark.engine
def test_what_another_controller_insists_on_is_left_for_later(context, cluster, modules):
    out = run(context, context.on.update_status(), relate(ALL), containers=[connected()])
    settings = modules["kube"].Ref("v1", "ConfigMap", "shop", "maker-settings")
    cluster.merge(settings, {"data": {"a": "2"}})
    noticed(context, out)
    assert cluster.get(settings)["data"] == {"a": "2"}


@pytest.mark.engine
def test_the_watcher_is_told_what_was_applied_and_restarts_only_when_that_changes(
    context, cluster
):
    out = run(context, context.on.update_status(), relate(ALL), containers=[connected()])
    config = watched(context, out)
    assert ["tea.example.com/v1", "Pot"] in config["kinds"]
    assert config["selector"] == (
        "charmed-mlops.io/model=shop,app.kubernetes.io/managed-by=resource-broker"
    )
    script = out.get_container("watcher").get_filesystem(context) / "tmp/watcher/watcher.py"
    assert script.read_text() == (CHARM / "src" / "watcher.py").read_text()
    again = run(
        context, context.on.update_status(), *out.relations,
        containers=[out.get_container("watcher")],
    )  # fmt: skip
    assert again.get_container("watcher").layers == out.get_container("watcher").layers


@pytest.mark.engine
def test_what_the_api_server_refuses_is_tried_again_until_it_is_done(
    context, cluster, modules, monkeypatch
):
    def refuse() -> None:
        raise modules["kube"].ApiError(403, 'clusterroles "cluster-admin" not found')

    with monkeypatch.context() as refusing:
        refusing.setattr(modules["kube"].Cluster, "connect", staticmethod(refuse))
        out = run(context, context.on.update_status(), relate(ALL), containers=[connected()])
    assert out.unit_status.name == "blocked"
    assert watched(context, out)["unsettled"]
    out = noticed(context, out)
    assert out.unit_status == testing.ActiveStatus()
    assert not watched(context, out)["unsettled"]


@pytest.mark.engine
def test_a_follower_s_watcher_is_stopped(context, cluster):
    out = run(context, context.on.update_status(), relate(ALL), containers=[connected()])
    container = out.get_container("watcher")
    out = run(context, context.on.update_status(), leader=False, containers=[container])
    assert not out.get_container("watcher").services["watcher"].is_running()


def watched(context: testing.Context, out: testing.State) -> dict[str, Any]:
    root = out.get_container("watcher").get_filesystem(context)
    return json.loads((root / "tmp/watcher/watched.json").read_text())


@pytest.mark.parametrize(
    ("runs_as", "charm", "becomes"),
    [(0, 170, [170]), (0, 0, []), (584792, 170, [])],
    ids=["root, as images mostly are", "both root", "an image with a user"],
)
def test_the_watcher_becomes_the_charm_s_user_where_it_can(
    modules, monkeypatch, runs_as, charm, becomes
):
    became: list[int] = []
    monkeypatch.setattr("os.getuid", lambda: runs_as)
    monkeypatch.setattr("os.setuid", became.append)
    modules["watcher"].become(charm)
    assert became == becomes


def test_the_charm_tells_the_watcher_its_user(context, monkeypatch):
    """Also where there is no cluster, and so nothing to watch but whether there is one again."""
    monkeypatch.setattr("os.getuid", lambda: 170)
    state = testing.State(leader=True, containers=[connected()])
    out = context.run(context.on.update_status(), state)
    assert watched(context, out)["user"] == 170
