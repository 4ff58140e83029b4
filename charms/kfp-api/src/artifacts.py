"""What runs have left in the bucket: artifacts, and the logs of their steps.

Upstream's driver puts artifacts into PIPELINE/RUN/… below the tenant's root, Argo a step's log
into WORKFLOW/YEAR/MONTH/DAY/POD/… of the tenant's folder.
Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
"""

from __future__ import annotations

import hashlib
import http.client
import ssl
import urllib.parse
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from charmed_mlops import ActionFailed, pipelines, sigv4
from charmed_mlops.interfaces.s3 import Bucket

_TIMEOUT_SECONDS = 60


class Artifacts:
    """The objects of all tenants, by the application's own key."""

    def __init__(self, bucket: Bucket):
        self._bucket = bucket
        at = pipelines.endpoint(bucket)
        self._host = at.authority if bucket.path_style else f"{bucket.bucket}.{at.authority}"
        self._base = f"/{bucket.bucket}" if bucket.path_style else ""
        self._at = at

    def of_runs(self, namespace: str, runs: Mapping[str, Iterable[str]]) -> list[str]:
        """The keys of what runs have left.

        Args:
            namespace: the tenant's.
            runs: id of a run to the names of its Workflows.
        """
        folder = pipelines.folder(self._bucket, namespace) + "/"
        keys = [(key, key.removeprefix(folder).split("/")) for key in self._list(folder)]
        # WORKFLOW/YEAR/MONTH/DAY/POD/…
        workflows = {name for each in runs.values() for name in each}
        return [
            key
            for key, parts in keys
            if set(parts[:-1]) & set(runs) or (len(parts) > 5 and parts[0] in workflows)
        ]

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects.

        Raises:
            ActionFailed: the store says no or nothing.
        """
        for key in keys:
            self._request("DELETE", "/" + urllib.parse.quote(key))

    def _list(self, prefix: str) -> Iterator[str]:
        query: dict[str, Any] = {"list-type": "2", "prefix": prefix}
        while True:
            text = urllib.parse.urlencode(sorted(query.items()), quote_via=urllib.parse.quote)
            # a slash in a value has to be quoted, too, to be signed as it is sent
            tree = ET.fromstring(self._request("GET", "?" + text.replace("/", "%2F")))
            yield from (each.text or "" for each in tree.iterfind("{*}Contents/{*}Key"))
            token = tree.findtext("{*}NextContinuationToken")
            if not token:
                return
            query["continuation-token"] = token

    def _request(self, method: str, path: str) -> bytes:
        path = self._base + path
        headers = sigv4.signed(
            method,
            self._host,
            path,
            hashlib.sha256(b"").hexdigest(),
            access=self._bucket.access_key,
            secret=self._bucket.secret_key,
            region=self._bucket.region,
        )
        try:
            connection = self._connection()
            try:
                connection.request(method, path, headers=headers)
                answer = connection.getresponse()
                content = answer.read()
            finally:
                connection.close()
        except (OSError, http.client.HTTPException) as error:
            raise ActionFailed(f"the bucket's {self._host} does not answer: {error}") from None
        if answer.status >= 300:
            raise ActionFailed(f"the bucket answers {answer.status}: {_code(content)}")
        return content

    def _connection(self) -> http.client.HTTPConnection:
        host = self._host.partition(":")[0]
        if not self._at.secure:
            return http.client.HTTPConnection(host, self._at.port, timeout=_TIMEOUT_SECONDS)
        context = ssl.create_default_context(cadata=self._bucket.ca or None)
        return http.client.HTTPSConnection(
            host, self._at.port, timeout=_TIMEOUT_SECONDS, context=context
        )


def _code(content: bytes) -> str:
    try:
        return ET.fromstring(content).findtext("Code") or "no reason given"
    except ET.ParseError:
        return "no reason given"
