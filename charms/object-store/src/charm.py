#!/usr/bin/env python3
"""S3 over a plain folder: https://github.com/versity/versitygw"""

from __future__ import annotations

import ops
from actions import Actions
from gateway import DATA, HEALTH, PORT, Gateway, new_keys
from records import Records
from tenants import Tenants

from charmed_mlops import Http, S3Provider
from charmed_mlops.interfaces.s3 import Bucket


class ObjectStore(Actions):
    """One gateway over one volume; an account, a key and a bucket for each relation."""

    url = f"http://localhost:{PORT}"

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container="object-store")
        self.s3 = S3Provider(self, "s3")
        self.tenants = Tenants(self)

    def reconcile(self) -> None:
        self.require_single_unit("use s3-integrator")
        region = str(self.config["region"])
        root = self.app_secret("root", lambda: new_keys("root"))
        self.workload.require()
        self.workload.exec(["/bin/mkdir", "-p", *DATA.values()])
        self.workload.run(
            command=f"/usr/local/bin/versitygw posix {DATA['buckets']}",
            check=Http(PORT, HEALTH),
            environment={
                "ROOT_ACCESS_KEY_ID": root["access-key"],
                "ROOT_SECRET_ACCESS_KEY": root["secret-key"],
                "VGW_PORT": f":{PORT}",
                "VGW_REGION": region,
                "VGW_HEALTH": HEALTH,
                "VGW_IAM_DIR": DATA["accounts"],
                "VGW_VERSIONING_DIR": DATA["versions"],
                "VGW_QUIET": str(not self.config["log-requests"]).lower(),
            },
            version="1.8.0",
        )
        self.set_ports(PORT)
        self.workload.require_healthy()
        self._serve_relations(self.gateway(), region)

    def gateway(self) -> Gateway:
        """The gateway's API with root's keys."""
        root = self.model.get_secret(label="root").peek_content()
        keys = root["access-key"], root["secret-key"]
        return Gateway(self.url, *keys, str(self.config["region"]))

    def _serve_relations(self, gateway: Gateway, region: str) -> None:
        readers = {name.strip() for name in str(self.config["readers"]).split(",")} - {""}
        requests = list(self.s3.requests())
        accounts, present, records = gateway.accounts(), gateway.buckets(), Records(self.workload)
        live = {f"relation-{each.relation.id}" for each in requests}
        reading = [
            f"relation-{each.relation.id}" for each in requests if each.application in readers
        ]
        granted, endpoint = [], f"http://{self.unit_address(0)}:{PORT}"
        for request in requests:
            keys = self.s3.keys(request) or new_keys(f"relation-{request.relation.id}")
            access, secret = keys["access-key"], keys["secret-key"]
            records.keep_account(gateway, access, secret, exists=access in accounts)
            accounts.add(access)
            owner = records.keep_bucket(
                gateway, present, request.bucket, request.application, access, live
            )
            if owner:
                self.s3.problems.append(
                    f"bucket {request.bucket} is {owner}'s, not {request.application}'s: "
                    "action give-bucket changes that"
                )
                continue
            records.set_private(request.bucket, request.private)
            granted.append(request)
            # the library, version 1, has its charm use the prefix of the answer alone
            bucket = Bucket(endpoint, request.bucket, region, access, secret, path=request.path)
            self.s3.answer(request, bucket)
            if not request.reads_secrets:
                self.s3.problems.append(
                    f"{request.application} reads keys in relation data only, where none are: "
                    "use a revision of it that knows version 1 of the interface s3"
                )
        applications = {each for each in accounts if each.startswith("relation-")}
        for account in sorted(self.s3.gone(applications)):
            gateway.remove_account(account)
            records.forget_account(account)
            self.s3.forget(account)
            accounts.discard(account)
        if self.unit.is_leader():
            self.tenants.serve(gateway, records, accounts, endpoint, region)
            folders = self.tenants.folders(granted)
            self.s3.problems += [
                f"bucket {bucket}: no room for the rights of {len(folders.get(bucket, ()))} "
                "tenants in its folder's extended attributes: move storage data to XFS"
                for bucket in gateway.share(accounts, reading, folders, private=records.private)
            ]
        self.tenants.publish()
        self.s3.require_valid()


if __name__ == "__main__":
    ops.main(ObjectStore)
