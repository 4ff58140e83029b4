"""What the stand-ins of Kubeflow Pipelines share: the API server's client and the bucket's.

Only the standard library: the launcher runs in the image of a component.
"""

import base64
import datetime
import hashlib
import hmac
import json
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree

import stand_in

TRIES = 8
LONGEST_PAUSE = 30
BLANK = hashlib.sha256(b"").hexdigest()
LAUNCHER = "kfp-launcher"
DEFAULT_ROOT = "minio://mlpipeline/v2/artifacts"
SCHEMES = {"minio": "/minio", "s3": "/s3", "gs": "/gcs"}


class RefusedError(Exception):
    """The API server or the bucket said no; the text is the reason."""


def pause(number):
    """Waits before another try: longer each time, a minute and a half for all that there are."""
    time.sleep(min(2**number, LONGEST_PAUSE))


class Server:
    """The API server, as a pod speaks to it: with its own token.

    Attributes:
        address: HOST:PORT.
        token: file of the token, which may be renewed.
    """

    def __init__(self, address, token=f"{stand_in.ACCOUNT}/token"):
        self._url, self._token = f"http://{address}", token

    def call(self, method, path, body=None):
        """The decoded answer. Raises RefusedError; waits a moment for a server that is away."""
        for number in range(TRIES):
            try:
                return self._call(method, path, body)
            except OSError as error:
                if number == TRIES - 1:
                    raise RefusedError(f"{self._url} does not answer: {error}") from None
                pause(number)
        raise AssertionError

    def _call(self, method, path, body):
        with open(self._token) as file:
            token = file.read().strip()
        request = urllib.request.Request(
            f"{self._url}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            text = stand_in.reason(error.read().decode(errors="replace"))
            if error.code in (502, 503, 504):
                raise OSError(f"{error.code}: {text}") from None
            raise RefusedError(f"{method} {path}: {error.code}: {text}") from None


class Bucket:
    """Objects behind S3's API, addressed by path, with signature version 4.

    Attributes:
        tries: how often a store that is away is asked.
    """

    tries = 1

    def __init__(self, endpoint, region, access_key, secret_key, secure):
        self._host, self._region = endpoint, region or "us-east-1"
        self._keys = (access_key, secret_key)
        self._scheme = "https" if secure else "http"

    def get(self, bucket, key):
        """The object's content. Raises RefusedError."""
        return self._send("GET", f"/{bucket}/{key}")

    def put(self, bucket, key, content):
        """Writes an object. Raises RefusedError."""
        self._send("PUT", f"/{bucket}/{key}", content)

    def delete(self, bucket, key):
        """Deletes an object. Raises RefusedError."""
        self._send("DELETE", f"/{bucket}/{key}")

    def list(self, bucket, prefix):
        """The keys that begin with the prefix. Raises RefusedError."""
        found, more = [], {}
        while True:
            query = {"list-type": "2", "prefix": prefix, **more}
            tree = xml.etree.ElementTree.fromstring(self._send("GET", f"/{bucket}", b"", query))
            found += [each.text or "" for each in tree.iterfind("{*}Contents/{*}Key")]
            token = tree.findtext("{*}NextContinuationToken")
            if not token:
                return found
            more = {"continuation-token": token}

    def _send(self, method, path, content=b"", query=()):
        for number in range(self.tries):
            try:
                return self._sent(method, path, content, query)
            except OSError as error:
                if number == self.tries - 1:
                    reason = f"the bucket's {self._host} does not answer: {error}"
                    raise RefusedError(reason) from None
                pause(number)
        raise AssertionError

    def _sent(self, method, path, content, query):
        path = urllib.parse.quote(path)
        text = "&".join(
            f"{urllib.parse.quote(name, '')}={urllib.parse.quote(value, '')}"
            for name, value in sorted(dict(query).items())
        )
        url = f"{self._scheme}://{self._host}{path}{'?' if text else ''}{text}"
        headers = self._signed(method, path, text, content)
        request = urllib.request.Request(
            url, method=method, data=content if method == "PUT" else None, headers=headers
        )
        try:
            with urllib.request.urlopen(request, timeout=300) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")
            code = re.search(r"<Code>(.*?)</Code>", said)
            why = code[1] if code else said[:200]
            if error.code in (502, 503, 504):
                raise OSError(f"{error.code} {why}") from None
            raise RefusedError(f"{method} {path} in the bucket: {error.code} {why}") from None

    def _signed(self, method, path, query, content):
        """Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html"""
        moment = datetime.datetime.now(datetime.timezone.utc)
        day, stamp = moment.strftime("%Y%m%d"), moment.strftime("%Y%m%dT%H%M%SZ")
        digest = hashlib.sha256(content).hexdigest() if content else BLANK
        headers = {"host": self._host, "x-amz-content-sha256": digest, "x-amz-date": stamp}
        names = ";".join(headers)
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        asked = f"{method}\n{path}\n{query}\n{lines}\n{names}\n{digest}"
        scope = f"{day}/{self._region}/s3/aws4_request"
        hashed = hashlib.sha256(asked.encode()).hexdigest()
        key = f"AWS4{self._keys[1]}".encode()
        for part in (*scope.split("/"), f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashed}"):
            key = hmac.digest(key, part.encode(), "sha256")
        headers["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self._keys[0]}/{scope}, SignedHeaders={names}, "
            f"Signature={key.hex()}"
        )
        return headers


class Tenant:
    """What a tenant's namespace says of its artifacts, read with the pod's own account."""

    def __init__(self, api, namespace):
        self._api, self._core = api, f"/api/v1/namespaces/{namespace}"
        found = api.get(f"{self._core}/configmaps/{LAUNCHER}")
        self._settings = (found or {}).get("data") or {}

    @property
    def root(self):
        """Where artifacts go unless a run says it."""
        return self._settings.get("defaultPipelineRoot") or DEFAULT_ROOT

    def bucket(self, uri):
        """The bucket's client for a URI. Raises RefusedError."""
        scheme = uri.partition("://")[0]
        providers = json.loads(self._settings.get("providers") or "{}")
        found = (providers.get(scheme) or {}).get("default")
        if not found or found["credentials"].get("fromEnv"):
            raise RefusedError(
                f"{uri}: this stand-in needs {scheme}.default with a secretRef in ConfigMap "
                f"{LAUNCHER}'s providers"
            )
        where = found["credentials"]["secretRef"]
        secret = self._api.get(f"{self._core}/secrets/{where['secretName']}")
        if secret is None:
            raise RefusedError(f"the bucket's key, Secret {where['secretName']}, is not there")
        access, own = (
            base64.b64decode(secret["data"][where[name]]).decode()
            for name in ("accessKeyKey", "secretKeyKey")
        )
        secure = not found.get("disableSSL", False)
        bucket = Bucket(found["endpoint"], found.get("region"), access, own, secure)
        bucket.tries = TRIES
        return bucket


def own_namespace():
    """The pod's."""
    with open(f"{stand_in.ACCOUNT}/namespace") as file:
        return file.read().strip()


def local(uri):
    """The path at which a component finds an artifact. Raises RefusedError."""
    scheme, _, rest = uri.partition("://")
    if scheme not in SCHEMES or ".." in rest.split("/"):
        raise RefusedError(f"{uri}: only {', '.join(SCHEMES)} are known")
    return f"{SCHEMES[scheme]}/{rest}"


def parts(uri):
    """Bucket and key of a URI."""
    bucket, _, key = uri.partition("://")[2].partition("/")
    return bucket, key


def download(bucket, uri):
    """Brings an artifact to its local path: one object, or all below it. Raises RefusedError."""
    name, key = parts(uri)
    target = local(uri)
    keys = [each for each in bucket.list(name, key) if each == key or each.startswith(f"{key}/")]
    for each in keys:
        path = target + each[len(key) :]
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(bucket.get(name, each))


def upload(bucket, uri):
    """Takes what a component left at the local path to the bucket; nothing is fine."""
    name, key = parts(uri)
    path = local(uri)
    if os.path.isfile(path):
        with open(path, "rb") as file:
            bucket.put(name, key, file.read())
    for folder, _, files in os.walk(path):
        for each in files:
            with open(os.path.join(folder, each), "rb") as file:
                bucket.put(name, key + os.path.join(folder, each)[len(path) :], file.read())
