"""The actions of the object store."""

from __future__ import annotations

from typing import Any

import ops
from gateway import DATA, PORT, Gateway, new_keys
from records import Records
from tenants import Tenants

from charmed_mlops import ActionFailed, S3Provider, ServiceCharm
from charmed_mlops.interfaces.s3 import BUCKET
from charmed_mlops.results import listing, size


class Actions(ServiceCharm):
    """What `juju run` offers; the charm itself derives from it."""

    s3: S3Provider
    tenants: Tenants

    def gateway(self) -> Gateway:
        """The gateway's API with root's keys."""
        raise NotImplementedError

    def action_create_bucket(self, params: dict) -> dict[str, str]:
        """Make a bucket for root or a related application."""
        bucket, gateway = params["bucket"], self.gateway()
        if not BUCKET.fullmatch(bucket):
            raise ActionFailed(
                f"bucket {bucket!r}: 3 to 63 lower-case letters, digits, dots and hyphens only"
            )
        if bucket in gateway.buckets():
            raise ActionFailed(f"bucket {bucket} exists already: see list-buckets")
        gateway.make_bucket(bucket, self._keys(params)["access-key"])
        Records(self.workload).set_owner(bucket, params.get("owner") or "root")
        self.converge()  # lets the readers read it
        return {"created": bucket}

    def action_give_bucket(self, params: dict) -> dict[str, str]:
        """Make a bucket another application's."""
        bucket, gateway = params["bucket"], self.gateway()
        if bucket not in gateway.buckets():
            raise ActionFailed(f"there is no bucket {bucket}: see list-buckets")
        # its account is there even if it has been refused so far and has no keys
        gateway.give_bucket(bucket, f"relation-{self._relation(params['owner'])}")
        Records(self.workload).set_owner(bucket, params["owner"])
        self.converge()
        return {"given": bucket}

    def action_list_buckets(self, _: dict) -> dict[str, Any]:
        """Buckets and owners."""
        names = {f"relation-{r.id}": r.app.name for r in self.model.relations["s3"] if r.app}
        found = sorted(self.gateway().buckets().items())
        return listing(
            "buckets", [{"name": name, "owner": names.get(owner, owner)} for name, owner in found]
        )

    def action_get_credentials(self, params: dict) -> dict[str, str]:
        """Keys with the place they are for."""
        return {
            **self._keys(params),
            "endpoint": f"http://{self.unit_address(0)}:{PORT}",
            "region": str(self.config["region"]),
        }

    def action_rotate_keys(self, params: dict) -> dict[str, str]:
        """A new secret key in the secret, then in the gateway."""
        self.require_leader()
        if tenant := params.get("tenant"):
            if params.get("application"):
                raise ActionFailed("give one of application and tenant")
            rotated = self.tenants.rotate(tenant)
            self.converge()
            return {"rotated": rotated}
        keys = new_keys(self._keys(params)["access-key"])
        if params.get("application"):
            Records(self.workload).keep_account(
                self.gateway(), keys["access-key"], keys["secret-key"], exists=True
            )
        self._secret(params).set_content(keys)
        if not params.get("application"):
            self.converge()  # restarts the server with it
        return {"rotated": keys["access-key"]}

    def action_usage(self, _: dict) -> dict[str, Any]:
        """Bytes per bucket and of the volume."""
        used = self.workload.exec(["/usr/bin/du", "-s", "-k", DATA["buckets"]], timeout=600)
        lines = [f"{DATA['buckets']}/{name}" for name in sorted(self.gateway().buckets())]
        each = (
            self.workload.exec(["/usr/bin/du", "-s", "-k", *lines], timeout=600) if lines else ""
        )
        free = self.workload.exec(["/bin/df", "-k", "-P", "/data"]).splitlines()[-1].split()
        sizes = (line.split("\t") for line in each.splitlines())
        buckets = [
            {"name": path.rsplit("/", 1)[-1], **size("size", int(kilobytes) * 1024)}
            for kilobytes, path in sizes
        ]
        return {
            **listing("buckets", buckets),
            **size("used", int(used.split()[0]) * 1024),
            **size("free", int(free[3]) * 1024),
        }

    def _keys(self, params: dict) -> dict[str, str]:
        return self._secret(params).get_content(refresh=True)

    def _secret(self, params: dict) -> ops.Secret:
        application = params.get("application") or params.get("owner")
        label = "root"
        if application:
            label = f"s3.{self._relation(application)}.keys"
        try:
            return self.model.get_secret(label=label)
        except ops.SecretNotFoundError:
            raise ActionFailed("there are no keys yet: wait until the unit is active") from None

    def _relation(self, application: str) -> int:
        for relation in self.model.relations["s3"]:
            if relation.app and relation.app.name == application:
                return relation.id
        raise ActionFailed(f"{application} is not related: see list-buckets")
