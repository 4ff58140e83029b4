"""Backups in a bucket, against a small store that compares each body with its checksum."""

from __future__ import annotations

import hashlib
import json
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from charmed_mlops import CommandFailed
from charmed_mlops.interfaces.s3 import Bucket
from charmed_mlops.objects import Objects


class Store(BaseHTTPRequestHandler):
    """A path-style bucket `b` in memory."""

    kept: dict[str, bytes]

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if hashlib.sha256(body).hexdigest() != self.headers["x-amz-content-sha256"]:
            self._answer(400, b"<Error><Code>XAmzContentSHA256Mismatch</Code></Error>")
        else:
            self.kept[self._key()] = body
            self._answer(200)

    def do_GET(self) -> None:
        parts = urllib.parse.urlsplit(self.path)
        if parts.query:
            prefix = urllib.parse.parse_qs(parts.query)["prefix"][0]
            keys = "".join(
                f"<Contents><Key>{key}</Key></Contents>"
                for key in self.kept
                if key.startswith(prefix)
            )
            text = f'<ListBucketResult xmlns="http://s3/">{keys}</ListBucketResult>'
            self._answer(200, text.encode())
        elif self._key() in self.kept:
            self._answer(200, self.kept[self._key()])
        else:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")

    def do_DELETE(self) -> None:
        self.kept.pop(self._key(), None)
        self._answer(204)

    def _key(self) -> str:
        return urllib.parse.unquote(self.path).removeprefix("/b/")

    def _answer(self, code: int, body: bytes = b"") -> None:
        assert "Credential=me/" in self.headers["authorization"]
        self.send_response(code)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def kept() -> dict[str, bytes]:
    """What the store holds, by key."""
    return {"other/x.json": b"{}"}


@pytest.fixture
def objects(kept: dict[str, bytes]) -> Iterator[Objects]:
    store = type("Kept", (Store,), {"kept": kept})
    with ThreadingHTTPServer(("127.0.0.1", 0), store) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        yield Objects(Bucket(url, "b", "us-east-1", "me", "secret", path="p"), "backups/mariadb")
        server.shutdown()


def put(objects: Objects, key: str, body: bytes) -> None:
    objects.put(key, body, len(body), hashlib.sha256(body).hexdigest())


def test_objects_lie_below_the_folder_and_come_back_whole(objects, kept):
    put(objects, "a b.json", json.dumps({"a": 1}).encode())
    assert "p/backups/mariadb/a b.json" in kept
    assert objects.keys() == ["a b.json"]
    with objects.get("a b.json") as answer:
        assert json.load(answer) == {"a": 1}
    objects.delete("a b.json")
    assert objects.keys() == []
    assert "other/x.json" in kept


def test_a_body_that_was_damaged_on_its_way_is_refused(objects, kept):
    with pytest.raises(CommandFailed, match="XAmzContentSHA256Mismatch"):
        objects.put("a", b"damaged", 7, hashlib.sha256(b"whole").hexdigest())
    assert objects.keys() == []


def test_what_is_not_there_is_told_without_the_key(objects):
    with pytest.raises(CommandFailed, match="NoSuchKey") as told, objects.get("none"):
        pass
    assert "secret" not in str(told.value)


def test_a_store_that_does_not_answer_is_one_line():
    gone = Objects(Bucket("http://127.0.0.1:9", "b", "us-east-1", "me", "secret"), "backups")
    with pytest.raises(CommandFailed, match=r"no answer of 127\.0\.0\.1:9"):
        gone.keys()
