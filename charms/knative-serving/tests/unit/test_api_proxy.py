"""The proxy: lists of Secrets name the one, writes of webhook configurations are left out."""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from charms.kubernetes_double import Api, served
from charms.small_servers import serving

sys.path.insert(0, str(Path(__file__).parents[2] / "src"))
from api_proxy import Proxy, is_needless, narrowed  # pyright: ignore[reportMissingImports]

SECRETS = "/api/v1/namespaces/shop/secrets"
OURS = "fieldSelector=metadata.name%3Dwebhook-certs"
HOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
Ask = Callable[..., tuple[int, Any]]


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[tuple[Api, Ask]]:
    """The API server's objects, and what asks for them by the proxy over one connection."""
    api = Api()
    with served(api, tmp_path) as (port, account):
        proxy = Proxy(0, "shop", "webhook-certs", f"127.0.0.1:{port}", account)
        client = http.client.HTTPConnection("127.0.0.1", proxy.server_port)

        def asked(method: str, path: str, body: Any = None) -> tuple[int, Any]:
            client.request(method, path, json.dumps(body) if body is not None else None)
            answer = client.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text.startswith(b"{") else text

        with serving(proxy):
            yield api, asked
            client.close()


@pytest.mark.parametrize("query", ["", "?limit=500", "?watch=true&resourceVersion=7"])
def test_a_list_of_the_namespace_s_secrets_is_of_the_one(query):
    path, _, fields = narrowed(SECRETS + query, "shop", "webhook-certs").partition("?")
    assert path == SECRETS
    assert OURS in fields.split("&")
    assert set(query.removeprefix("?").split("&")) - {""} <= set(fields.split("&"))


def test_another_selector_gives_way():
    asked = f"{SECRETS}?fieldSelector=metadata.name%3Dother"
    assert narrowed(asked, "shop", "webhook-certs") == f"{SECRETS}?{OURS}"


@pytest.mark.parametrize(
    "target",
    [
        f"{SECRETS}/webhook-certs",
        "/api/v1/secrets",
        "/api/v1/namespaces/other/secrets",
        "/api/v1/namespaces/shop/configmaps?limit=500",
    ],
)
def test_every_other_request_is_left_as_it_is(target):
    assert narrowed(target, "shop", "webhook-certs") == target


def test_it_says_that_it_is_well_without_the_api_server(ask):
    api, asked = ask
    assert asked("GET", "/proxy-healthz") == (200, b"")
    assert api.calls == []


def test_requests_reach_the_api_server_with_the_pod_s_token(ask):
    # the double insists on the token
    _, asked = ask
    maps = "/api/v1/namespaces/shop/configmaps"
    thing = {"metadata": {"name": "a"}}
    assert asked("POST", maps, thing) == (201, thing)
    assert asked("GET", f"{maps}/a") == (200, thing)
    assert asked("PATCH", f"{maps}/a", {"data": {"b": "c"}})[1]["data"] == {"b": "c"}
    assert asked("DELETE", f"{maps}/a")[0] == 200
    assert asked("GET", f"{maps}/a")[0] == 404


def test_a_watch_ends_when_the_api_server_ends_it(ask):
    api, asked = ask
    secret = {"metadata": {"name": "webhook-certs", "namespace": "shop"}}
    api.add(SECRETS, secret)
    status, event = asked("GET", f"{SECRETS}?watch=true")
    assert (status, event) == (200, {"type": "ADDED", "object": secret})


def test_a_write_of_a_webhook_configuration_is_answered_by_what_is_there(ask):
    api, asked = ask
    there = {"metadata": {"name": "w"}, "webhooks": []}
    api.add(HOOKS, there)
    assert asked("PUT", f"{HOOKS}/w", {"webhooks": ["other"]}) == (200, there)
    assert api.calls == [f"GET {HOOKS}/w"]


def test_other_writes_are_not_needless():
    assert is_needless("PUT", f"{HOOKS}/w")
    assert not is_needless("PATCH", f"{HOOKS}/w")
    assert not is_needless("PUT", "/apis/coordination.k8s.io/v1/namespaces/shop/leases/a")


def test_an_api_server_that_is_away_is_a_bad_gateway(tmp_path):
    with served(Api(), tmp_path):
        pass  # it has ended, its certificate is there
    proxy = Proxy(0, "shop", "webhook-certs", "127.0.0.1:1", tmp_path)
    with serving(proxy):
        client = http.client.HTTPConnection("127.0.0.1", proxy.server_port)
        client.request("GET", "/api")
        assert client.getresponse().status == 502
        client.close()
