"""The action on models, against a server that answers as upstream's does."""

from __future__ import annotations

import http.server
import importlib
import json
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest

from charmed_mlops import ActionFailed
from charms.small_servers import serving

MODELS = [
    {"id": "1", "name": "fraud", "owner": "ann", "state": "LIVE"},
    {"id": "4", "name": "churn", "state": "ARCHIVED"},
    {"id": "9", "name": "price", "owner": "bob", "state": "LIVE"},
]
VERSIONS = {
    "1": [
        {"id": "2", "name": "v1", "state": "ARCHIVED"},
        {"id": "3", "name": "v2", "state": "LIVE"},
        {"id": "5", "name": "v3", "state": "LIVE"},
    ]
}


class Handler(http.server.BaseHTTPRequestHandler):
    """One object a page, so that paging shows."""

    def do_GET(self) -> None:
        place = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(place.query))
        path = place.path.removeprefix("/api/model_registry/v1alpha3/").split("/")
        if path[0] != "registered_models":
            return self._answer(500, {"code": "Internal", "message": "database\nerror"})
        found = MODELS if path[1:] == [] else VERSIONS.get(path[1], [])
        at = int(query.get("nextPageToken", 0))
        token = str(at + 1) if at + 1 < len(found) else ""
        self._answer(200, {"items": found[at : at + 1], "nextPageToken": token})

    def _answer(self, code: int, body: dict[str, Any]) -> None:
        self.send_response(code)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *args: Any) -> None:
        return


@pytest.fixture
def url() -> Iterator[str]:
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with serving(made):
        yield f"http://127.0.0.1:{made.server_address[1]}"


@pytest.fixture
def registered(charm):
    return importlib.import_module("registered")  # the charm's own, while the charm is loaded


def test_models_are_listed_with_their_versions_page_by_page(registered, url):
    found = registered.listed(url, registered.Where())
    assert found["count"] == "3"
    assert found["models"]["1"] == {
        "id": "1",
        "name": "fraud",
        "state": "LIVE",
        "owner": "ann",
        "versions": "v2, v3",
        "archived-versions": "v1",
    }
    assert found["models"]["2"] == {
        "id": "4",
        "name": "churn",
        "state": "ARCHIVED",
        "versions": "",
    }


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ({"state": "LIVE"}, ["fraud", "price"]),
        ({"state": "ARCHIVED"}, ["churn"]),
        ({"limit": 2}, ["fraud", "churn"]),
        ({"state": "LIVE", "limit": 1}, ["fraud"]),
    ],
)
def test_the_list_can_be_narrowed(registered, url, where, names):
    found = registered.listed(url, registered.Where(**where))
    assert [each["name"] for each in found["models"].values()] == names


def test_a_server_that_says_no_or_nothing_is_told(registered, url):
    with pytest.raises(ActionFailed, match="the server does not answer"):
        registered.listed("http://127.0.0.1:1", registered.Where())
    with pytest.raises(ActionFailed, match=r"the server answers 500: .*message"):
        registered.listed(f"{url}/other", registered.Where())
