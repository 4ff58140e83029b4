"""The objects of a bucket: put, get, list and delete, by the standard library alone."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import re
import ssl
import urllib.parse
import xml.etree.ElementTree as ET  # the answers are those of the related store
from collections.abc import Iterator
from typing import BinaryIO

from charmed_mlops import sigv4
from charmed_mlops.errors import CommandFailed
from charmed_mlops.interfaces.s3 import Bucket

LARGEST = 5 * 2**30
"""Bytes that one request may put. https://docs.aws.amazon.com/general/latest/gr/s3.html"""
_EMPTY = hashlib.sha256(b"").hexdigest()
_SECONDS = 60.0  # without a byte


class Objects:
    """A folder of a bucket; keys are below it.

    Every method raises CommandFailed where the store does not answer, or refuses.
    """

    def __init__(self, bucket: Bucket, folder: str):
        self._bucket = bucket
        self._prefix = "/".join(part for part in (bucket.path, folder) if part) + "/"
        url = bucket.endpoint or f"https://s3.{bucket.region}.amazonaws.com"
        parts = urllib.parse.urlsplit(url)
        self._tls = parts.scheme == "https"
        self._root = parts.path.rstrip("/")
        if bucket.path_style:
            self._host, self._root = parts.netloc, f"{self._root}/{bucket.bucket}"
        else:
            self._host = f"{bucket.bucket}.{parts.netloc}"

    def put(self, key: str, body: bytes | BinaryIO, size: int, digest: str) -> None:
        """Store an object; the store compares `digest`, its SHA-256."""
        if size > LARGEST:
            raise CommandFailed(f"put {key}", -1, "larger than 5 GiB, which one request may put")
        headers = {"content-length": str(size)}
        with self._answer("PUT", self._path(key), body, digest, headers):
            pass

    @contextlib.contextmanager
    def get(self, key: str) -> Iterator[http.client.HTTPResponse]:
        """The object's content, as a file."""
        with self._answer("GET", self._path(key)) as answer:
            yield answer

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""
        with self._answer("DELETE", self._path(key)):
            pass

    def keys(self) -> list[str]:
        """The keys in the folder, in order."""
        found: list[str] = []
        token = ""
        while True:
            query = {"list-type": "2", "prefix": self._prefix}
            if token:
                query["continuation-token"] = token
            path = f"{self._root}/?{urllib.parse.urlencode(query, quote_via=urllib.parse.quote)}"
            with self._answer("GET", path) as answer:
                # stores differ in whether the tags have a namespace
                text = re.sub(rb' xmlns="[^"]*"', b"", answer.read())
            try:
                tree = ET.fromstring(text)
            except ET.ParseError:
                raise CommandFailed("list", -1, "the store's answer is no XML") from None
            found += [(each.text or "").removeprefix(self._prefix) for each in tree.iter("Key")]
            token = tree.findtext("NextContinuationToken") or ""
            if not token:
                return sorted(found)

    def _path(self, key: str) -> str:
        return f"{self._root}/{urllib.parse.quote(self._prefix + key)}"

    @contextlib.contextmanager
    def _answer(
        self,
        method: str,
        path: str,
        body: bytes | BinaryIO = b"",
        digest: str = _EMPTY,
        headers: dict[str, str] | None = None,
    ) -> Iterator[http.client.HTTPResponse]:
        sent = sigv4.signed(
            method, self._host, path, digest, headers=headers, access=self._bucket.access_key,
            secret=self._bucket.secret_key, region=self._bucket.region,
        )  # fmt: skip
        what = f"{method} {path.partition('?')[0]}"
        connection = self._connection()
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            if answer.status >= 300:
                code = re.search(rb"<Code>(\w+)</Code>", answer.read(4096))
                why = code[1].decode() if code else answer.reason
                raise CommandFailed(what, answer.status, why)
            yield answer
        except (OSError, http.client.HTTPException) as error:
            raise CommandFailed(what, -1, f"no answer of {self._host}: {error}") from None
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if not self._tls:
            return http.client.HTTPConnection(self._host, timeout=_SECONDS)
        context = ssl.create_default_context(cadata=self._bucket.ca or None)
        return http.client.HTTPSConnection(self._host, timeout=_SECONDS, context=context)
