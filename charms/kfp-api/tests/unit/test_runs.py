"""The actions on runs, against a server that answers as the API server does."""

from __future__ import annotations

import http.server
import importlib
import json
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest

from charmed_mlops import ActionFailed
from charmed_mlops.interfaces.s3 import Bucket
from charms.small_servers import serving

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


NODES = {"a1": ["train-x-1033", "train-x-7"], "a2": ["train-y-1"]}
FOLDER = "private-artifacts/ann"
LEFT = (
    f"{FOLDER}/v2/artifacts/train/a1/step/u/model",
    f"{FOLDER}/v2/artifacts/namespace/ann/pipeline/p/a1/step/u/data/part 1",
    f"{FOLDER}/train-x/2020/01/01/train-x-impl-1/main.log",
    f"{FOLDER}/train-x/2020/01/01/train-x-driver-2/main.log",
)
KEPT = (
    f"{FOLDER}/v2/artifacts/train/a2/step/u/model",
    f"{FOLDER}/v2/artifacts/train/a2/step/u/a1",
    f"{FOLDER}/train-y/2020/01/01/train-y-impl-1/main.log",
    "private-artifacts/bob/v2/artifacts/train/a1/step/u/model",
    "pipelines/a1/package",
)


class Server(http.server.ThreadingHTTPServer):
    """One run a page, so that paging shows; beside it the bucket `b`, one object a page."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []
        self.objects = {*LEFT, *KEPT}
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Server)
        place = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(place.query))
        if place.path == "/b":
            return self._list(self.server.objects, query)
        if "namespace" not in query:
            nodes = NODES.get(place.path.rpartition("/")[2], [])
            tasks = [{"child_tasks": [{"pod_name": each}]} for each in nodes]
            return self._answer(200, {"run_details": {"task_details": [{}, *tasks]}})
        runs = RUNS[query["namespace"]]
        at = int(query.get("page_token", 0))
        more = {"next_page_token": str(at + 1)} if at + 1 < len(runs) else {}
        self._answer(200, {"runs": runs[at : at + 1], **more})

    def do_POST(self) -> None:
        if "missing" in self.path:
            return self._answer(404, {"code": 5, "message": "Run missing not found\ndetail"})
        self._answer(200, {})

    def do_DELETE(self) -> None:
        assert isinstance(self.server, Server)
        if self.path.startswith("/b/"):
            self.server.objects.remove(urllib.parse.unquote(self.path.removeprefix("/b/")))
            self.send_response(204)
            return self.end_headers()
        self._answer(200, {})

    def _list(self, objects: set[str], query: dict[str, str]) -> None:
        found = sorted(each for each in objects if each.startswith(query["prefix"]))
        found = [each for each in found if each > query.get("continuation-token", "")]
        more = f"<NextContinuationToken>{found[0]}</NextContinuationToken>" if found[1:] else ""
        keys = "".join(f"<Contents><Key>{each}</Key></Contents>" for each in found[:1])
        self.send_response(200 if "b-key/" in self.headers["authorization"] else 403)
        self.end_headers()
        space = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
        self.wfile.write(f"<R {space}>{keys}{more}</R>".encode())

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
    made = Server()
    with serving(made):
        yield made


@pytest.fixture
def runs(charm):
    return importlib.import_module("runs")  # the charm's own, while the charm is loaded


@pytest.fixture
def all_runs(runs, server):
    return runs.Runs(server.url, "t", ["ann", "bob"])


@pytest.fixture
def artifacts(charm, server):
    bucket = Bucket(server.url, "b", "r", "b-key", "secret")
    return importlib.import_module("artifacts").Artifacts(bucket)


def test_runs_of_all_tenants_are_listed_page_by_page(runs, all_runs):
    found = runs.listed(all_runs, runs.Where())
    assert found["count"] == "4"
    assert [each["id"] for each in found["runs"].values()] == ["a1", "a2", "a3", "b1"]
    assert found["runs"]["3"]["error"] == "out of memory"


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
    assert [each["id"] for each in found["runs"].values()] == ids


def test_one_run_is_acted_on_by_its_verb(runs, all_runs, server):
    assert runs.do(all_runs, "terminate", runs.Run(run_id="a2")) == {
        "run-id": "a2",
        "asked": "terminate",
    }
    assert server.asked == ["POST /apis/v2beta1/runs/a2:terminate"]


def test_purge_lists_what_ended_long_ago_and_deletes_nothing(runs, all_runs, artifacts, server):
    found = runs.purge(all_runs, artifacts, runs.Purge())
    assert found == {"count": "2", "objects": "4", "would-delete": "a1,b1"}
    assert not [each for each in server.asked if each.startswith("DELETE")]
    assert server.objects == {*LEFT, *KEPT}


def test_purge_deletes_runs_with_what_they_left_when_confirmed(runs, all_runs, artifacts, server):
    found = runs.purge(all_runs, artifacts, runs.Purge(confirm=True))
    assert found == {"count": "2", "objects": "4", "deleted": "a1,b1"}
    deleted = [each for each in server.asked if each.startswith("DELETE")]
    assert deleted == ["DELETE /apis/v2beta1/runs/a1", "DELETE /apis/v2beta1/runs/b1"]
    assert server.objects == set(KEPT)


def test_purge_can_be_narrowed_to_a_state(runs, all_runs, artifacts, server):
    found = runs.purge(all_runs, artifacts, runs.Purge(state="FAILED", confirm=True))
    assert found == {"count": "1", "objects": "0", "deleted": "b1"}
    assert server.asked[-1] == "DELETE /apis/v2beta1/runs/b1"


def test_a_bucket_that_refuses_keeps_the_runs(charm, runs, all_runs, server):
    other = Bucket(server.url, "b", "r", "other-key", "secret")
    artifacts = importlib.import_module("artifacts").Artifacts(other)
    with pytest.raises(ActionFailed, match="the bucket answers 403: no reason given"):
        runs.purge(all_runs, artifacts, runs.Purge(confirm=True))
    assert not [each for each in server.asked if each.startswith("DELETE")]


def test_a_bucket_that_does_not_answer_is_told(charm, runs, all_runs):
    gone = Bucket("http://127.0.0.1:1", "b", "r", "b-key", "secret")
    artifacts = importlib.import_module("artifacts").Artifacts(gone)
    with pytest.raises(ActionFailed, match=r"the bucket's 127\.0\.0\.1:1 does not answer"):
        runs.purge(all_runs, artifacts, runs.Purge())


def test_what_the_server_says_is_told_in_one_line(runs, all_runs):
    with pytest.raises(ActionFailed, match=r"answers 404: Run missing not found$"):
        runs.do(all_runs, "retry", runs.Run(run_id="missing"))


def test_a_token_that_is_not_taken_is_told(runs, server):
    with pytest.raises(ActionFailed, match="answers 401: who are you"):
        runs.listed(runs.Runs(server.url, "other", ["ann"]), runs.Where())


def test_a_server_that_does_not_answer_is_told(runs):
    with pytest.raises(ActionFailed, match="the API server does not answer"):
        runs.listed(runs.Runs("http://127.0.0.1:1", "t", ["ann"]), runs.Where())
