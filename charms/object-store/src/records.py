"""What the charm remembers on the volume: whose a bucket is, who reads it, an account's key.

The gateway knows accounts only, and an application gets a new account with each relation. By these
records it finds its bucket again after a new relation, and nobody else does. Of a secret key the
digest is kept, so that a hook sets a key only where it differs.
"""

from __future__ import annotations

import hashlib
import json

from gateway import DATA, Gateway

from charmed_mlops import Workload

FILE = f"{DATA['accounts']}.records.json"


class Records:
    """One file beside the gateway's own; read once in a hook."""

    def __init__(self, workload: Workload):
        self._workload = workload
        found = json.loads(workload.read(FILE) or "{}")
        self._owners: dict[str, str] = found.get("owners", {})
        self._keys: dict[str, str] = found.get("keys", {})
        self.private: set[str] = set(found.get("private", []))
        """Buckets that only their owner may read, also when its relation has gone."""

    def owner(self, bucket: str) -> str | None:
        """The application that a bucket belongs to; None for one made before records were kept."""
        return self._owners.get(bucket)

    def set_owner(self, bucket: str, application: str) -> None:
        """Note whose the bucket is from now on."""
        if self._owners.get(bucket) != application:
            self._owners[bucket] = application
            self._save()

    def set_private(self, bucket: str, private: bool) -> None:
        """Note whether only its owner may read the bucket."""
        if private != (bucket in self.private):
            self.private ^= {bucket}
            self._save()

    def keep_account(self, gateway: Gateway, access: str, secret: str, *, exists: bool) -> None:
        """Have the gateway know the account with this key."""
        digest = hashlib.sha256(secret.encode()).hexdigest()
        if not exists or self._keys.get(access) != digest:
            gateway.keep_account(access, secret, exists=exists)
            self._keys[access] = digest
            self._save()

    def forget_account(self, access: str) -> None:
        """The account has gone."""
        if self._keys.pop(access, None):
            self._save()

    def keep_bucket(
        self, gateway: Gateway, present: dict[str, str], bucket: str, application: str,
        account: str, live: set[str],
    ) -> str:  # fmt: skip
        """Have the bucket be there and be the application's.

        Args:
            gateway: the gateway.
            present: buckets with their owners' accounts; changed as the bucket is.
            bucket: its name.
            application: whose it is to be.
            account: the application's account.
            live: accounts of all relations.

        Returns:
            Whose it is if it is another's, and nothing was done; empty otherwise.
        """
        owner, recorded = present.get(bucket), self.owner(bucket)
        if owner is None:
            gateway.make_bucket(bucket, account)
        elif recorded not in (None, application):
            return str(recorded)
        elif owner != account:
            if recorded is None and (owner in live or not owner.startswith("relation-")):
                return owner
            gateway.give_bucket(bucket, account)
        self.set_owner(bucket, application)
        present[bucket] = account
        return ""

    def _save(self) -> None:
        found = {"owners": self._owners, "keys": self._keys, "private": sorted(self.private)}
        self._workload.push({FILE: json.dumps(found, indent=1, sort_keys=True)})
