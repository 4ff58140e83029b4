"""The actions on runs, against a server that answers as the API server does."""

from __future__ import annotations

import http.server
import importlib
import json
import threading
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest

from charmed_mlops import ActionFailed

RUNS = {
    "ann": [
        {"run_id": "a1", "display_name": "train", "state": "SUCCEEDED",
         "created_at": "2020-01-01T00:00:00Z", "finished_at": "2020-01-01T00:05:00.5Z"},
        {"run_id": "a2", "display_name": "train", "state": "RUNNING",
         "created_at": "2020-01-02T00:00:00Z"},
        {"run_id": "a3", "state": "FAILED", "created_at": "2020-01-03T00:00:00Z",
         "finished_at": "2999-01-01T00:00:00Z", "error": {"message": "out of memory"}},
    ],
    "bob": [
        {"run_id": "b1", "state": "FAILED", "created_at": "2020-01-01T00:00:00Z",
         "finished_at": "2020-01-01T01:00:00Z"},
    ],
}  # fmt: skip


class Server(http.server.ThreadingHTTPServer):
    """One run a page, so that paging shows."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        runs = RUNS[query["namespace"]]
        at = int(query.get("page_token", 0))
        more = {"next_page_token": str(at + 1)} if at + 1 < len(runs) else {}
        self._answer(200, {"runs": runs[at : at + 1], **more})

    def do_POST(self) -> None:
        if "missing" in self.path:
            return self._answer(404, {"code": 5, "message": "Run missing not found\ndetail"})
        self._answer(200, {})

    def do_DELETE(self) -> None:
        self._answer(200, {})

    def _answer(self, code: int, body: dict[str, Any]) -> None:
        if self.headers["Authorization"] != "Bearer t":
            code, body = 401, {"message": "who are you"}
        assert isinstance(self.server, Server)
        self.server.asked.append(f"{self.command} {self.path.partition('?')[0]}")
        self.send_response(code)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *args: Any) -> None:
        return


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def runs(charm):
    return importlib.import_module("runs")  # the charm's own, while the charm is loaded


@pytest.fixture
def all_runs(runs, server):
    return runs.Runs(server.url, "t", ["ann", "bob"])


def test_runs_of_all_tenants_are_listed_page_by_page(runs, all_runs):
    found = runs.listed(all_runs, runs.Where())
    assert found["count"] == "4"
    assert [each["id"] for each in json.loads(found["runs"])] == ["a1", "a2", "a3", "b1"]
    assert json.loads(found["runs"])[2]["error"] == "out of memory"


@pytest.mark.parametrize(
    "where, ids",
    [
        ({"namespace": "bob"}, ["b1"]),
        ({"state": "FAILED"}, ["a3", "b1"]),
        ({"limit": 2}, ["a1", "a2"]),
    ],
)
def test_the_list_can_be_narrowed(runs, all_runs, where, ids):
    found = runs.listed(all_runs, runs.Where(**where))
    assert [each["id"] for each in json.loads(found["runs"])] == ids


def test_one_run_is_acted_on_by_its_verb(runs, all_runs, server):
    assert runs.do(all_runs, "terminate", runs.Run(run_id="a2")) == {
        "run-id": "a2",
        "asked": "terminate",
    }
    assert server.asked == ["POST /apis/v2beta1/runs/a2:terminate"]


def test_purge_lists_what_ended_long_ago_and_deletes_nothing(runs, all_runs, server):
    assert runs.purge(all_runs, runs.Purge()) == {"count": "2", "would-delete": "a1,b1"}
    assert not [each for each in server.asked if each.startswith("DELETE")]


def test_purge_deletes_when_confirmed(runs, all_runs, server):
    found = runs.purge(all_runs, runs.Purge(state="FAILED", confirm=True))
    assert found == {"count": "1", "deleted": "b1"}
    assert server.asked[-1] == "DELETE /apis/v2beta1/runs/b1"


def test_what_the_server_says_is_told_in_one_line(runs, all_runs):
    with pytest.raises(ActionFailed, match=r"answers 404: Run missing not found$"):
        runs.do(all_runs, "retry", runs.Run(run_id="missing"))


def test_a_token_that_is_not_taken_is_told(runs, server):
    with pytest.raises(ActionFailed, match="answers 401: who are you"):
        runs.listed(runs.Runs(server.url, "other", ["ann"]), runs.Where())


def test_a_server_that_does_not_answer_is_told(runs):
    with pytest.raises(ActionFailed, match="the API server does not answer"):
        runs.listed(runs.Runs("http://127.0.0.1:1", "t", ["ann"]), runs.Where())
