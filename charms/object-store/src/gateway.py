"""Versity S3 Gateway's S3 and admin API, with AWS signature 4, by the standard library alone.

Source: https://github.com/versity/versitygw v1.8.0, s3api/router.go. The gateway's own admin
command would need the new account's secret key as an argument, which any process could read.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import secrets
import urllib.parse
import xml.etree.ElementTree as ET  # the answers are the gateway's own
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

from charmed_mlops import CommandFailed, sigv4

PORT = 7070
HEALTH = "/health"
DATA = {kind: f"/data/{kind}" for kind in ("buckets", "accounts", "versions")}
_ACCOUNT = re.compile(r"relation-\d+|tenant-[a-z0-9-]+")
_OURS = "CharmedMlops"  # how the names of our statements begin
_ROOM = 2000  # bytes of a policy; there is more in any extended attribute


def new_keys(access: str) -> dict[str, str]:
    """An access key of that name with a random secret key."""
    return {"access-key": access, "secret-key": secrets.token_urlsafe(30)}


class Gateway:
    """What the charm asks of the gateway, as root."""

    def __init__(self, url: str, access: str, secret: str, region: str):
        self._url = urllib.parse.urlsplit(url)
        self._access = access
        self._secret = secret
        self._region = region

    def accounts(self) -> set[str]:
        """The names of the accounts made for relations and tenants."""
        found = (each.text or "" for each in self._xml("/list-users").iter("Access"))
        return {name for name in found if _ACCOUNT.fullmatch(name)}

    def keep_account(self, access: str, secret: str, *, exists: bool) -> None:
        """Make the account, or set its secret key."""
        if exists:
            body = f"<MutableProps><Secret>{secret}</Secret></MutableProps>"
            self._request("PATCH", f"/update-user?access={access}", body)
            return
        body = (
            f"<Account><Access>{access}</Access><Secret>{secret}</Secret><Role>user</Role>"
            "<UserID>0</UserID><GroupID>0</GroupID><ProjectID>0</ProjectID></Account>"
        )
        self._request("PATCH", "/create-user", body)

    def remove_account(self, access: str) -> None:
        """Remove an account; its buckets stay."""
        self._request("PATCH", f"/delete-user?access={access}")

    def buckets(self) -> dict[str, str]:
        """Bucket to owner."""
        found = self._xml("/list-buckets").iter("Buckets")
        return {each.findtext("Name", ""): each.findtext("Owner", "") for each in found}

    def make_bucket(self, bucket: str, owner: str) -> None:
        """Make a bucket for an account."""
        self._request("PATCH", f"/{bucket}/create", headers={"x-vgw-owner": owner})

    def give_bucket(self, bucket: str, owner: str) -> None:
        """Make a bucket another account's."""
        self._request("PATCH", f"/change-bucket-owner?bucket={bucket}&owner={owner}")

    def share(
        self,
        accounts: Set[str],
        readers: Sequence[str],
        folders: Mapping[str, Mapping[str, str]],
        private: Set[str] = frozenset(),
    ) -> list[str]:
        """Let just these read every bucket but private ones, and tenants use a folder of one.

        Other statements of a bucket's policy stay.

        Args:
            accounts: all that there are: a policy may name no other.
            readers: those that may read every bucket that is not private.
            folders: bucket to account to the folder that it may use.
            private: buckets that only their owners may read.

        Returns:
            The buckets whose policy the file system has no room for; they keep the one they had.
        """
        full = []
        for bucket, owner in self.buckets().items():
            status, text = self._send("GET", f"/{bucket}?policy=")
            policy: dict[str, Any] = {"Version": "2012-10-17"}
            if status == 200:
                policy = json.loads(text)
            before = policy.get("Statement", [])
            after = [each for each in before if not each.get("Sid", "").startswith(_OURS)]
            others = [] if bucket in private else sorted(set(readers) - {owner})
            tenants = folders.get(bucket, {})
            # where there is a policy, the gateway asks it alone, for the owner too
            if (others or tenants) and owner in accounts:
                after.append(_allow("Owner", [owner], ["s3:*"], bucket, f"{bucket}/*"))
            if others:
                reading = ["s3:GetObject", "s3:ListBucket", "s3:GetBucketLocation"]
                after.append(_allow("Readers", others, reading, bucket, f"{bucket}/*"))
            for account, folder in sorted(tenants.items()):
                after += _of_tenant(account, bucket, folder)
            if after and after != before:
                body = json.dumps({**policy, "Statement": after}, separators=(",", ":"))
                if not self._put_policy(bucket, body):
                    full.append(bucket)
            elif before and not after:
                self._request("DELETE", f"/{bucket}?policy=")
        return full

    def _put_policy(self, bucket: str, body: str) -> bool:
        """Whether there was room for it: the gateway keeps it in an extended attribute."""
        try:
            self._request("PUT", f"/{bucket}?policy=", body)
        except CommandFailed as error:
            if error.code != 500 or len(body) < _ROOM:
                raise
            return False
        return True

    def _xml(self, path: str) -> ET.Element:
        return ET.fromstring(self._request("PATCH", path))

    def _request(
        self, method: str, path: str, body: str = "", headers: dict[str, str] | None = None
    ) -> str:
        status, text = self._send(method, path, body, headers)
        if status >= 400:
            code = re.search(r"<Message>(.*?)</Message>", text)
            what = f"{method} {path.split('?')[0]}"
            raise CommandFailed(f"gateway: {what}", status, code[1] if code else text[:200])
        return text

    def _send(
        self, method: str, path: str, body: str = "", headers: dict[str, str] | None = None
    ) -> tuple[int, str]:
        host, port = self._url.hostname or "", self._url.port or 80
        connection = http.client.HTTPConnection(host, port, timeout=20)
        try:
            sent = sigv4.signed(
                method,
                self._url.netloc,
                path,
                hashlib.sha256(body.encode()).hexdigest(),
                access=self._access,
                secret=self._secret,
                region=self._region,
                headers=headers,
            )
            connection.request(method, path, body.encode(), sent)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except OSError as error:
            raise CommandFailed("gateway", -1, f"no answer: {error}") from None
        finally:
            connection.close()


def _allow(
    what: str, accounts: Sequence[str], rights: Sequence[str], *resources: str
) -> dict[str, Any]:
    return {
        "Sid": f"{_OURS}{what}",
        "Effect": "Allow",
        "Principal": accounts,
        "Action": rights,
        "Resource": [f"arn:aws:s3:::{each}" for each in resources],
    }


def _of_tenant(account: str, bucket: str, folder: str) -> Iterator[dict[str, Any]]:
    rights = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
    yield _allow("Tenant", [account], rights, f"{bucket}/{folder}/*")
    condition = {"StringLike": {"s3:prefix": [f"{folder}/*"]}}
    yield {**_allow("Tenant", [account], ["s3:ListBucket"], bucket), "Condition": condition}
