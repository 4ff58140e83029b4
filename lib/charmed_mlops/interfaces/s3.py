"""Interface `s3`, as Charmhub's charms speak it (library s3, versions 0 and 1).

| side | field of the application's databag | meaning |
| --- | --- | --- |
| requirer | bucket | name it asks for; the provider chooses one if there is none |
| requirer | path | prefix of the keys in the bucket that it asks for |
| requirer | requested-secrets | JSON list `["access-key", "secret-key"]`: wants them in a secret |
| requirer | lib-version | `1.0` and newer: the request is complete, with a bucket or without one |
| requirer | tenants | ours: a folder FOLDER; a tenant's own key may use FOLDER/NAMESPACE/ |
| requirer | private | ours: `true` if nobody but the requirer may read the bucket |
| provider | bucket, endpoint, region, s3-uri-style (`path` or `host`) | where |
| provider | path | prefix of the keys in the bucket |
| provider | tls-ca-chain | JSON list of PEM texts |
| provider | secret-extra | URI of a Juju secret with `access-key` and `secret-key` (version 1) |
| provider | access-key, secret-key | in plain, version 0 (s3-integrator): read, never written |

The endpoint is a URL. s3-integrator's is what somebody typed, and may have no scheme.

Source: https://documentation.ubuntu.com/charmlibs/reference/interfaces/s3/v1
"""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import ops

from charmed_mlops.errors import Blocked, Waiting
from charmed_mlops.interfaces import _common

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
BUCKET = re.compile(r"(?!\d+\.\d+\.\d+\.\d+$)[a-z0-9](?:[a-z0-9-]|\.(?!\.)){1,61}[a-z0-9]")
# nothing that a bucket policy takes for a pattern, and no way out of the folder
FOLDER = re.compile(r"(?!\.)[A-Za-z0-9_.-]+(?:/(?!\.)[A-Za-z0-9_.-]+)*")
CA_FOLDER = "/tmp/object-store-ca"  # any image's user may write there
CA_FILE = f"{CA_FOLDER}/ca.pem"
"""Where `Bucket.files` puts the CA in a requirer's container."""


@dataclass(frozen=True)
class Bucket:
    """A bucket and how to reach it.

    Attributes:
        endpoint: URL of the S3 service, empty for AWS itself.
        path_style: whether the bucket's name belongs in the path instead of the host name.
        path: prefix of the keys in the bucket, without slashes at its ends; empty for none.
        ca: PEM of the CA chain of the endpoint; empty for a publicly trusted one.
    """

    endpoint: str
    bucket: str
    region: str
    access_key: str
    secret_key: str
    path_style: bool = True
    path: str = ""
    ca: str = ""

    @property
    def files(self) -> dict[str, str]:
        """What the program's container has to have: the CA in `CA_FILE`, if there is one."""
        return {CA_FILE: f"{self.ca.rstrip()}\n"} if self.ca else {}

    def environment(self) -> dict[str, str]:
        """What a client takes from its environment, keys included: boto3's names, then KServe's.

        Source: https://docs.aws.amazon.com/sdkref/latest/guide/environment-variables.html and
        pkg/credentials/s3 of KServe v0.16.0.
        """
        variables = {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": self.region,
            "S3_USER_VIRTUAL_BUCKET": "0" if self.path_style else "1",
        }
        if self.endpoint:
            url = urllib.parse.urlsplit(self.endpoint)
            variables["AWS_ENDPOINT_URL"] = self.endpoint
            variables["S3_ENDPOINT"] = url.netloc
            variables["S3_USE_HTTPS"] = "1" if url.scheme == "https" else "0"
        return variables


class S3Requirer:
    """Asks for one bucket and reads how to reach it."""

    def __init__(
        self,
        charm: ops.CharmBase,
        endpoint: str,
        bucket: str | None = None,
        tenants: str = "",
        *,
        private: bool = False,
    ):
        """`bucket` is the name to ask for; MODEL-APPLICATION unless given.

        Each tenant's own key may use `tenants`/NAMESPACE/ in it, if a folder is given. A private
        one is not read by those who may read what others stored, as servers of models may.
        """
        self._charm = charm
        self._endpoint = endpoint
        self._bucket = bucket or f"{charm.model.name}-{charm.app.name}"[:63].strip("-")
        self._tenants = tenants
        self._private = private

    def get(self) -> Bucket:
        """The bucket; asks for it first where that is still to be done.

        Raises:
            Blocked: there is no relation, or the endpoint is no URL.
            Waiting: the provider has not answered yet.
        """
        relation = _common.one(self._charm, self._endpoint)
        if self._charm.unit.is_leader():
            mine = relation.data[self._charm.app]
            _common.write(mine, "bucket", self._bucket)
            _common.write(mine, "requested-secrets", json.dumps(["access-key", "secret-key"]))
            _common.write(mine, "tenants", self._tenants)
            _common.write(mine, "private", "true" if self._private else "")
        theirs = relation.data[relation.app]
        keys: Mapping[str, str] = theirs
        if uri := theirs.get("secret-extra"):
            keys = _common.read_secret(self._charm, uri, relation.app.name)
        access, secret = keys.get("access-key"), keys.get("secret-key")
        if not access or not secret or not theirs.get("bucket"):
            raise Waiting(f"waiting for {relation.app.name} to give a bucket")
        return Bucket(
            endpoint=_url(theirs.get("endpoint", ""), relation.app.name),
            bucket=theirs["bucket"],
            region=theirs.get("region") or "us-east-1",
            access_key=access,
            secret_key=secret,
            path_style=theirs.get("s3-uri-style", "path") != "host",
            path=theirs.get("path", "").strip("/"),
            ca=_chain(theirs.get("tls-ca-chain", "")),
        )

    def get_or_none(self) -> Bucket | None:
        """The same, None where there is no relation."""
        return self.get() if _common.find(self._charm, self._endpoint) else None


def _url(text: str, provider: str) -> str:
    """The endpoint as a URL, empty for AWS itself."""
    url = text if not text or "://" in text else f"https://{text}"
    if url and not _common.is_url(url):
        raise Blocked(f"{provider}: endpoint {text[:32]!r} is no URL")
    return url


def _chain(text: str) -> str:
    """The PEM texts of a JSON list; empty unless it is one."""
    try:
        chain = json.loads(text or "[]")
    except (ValueError, RecursionError):
        return ""
    if not isinstance(chain, list):
        return ""
    return "\n".join(each for each in chain if isinstance(each, str))


@dataclass(frozen=True)
class Request:
    """A bucket that a related application asks for.

    Attributes:
        label: of the Juju secret with the application's keys.
        tenants: folder in which each tenant gets one of its own; empty for none.
        private: whether nobody else may read the bucket.
        path: prefix of the keys that it asks for, without slashes at its ends; empty for none.
        reads_secrets: whether it finds its keys in a secret; with version 0 it does not.
    """

    relation: ops.Relation
    application: str
    bucket: str
    label: str
    tenants: str = ""
    private: bool = False
    path: str = ""
    reads_secrets: bool = True


class S3Provider(_common.Provider):
    """Reads what is asked for and answers, keys in a Juju secret per relation."""

    def requests(self) -> Iterator[Request]:
        """Every live relation, with the bucket its requirer asks for.

        A requirer that names none gets `relation-ID`. One that has not said so yet is passed over,
        as it would get a second bucket once it names one: the library, version 1, writes
        `requested-secrets` when the relation is made, and in a later hook `lib-version` with the
        bucket, or without one.

        One that asks for a name that no bucket or folder can have goes to `problems`.
        """
        self.problems = []
        if not self._charm.unit.is_leader():  # only the leader can answer
            return
        for relation in self._charm.model.relations[self._endpoint]:
            if not relation.active or not relation.app:
                continue
            theirs = relation.data[relation.app]
            if not theirs.get("bucket") and not theirs.get("lib-version"):
                continue
            asked = theirs.get("bucket") or f"relation-{relation.id}"
            if not BUCKET.fullmatch(asked):
                self.problems.append(
                    f"{relation.app.name} asks for bucket {asked[:64]!r}: 3 to 63 lower-case "
                    "letters, digits, dots and hyphens only"
                )
                continue
            tenants = theirs.get("tenants", "")
            if tenants and not FOLDER.fullmatch(tenants):
                self.problems.append(
                    f"{relation.app.name} asks for folder {tenants[:64]!r} for tenants: letters, "
                    "digits, dots, hyphens, underscores and single slashes only"
                )
                continue
            label = f"{self._endpoint}.{relation.id}.keys"
            private = theirs.get("private") == "true"
            path = theirs.get("path", "").strip("/")
            reads = bool(theirs.get("requested-secrets"))
            yield Request(relation, relation.app.name, asked, label, tenants, private, path, reads)

    def keys(self, request: Request) -> dict[str, str] | None:
        """What `answer` published as `access-key` and `secret-key`, None before."""
        return _common.own_secret(self._charm, request.label)

    def gone(self, accounts: Iterable[str]) -> set[str]:
        """Those of the accounts whose relation is gone; none if this unit does not lead."""
        return _common.gone(self._charm, self._endpoint, accounts)

    def forget(self, account: str) -> None:
        """Remove the secret of a relation that is gone."""
        relation_id = account.removeprefix("relation-")
        _common.forget_secret(self._charm, f"{self._endpoint}.{relation_id}.keys")

    def answer(self, request: Request, bucket: Bucket) -> None:
        """Publish a bucket; to be called by the leader."""
        secret = _common.keep_secret(
            self._charm,
            request.label,
            request.relation,
            {"access-key": bucket.access_key, "secret-key": bucket.secret_key},
        )
        mine = request.relation.data[self._charm.app]
        _common.write(mine, "bucket", bucket.bucket)
        _common.write(mine, "endpoint", bucket.endpoint)
        _common.write(mine, "region", bucket.region)
        _common.write(mine, "s3-uri-style", "path" if bucket.path_style else "host")
        _common.write(mine, "path", bucket.path)
        _common.write(mine, "tls-ca-chain", json.dumps([bucket.ca]) if bucket.ca else "")
        _common.write(mine, "secret-extra", secret)
